//! What inspects a frame: the product, after the picture checks.

use crate::frame::Frame;
use crate::frame::RawFrame;
use crate::frame::{DecodeError, decode_as};
use crate::inspection::{InspectionError, Inspector};
use crate::line::gate::{PartVerdict, Reason};
use crate::product::{OtherView, Product};
use crate::sanity::{Finding, Repeats, Sanity};
use crate::verdict::Verdict;
use thiserror::Error;

/// Why a frame has no verdict.
#[derive(Debug, Error)]
pub enum InspectorError {
    /// The frame cannot be decoded.
    #[error("the frame cannot be read")]
    Decode(#[from] DecodeError),
    /// The frame is of another kind than the pictures of the fit.
    #[error(transparent)]
    OtherView(#[from] OtherView),
    /// The product cannot inspect it.
    #[error("the product cannot inspect the frame")]
    Inspection(#[from] InspectionError),
}

impl InspectorError {
    /// The error of a frame of another size than any that is expected.
    pub(crate) fn other_size(width: usize, height: usize) -> Self {
        InspectorError::OtherView(OtherView::Size {
            width,
            height,
            fitted: "another size".to_owned(),
        })
    }

    /// The reason that the gate gets.
    pub fn reason(&self) -> Reason {
        match self {
            InspectorError::Decode(_) => Reason::DamagedFrame,
            InspectorError::OtherView(_) | InspectorError::Inspection(_) => Reason::Failed,
        }
    }
}

/// Result of the inspection of one frame.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The verdict of the part.
    pub verdict: PartVerdict,
    /// The product's score.
    pub score: f32,
    /// Why the frame is not a real picture, if that changed the verdict.
    pub finding: Option<Finding>,
}

/// Inspects one frame at a time. The inspector thread owns it.
pub trait PartInspector: Send {
    /// Inspects `raw`.
    ///
    /// # Errors
    /// [`InspectorError`]: the part has no verdict and is rejected.
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError>;
}

/// A loaded product with its picture checks.
pub struct ProductInspector {
    product: Product,
    inspector: Inspector,
    sanity: Option<Sanity>,
    repeats: Option<Repeats>,
    frame: Frame,
}

impl ProductInspector {
    /// `inspector` must have been made from `product`.
    pub fn new(product: Product, inspector: Inspector, sanity: Option<Sanity>) -> Self {
        for sentence in product.inputs().iter().flat_map(|inputs| &inputs.forced) {
            log::warn!(
                "{}: fitted with --force although {sentence}",
                product.origin()
            );
        }
        Self {
            product,
            inspector,
            sanity,
            repeats: None,
            frame: Frame::blank(),
        }
    }

    /// For a real camera, which never gives the same picture twice: a repeated picture is UNKNOWN.
    #[must_use]
    pub fn never_alike(mut self) -> Self {
        self.repeats = Some(Repeats::default());
        self
    }
}

impl PartInspector for ProductInspector {
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError> {
        let said = decode_as(raw, self.product.reading(), &mut self.frame)?;
        self.product.check_picture(&self.frame, said)?;
        let repeated = self.repeats.as_mut().and_then(|r| r.check(&raw.bytes));
        let finding = repeated.or_else(|| self.sanity.as_mut()?.check(&self.frame).finding);
        let inspection = self.inspector.inspect(&self.frame)?;
        // A frame that is not a real picture is UNKNOWN, unless it is NG anyway.
        let verdict = match (inspection.verdict, &finding) {
            (Verdict::Ng, _) => PartVerdict::Ng,
            (Verdict::Unknown, _) | (Verdict::Ok, Some(_)) => PartVerdict::Unknown,
            (Verdict::Ok, None) => PartVerdict::Ok,
        };
        Ok(Inspected {
            verdict,
            score: inspection.score,
            finding,
        })
    }
}
