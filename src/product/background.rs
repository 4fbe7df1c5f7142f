//! What is done to the background of a picture before the network sees it: the section `background`.

use super::manifest::{DType, SectionKind};
use super::member::Sections;
use super::{Problem, SectionBytes, other};
use crate::backbone::Background;

/// `background` as a section.
///
/// # Errors
/// [`serde_json::Error`] if a level is not a number.
pub fn background_section(background: &Background) -> Result<SectionBytes, serde_json::Error> {
    let bytes = serde_json::to_vec(background)?;
    Ok(SectionBytes {
        kind: SectionKind::Background,
        member: 0,
        dtype: DType::Bytes,
        shape: vec![bytes.len() as u64],
        bytes,
    })
}

/// The background of a bundle, if it has one.
pub(super) fn read(sections: &Sections<'_>) -> Result<Option<Background>, Problem> {
    let kind = SectionKind::Background;
    let all = sections.manifest.sections.iter();
    let members: Vec<u8> = all.filter(|s| s.kind == kind).map(|s| s.member).collect();
    match members[..] {
        [] => return Ok(None),
        [0] => {}
        // In another member it would have no effect.
        _ => {
            return other(format!(
                "section `{kind}` must be there once, for all members"
            ));
        }
    }
    let (_, data) = sections.only(kind, 0, DType::Bytes)?;
    let background: Background = serde_json::from_slice(data)
        .map_err(|e| Problem::Other(format!("section `{kind}`: {e}")))?;
    match background.problem() {
        Some(problem) => other(format!("section `{kind}`: {problem}")),
        None => Ok(Some(background)),
    }
}
