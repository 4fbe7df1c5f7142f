//! The layout of the magnetic-tile data set: `MT_Free` and `MT_<kind>`, in each the pictures as JPEG
//! with a mask of the same name as PNG beside them, mostly in a folder `Imgs`.

use super::folders::{name_of, subfolders};
use super::labelled::TestImage;
use super::problem;
use crate::error::TrainError;
use partgate::frame::file::images_under;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The layout has no split of its own: each picture of this many, by name, is for testing.
pub(super) const TESTED: usize = 5;

const FREE: &str = "mt_free";

/// The folder of the pictures without a defect, if `dir` has this layout.
pub(super) fn free_in(dir: &Path) -> Result<Option<PathBuf>, TrainError> {
    let mut all = subfolders(dir)?.into_iter();
    Ok(all.find(|f| name_of(f).to_lowercase() == FREE))
}

/// A picture and its mask.
type Pair = (PathBuf, Option<PathBuf>);

/// The pictures below `folder`, by path, with their masks.
fn pairs(folder: &Path) -> Result<Vec<Pair>, TrainError> {
    let is_mask = |path: &Path| {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        ending.as_deref() == Some("png")
    };
    let (masks, pictures): (Vec<PathBuf>, Vec<PathBuf>) =
        images_under(folder)?.into_iter().partition(|p| is_mask(p));
    let mut by_name: HashMap<PathBuf, PathBuf> = masks
        .iter()
        .map(|m| (m.with_extension(""), m.clone()))
        .collect();
    let pairs: Vec<Pair> = pictures
        .into_iter()
        .map(|picture| {
            let mask = by_name.remove(&picture.with_extension(""));
            (picture, mask)
        })
        .collect();
    let orphan = masks
        .iter()
        .find(|m| by_name.contains_key(&m.with_extension("")));
    if let Some(orphan) = orphan {
        return Err(problem(
            orphan,
            "a mask without its picture: in the layout of the magnetic tiles NAME.png is the mask of NAME.jpg",
        ));
    }
    Ok(pairs)
}

/// The pictures of a folder in this layout.
pub(super) struct MagneticTiles {
    /// For the fit.
    pub(super) train: Vec<PathBuf>,
    /// For testing, good ones first.
    pub(super) test: Vec<TestImage>,
    /// The layout in a line.
    pub(super) layout: String,
}

impl MagneticTiles {
    pub(super) fn find(dir: &Path) -> Result<Self, TrainError> {
        let free = free_in(dir)?.ok_or_else(|| {
            problem(
                dir,
                "no folder MT_Free, which holds the good pictures in the layout of the magnetic tiles",
            )
        })?;
        let goods = pairs(&free)?.into_iter().map(|(picture, _)| picture);
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (index, path) in goods.enumerate() {
            if index % TESTED == TESTED - 1 {
                test.push(TestImage {
                    path,
                    kind: "good".into(),
                    masks: Vec::new(),
                });
            } else {
                train.push(path);
            }
        }
        let mut counts = vec![format!(
            "{}: {} ({} of them, each fifth by name, for testing)",
            name_of(&free),
            train.len() + test.len(),
            test.len()
        )];
        for folder in subfolders(dir)? {
            if folder == free {
                continue;
            }
            let kind = name_of(&folder);
            let found = pairs(&folder)?;
            counts.push(format!("{kind}: {}", found.len()));
            test.extend(found.into_iter().map(|(path, mask)| TestImage {
                path,
                kind: kind.clone(),
                masks: mask.into_iter().collect(),
            }));
        }
        Ok(Self {
            train,
            test,
            layout: format!(
                "MT_Free, MT_KIND, NAME.png is the mask of NAME.jpg (Magnetic-Tile); {}",
                counts.join(", ")
            ),
        })
    }
}
