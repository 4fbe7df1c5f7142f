//! The sections of the encoder behind a member's refinement (format 5).

use super::{MemberData, MemberSections, range};
use crate::backbone::BackboneSpec;
use crate::product::manifest::{DType, RefinementEvidence, SectionKind};
use crate::product::{Problem, other};
use crate::size::Size;
use std::ops::Range;

/// An encoder of the user's own.
#[derive(Clone, Debug)]
pub(super) struct EncoderData {
    pub(super) spec: BackboneSpec,
    /// Range of the ONNX bytes in the bundle.
    pub(super) onnx: Range<usize>,
}

impl MemberSections<'_> {
    /// The encoder of a member whose input has `size` pixels, if it has one.
    pub(super) fn encoder(
        &self,
        evidence: Option<&RefinementEvidence>,
        size: Size,
    ) -> Result<Option<EncoderData>, Problem> {
        let (file, spec) = (
            SectionKind::RefinementEncoder,
            SectionKind::RefinementEncoderSpec,
        );
        if !self.has(file) && !self.has(spec) {
            return Ok(None);
        }
        if evidence.is_none() {
            return other(format!("section `{file}` without a refinement"));
        }
        let kind = spec;
        let (_, json) = self.only(kind, DType::Bytes)?;
        let spec: BackboneSpec = serde_json::from_slice(json)
            .map_err(|e| Problem::Other(format!("section `{kind}`: {e}")))?;
        spec.check()?;
        let multiple_of = spec.input.multiple_of as usize;
        let fits = [size.width, size.height]
            .iter()
            .all(|side| side.is_multiple_of(multiple_of));
        if !fits || spec.grid(size) != self.grid {
            return other(format!(
                "encoder `{}` does not fit the input or the grid",
                spec.name
            ));
        }
        let (section, _) = self.only(file, DType::Bytes)?;
        Ok(Some(EncoderData {
            spec,
            onnx: range(section),
        }))
    }
}

impl MemberData {
    /// The network whose features the refinement takes, if it is not the backbone.
    pub fn encoder(&self) -> Option<&BackboneSpec> {
        self.encoder.as_ref().map(|encoder| &encoder.spec)
    }

    pub(in crate::product) fn encoder_range(&self) -> Option<Range<usize>> {
        self.encoder.as_ref().map(|encoder| encoder.onnx.clone())
    }

    /// The same in a sentence.
    pub fn encoder_in_words(&self) -> Option<String> {
        let spec = self.encoder()?;
        Some(format!(
            "the refinement sees the features of {} ({}), licence {}, {}",
            spec.name, spec.precision, spec.licence, spec.attribution
        ))
    }
}
