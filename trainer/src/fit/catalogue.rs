//! Backbones: the shipped ones by name, or a user's own ONNX file with its description beside it.

use crate::error::TrainError;
use partgate::backbone::BackboneSpec;
use serde::Deserialize;
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
    let text = read(&description)?;
    let spec = serde_json::from_slice(&text)
        .map_err(|e| TrainError::Setting(format!("{}: {e}", description.display())))?;
    Ok(BackboneFile {
        spec,
        onnx: Cow::Owned(onnx),
    })
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
