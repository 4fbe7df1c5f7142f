//! Image folders: MVTec layout (`train/good`, `test/<kind>`, `ground_truth/<kind>`) or a plain
//! folder of good images.

mod ground_truth;

pub(crate) use ground_truth::{defect_mask, seen_by_network};

use crate::error::TrainError;
use partgate::frame::file::images_under;
use std::path::{Path, PathBuf};

fn problem(path: &Path, problem: impl Into<String>) -> TrainError {
    TrainError::Dataset {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}

/// Good images to fit on, sorted by path.
pub(crate) struct GoodImages {
    /// The folder they lie under.
    pub(crate) root: PathBuf,
    pub(crate) paths: Vec<PathBuf>,
}

impl GoodImages {
    /// `dir/train/good` where there is one, otherwise every image under `dir`.
    pub(crate) fn find(dir: &Path) -> Result<Self, TrainError> {
        let mvtec = dir.join("train").join("good");
        let root = if mvtec.is_dir() {
            mvtec
        } else if ["train", "test", "ground_truth"]
            .iter()
            .any(|sub| dir.join(sub).is_dir())
        {
            // Taking everything below would put defective test images into the bank.
            return Err(problem(
                dir,
                "looks like MVTec layout but has no train/good; put the good images there, or name a folder that holds good images only",
            ));
        } else {
            dir.to_path_buf()
        };
        let paths = images_under(&root)?;
        if paths.is_empty() {
            return Err(problem(
                &root,
                "no images here (PNG, JPEG, BMP and TIFF are read); name a folder of good images",
            ));
        }
        Ok(Self { root, paths })
    }

    /// A file's name in the digest and in reports: relative to the root, so that moving the
    /// folder changes nothing.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    }
}

/// One labelled test image.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) path: PathBuf,
    /// Name of its folder: `good` or the kind of defect.
    pub(crate) kind: String,
    /// Ground truth, where there is one.
    pub(crate) mask: Option<PathBuf>,
}

impl TestImage {
    /// Whether the part should be rejected.
    pub(crate) fn defective(&self) -> bool {
        self.kind != "good"
    }
}

fn subfolders(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let read = |source| TrainError::File {
        path: dir.to_path_buf(),
        action: "listing",
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The labelled images of `dir/test`, kind by kind, with their masks.
pub(crate) fn test_images(dir: &Path) -> Result<Vec<TestImage>, TrainError> {
    let test = dir.join("test");
    if !test.is_dir() {
        return Err(problem(
            dir,
            "no `test` folder; validation needs test/good and test/<kind of defect>, and ground_truth/<kind>/<name>_mask.png for pixel figures",
        ));
    }
    let truth = dir.join("ground_truth");
    let mut images = Vec::new();
    for folder in subfolders(&test)? {
        let kind = name_of(&folder);
        for path in images_under(&folder)? {
            let stem = path
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default();
            // MVTec writes 000_mask.png; some derived sets keep the image's own name.
            let mask = [format!("{stem}_mask.png"), format!("{stem}.png")]
                .iter()
                .map(|name| truth.join(&kind).join(name))
                .find(|p| kind != "good" && p.is_file());
            images.push(TestImage {
                path,
                kind: kind.clone(),
                mask,
            });
        }
    }
    if images.is_empty() {
        return Err(problem(&test, "no images in its folders"));
    }
    if truth.is_dir() {
        let used: std::collections::HashSet<&PathBuf> =
            images.iter().filter_map(|i| i.mask.as_ref()).collect();
        for mask in images_under(&truth)? {
            let for_good = mask.parent().is_some_and(|p| name_of(p) == "good");
            if !used.contains(&mask) && !for_good {
                return Err(problem(
                    &mask,
                    "a mask without its image: test/<kind>/<name> with ground_truth/<kind>/<name>_mask.png is expected; remove the mask or restore the image",
                ));
            }
        }
    }
    Ok(images)
}

/// The categories under `root` (folders with train/good), or `root` itself if it is one.
pub(crate) fn categories(root: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let is_category = |p: &Path| p.join("train").join("good").is_dir();
    if is_category(root) {
        return Ok(vec![root.to_path_buf()]);
    }
    let found: Vec<PathBuf> = subfolders(root)?
        .into_iter()
        .filter(|p| is_category(p))
        .collect();
    if found.is_empty() {
        return Err(problem(
            root,
            "no folder below it has train/good; name the root of a data set in MVTec layout",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        image::GrayImage::new(4, 4).save(path).expect("image");
    }

    #[test]
    fn masks_find_their_images_and_orphans_are_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path();
        touch(root.join("train/good/a.png"));
        touch(root.join("test/good/b.png"));
        touch(root.join("test/crack/c.png"));
        touch(root.join("test/crack/d.png"));
        touch(root.join("ground_truth/crack/c_mask.png"));
        let images = test_images(root).expect("layout");
        assert_eq!(images.len(), 3);
        assert_eq!(images.iter().filter(|i| i.defective()).count(), 2);
        assert_eq!(images.iter().filter(|i| i.mask.is_some()).count(), 1);
        assert_eq!(GoodImages::find(root).expect("good").paths.len(), 1);
        assert_eq!(categories(root).expect("one").len(), 1);
        touch(root.join("ground_truth/crack/gone_mask.png"));
        let error = test_images(root).expect_err("orphan accepted").to_string();
        assert!(error.contains("gone_mask.png") && error.contains("without its image"));
    }

    #[test]
    fn a_layout_without_good_images_is_not_swept_up() {
        let dir = tempfile::tempdir().expect("temporary folder");
        touch(dir.path().join("test/crack/c.png"));
        let error = GoodImages::find(dir.path()).err().expect("swept up");
        assert!(error.to_string().contains("train/good"));
        let empty = tempfile::tempdir().expect("temporary folder");
        let error = GoodImages::find(empty.path()).err().expect("empty");
        assert!(error.to_string().contains("no images"));
    }
}
