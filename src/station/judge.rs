//! What judges a frame: the product, behind the checks that a frame has to pass first.

use crate::capture::decode::{DecodeError, decode};
use crate::capture::source::RawFrame;
use crate::frame::Frame;
use crate::inspection::{InspectionError, Inspector};
use crate::line::gate::{Judgement, Reason};
use crate::product::Product;
use crate::sanity::{Finding, Repeats, Sanity};
use crate::verdict::Verdict;
use thiserror::Error;

/// Why a frame has no verdict.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// The frame cannot be read.
    #[error("the frame cannot be read")]
    Decode(#[from] DecodeError),
    /// Another camera mode or another camera.
    #[error(
        "{width} x {height} pixels is another view than the product was fitted on; was the camera's mode changed?"
    )]
    OtherView {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The product cannot judge it.
    #[error("the product cannot judge the frame")]
    Inspection(#[from] InspectionError),
}

impl JudgeError {
    /// What the gate is told.
    pub fn reason(&self) -> Reason {
        match self {
            JudgeError::Decode(_) => Reason::DamagedFrame,
            JudgeError::OtherView { .. } | JudgeError::Inspection(_) => Reason::Failed,
        }
    }
}

/// What the judge says.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The verdict that counts.
    pub judgement: Judgement,
    /// The product's score.
    pub score: f32,
    /// Why the picture is none, where that overruled the score.
    pub finding: Option<Finding>,
}

/// Judges one frame at a time. The inference thread owns it.
pub trait Judge: Send {
    /// Judges `raw`.
    ///
    /// # Errors
    /// [`JudgeError`]: the part has no verdict and is rejected.
    fn judge(&mut self, raw: &RawFrame) -> Result<Judged, JudgeError>;
}

/// A product at work.
pub struct ProductJudge {
    product: Product,
    inspector: Inspector,
    sanity: Option<Sanity>,
    repeats: Option<Repeats>,
    frame: Frame,
}

impl ProductJudge {
    /// `inspector` must have been made from `product`.
    pub fn new(product: Product, inspector: Inspector, sanity: Option<Sanity>) -> Self {
        Self {
            product,
            inspector,
            sanity,
            repeats: None,
            frame: Frame::blank(),
        }
    }

    /// With a real camera, whose pictures are never alike: one that comes again is UNKNOWN.
    #[must_use]
    pub fn never_alike(mut self) -> Self {
        self.repeats = Some(Repeats::default());
        self
    }
}

impl Judge for ProductJudge {
    fn judge(&mut self, raw: &RawFrame) -> Result<Judged, JudgeError> {
        decode(raw, &mut self.frame)?;
        let (width, height) = (self.frame.width(), self.frame.height());
        if !self.product.expects_size(width, height) {
            return Err(JudgeError::OtherView { width, height });
        }
        let repeated = self.repeats.as_mut().and_then(|r| r.check(&raw.bytes));
        let finding = repeated.or_else(|| self.sanity.as_mut()?.check(&self.frame).finding);
        let inspection = self.inspector.inspect(&self.frame)?;
        // A picture that is none is UNKNOWN, unless it is plainly NG as well.
        let judgement = match (inspection.verdict, &finding) {
            (Verdict::Ng, _) => Judgement::Ng,
            (Verdict::Unknown, _) | (Verdict::Ok, Some(_)) => Judgement::Unknown,
            (Verdict::Ok, None) => Judgement::Ok,
        };
        Ok(Judged {
            judgement,
            score: inspection.score,
            finding,
        })
    }
}
