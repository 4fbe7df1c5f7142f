//! Backbones: the shipped ones by name, or a user's own ONNX file with its description beside it.

use super::description::to_write;
use crate::error::TrainError;
use partgate::backbone::BackboneSpec;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::path::Path;

/// The default backbone of `fit`.
pub(crate) const DEFAULT: &str = "efficientnet-lite0-int8";

const MANIFEST: &str = include_str!("../../../models/manifest.json");

const SHIPPED: [(&str, &[u8]); 2] = [
    (
        "efficientnet-lite0-int8",
        include_bytes!("../../../models/efficientnet-lite0-int8.onnx"),
    ),
    (
        "efficientnet-lite0-f32",
        include_bytes!("../../../models/efficientnet-lite0-f32.onnx"),
    ),
];

#[derive(Deserialize)]
struct Catalogue {
    backbones: Vec<BackboneSpec>,
}

/// A network file with its description.
pub(crate) struct BackboneFile {
    pub(crate) spec: BackboneSpec,
    pub(crate) onnx: Cow<'static, [u8]>,
}

/// Finds `name` among the shipped backbones, or opens `name` as an ONNX file whose description is
/// `FILE.onnx.json` (`models/export.py` writes both).
pub(crate) fn backbone(name: &str) -> Result<BackboneFile, TrainError> {
    if let Some((_, onnx)) = SHIPPED.iter().find(|(n, _)| *n == name) {
        let catalogue: Catalogue = serde_json::from_str(MANIFEST)?;
        let spec = catalogue
            .backbones
            .into_iter()
            .find(|s| s.name == name)
            .ok_or_else(|| {
                TrainError::Setting(format!("models/manifest.json does not describe `{name}`"))
            })?;
        return Ok(BackboneFile {
            spec,
            onnx: Cow::Borrowed(onnx),
        });
    }
    let path = Path::new(name);
    if path.extension().is_none_or(|e| e != "onnx") {
        let names: Vec<&str> = SHIPPED.iter().map(|(n, _)| *n).collect();
        return Err(TrainError::Setting(format!(
            "no backbone is called `{name}`; shipped are {}, or name a FILE.onnx with its FILE.onnx.json beside it",
            names.join(", ")
        )));
    }
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TrainError::File {
            path: path.to_path_buf(),
            action: "reading",
            source,
        })
    };
    let onnx = read(path)?;
    let description = std::path::PathBuf::from(format!("{name}.json"));
    if !description.exists() {
        return Err(TrainError::Setting(match to_write(name, &onnx) {
            Ok(text) => format!(
                "{name}: no description beside it, which says what the network is; write {}: {text}",
                description.display()
            ),
            Err(problem) => format!("{name}: {problem}"),
        }));
    }
    let text = read(&description)?;
    let wrong =
        |problem: String| TrainError::Setting(format!("{}: {problem}", description.display()));
    let Described { spec, file } =
        serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    file.check(&onnx).map_err(wrong)?;
    check_ranges(&spec).map_err(wrong)?;
    Ok(BackboneFile {
        spec,
        onnx: Cow::Owned(onnx),
    })
}

/// A description of a user's own file.
#[derive(Deserialize)]
struct Described {
    #[serde(flatten)]
    spec: BackboneSpec,
    #[serde(flatten)]
    file: FileFacts,
}

/// What a description says about its file.
#[derive(Deserialize)]
struct FileFacts {
    sha256: Option<String>,
    bytes: Option<u64>,
}

impl FileFacts {
    fn check(&self, onnx: &[u8]) -> Result<(), String> {
        let length = onnx.len() as u64;
        if let Some(bytes) = self.bytes.filter(|&bytes| bytes != length) {
            return Err(format!(
                "describes a file of {bytes} bytes, but the network beside it has {length}; is it of another export?"
            ));
        }
        let Some(stated) = &self.sha256 else {
            return Ok(());
        };
        let digest = Sha256::digest(onnx);
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if found == stated.trim().to_lowercase() {
            return Ok(());
        }
        Err(format!(
            "sha256 is {stated}, but that of the network beside it is {found}: this describes another file, or the file is damaged"
        ))
    }
}

/// Refuses values that can only be mistakes. Bundles are not held to this: they open as they were
/// fitted.
fn check_ranges(spec: &BackboneSpec) -> Result<(), String> {
    let input = &spec.input;
    let is = |field: &str, values: &dyn std::fmt::Debug, usable: &str| {
        Err(format!("{field} is {values:?}; {usable}"))
    };
    if input.std.iter().any(|s| !(1.0..=255.0).contains(s)) {
        return is(
            "input.std",
            &input.std,
            "it is on the 0 to 255 scale, so 1 to 255 is usable (0.2 on the scale 0 to 1 is 51 here)",
        );
    }
    // Between 0 and 1 is the other scale; no set of pictures is that dark.
    let off = |m: &f32| !(0.0..=255.0).contains(m) || (*m > 0.0 && *m < 1.0);
    if input.mean.iter().any(off) {
        return is(
            "input.mean",
            &input.mean,
            "it is on the 0 to 255 scale, so 0, or 1 to 255, is usable (0.5 on the scale 0 to 1 is 127.5 here)",
        );
    }
    if input.multiple_of > 1024 {
        return is("input.multiple_of", &input.multiple_of, "1024 at most");
    }
    if spec.taps.iter().any(|t| t.output.is_empty()) || same(spec.taps.iter().map(|t| &*t.output)) {
        let outputs: Vec<&str> = spec.taps.iter().map(|t| &*t.output).collect();
        return is(
            "taps",
            &outputs,
            "two different outputs of the network are needed",
        );
    }
    for (field, text) in [
        ("name", &spec.name),
        ("licence", &spec.licence),
        ("input.name", &input.name),
    ] {
        if text.trim().is_empty() || text.len() > 200 {
            return is(field, text, "1 to 200 bytes are usable");
        }
    }
    Ok(())
}

/// Whether two of `names` are the same.
fn same<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut names = names;
    !names.all(|name| seen.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_backbone_is_described_and_an_unknown_one_lists_them() {
        for (name, _) in SHIPPED {
            backbone(name)
                .expect("described")
                .spec
                .check()
                .expect("usable");
        }
        let error = backbone("resnet9000").err().expect("unknown").to_string();
        assert!(error.contains("resnet9000") && error.contains(DEFAULT));
    }
}
