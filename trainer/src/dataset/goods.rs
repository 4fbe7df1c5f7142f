//! A folder of good images.

use super::findings::Survey;
use super::folders::{check_only_goods, contents, good_in, name_of, train_in};
use super::problem;
use crate::error::TrainError;
use partgate::frame::file::{ImageFileError, list, read_picture};
use partgate::frame::{Frame, Reading};
use std::path::{Path, PathBuf};

/// Good images to fit on, sorted by path.
#[derive(Clone, Default)]
pub(crate) struct GoodImages {
    /// The folder they lie under.
    pub(crate) root: PathBuf,
    pub(crate) paths: Vec<PathBuf>,
    /// How their files become frames.
    pub(crate) reading: Reading,
    /// What they were found to be like; None before they are surveyed.
    pub(crate) survey: Option<Survey>,
}

impl GoodImages {
    /// `dir/train/good` where there is one, otherwise every image under `dir`. `good` may be written
    /// in another way (`Good`, `ok`, `normal`).
    ///
    /// # Errors
    /// [`TrainError::Dataset`] for a folder without images, and for one that holds something else
    /// than good images as far as the names of its folders tell.
    pub(crate) fn find(dir: &Path) -> Result<Self, TrainError> {
        let root = Self::root_of(dir)?;
        check_only_goods(&root)?;
        let listed = list(&root)?;
        if let Some(words) = listed.passed_over() {
            log::warn!("{}: {words}", root.display());
        }
        if listed.images.is_empty() {
            return Err(problem(
                &root,
                "no images here (PNG, JPEG, BMP and TIFF are read); name a folder of good images",
            ));
        }
        Ok(Self {
            root,
            paths: listed.images,
            ..Self::default()
        })
    }

    /// The images `paths`, whose names in reports are relative to `root`.
    pub(super) fn of(root: &Path, mut paths: Vec<PathBuf>) -> Self {
        paths.sort();
        Self {
            root: root.to_path_buf(),
            paths,
            ..Self::default()
        }
    }

    fn root_of(dir: &Path) -> Result<PathBuf, TrainError> {
        if !dir.is_dir() {
            // Not listed, so that a file or a missing folder is named as what it is.
            return Ok(dir.to_path_buf());
        }
        let Some(train) = train_in(dir)? else {
            return Ok(dir.to_path_buf());
        };
        match &good_in(&train)?[..] {
            [good] => Ok(good.clone()),
            [] => Err(problem(
                dir,
                format!(
                    "looks like MVTec layout but has no train/good: {} holds {}; put the good images there, or name a folder that holds good images only",
                    train.display(),
                    contents(&train)?
                ),
            )),
            several => Err(problem(
                &train,
                format!(
                    "several folders of good images: {}; name one of them",
                    several
                        .iter()
                        .map(|f| name_of(f))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )),
        }
    }

    /// The same without the images of these numbers.
    pub(crate) fn without(mut self, left_out: &[usize]) -> Self {
        let keep = |index: usize| !left_out.contains(&index);
        let mut index = 0;
        self.paths.retain(|_| {
            index += 1;
            keep(index - 1)
        });
        self.survey = self.survey.map(|survey| survey.without(&keep));
        self
    }

    /// Reads an image as the product will.
    ///
    /// # Errors
    /// [`ImageFileError`] naming the file.
    pub(crate) fn read(&self, path: &Path) -> Result<Frame, ImageFileError> {
        Ok(read_picture(path, self.reading)?.frame)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        image::GrayImage::new(4, 4).save(path).expect("image");
    }

    fn refused(dir: &Path) -> String {
        GoodImages::find(dir).err().expect("swept up").to_string()
    }

    #[test]
    fn a_layout_without_good_images_is_not_swept_up() {
        let dir = tempfile::tempdir().expect("temporary folder");
        touch(dir.path().join("test/crack/c.png"));
        assert!(refused(dir.path()).contains("train/good"));
        let empty = tempfile::tempdir().expect("temporary folder");
        assert!(refused(empty.path()).contains("no images"));
    }

    #[test]
    fn other_folders_beside_good_ones_are_found_at_any_level() {
        for (files, instead) in [
            (&["good/a.png", "crack/b.png"][..], "good"),
            (&["OK/a.png", "b.png"], "OK"),
            (
                &["lid/2024/good/a.png", "lid/2024/mask/b.png"],
                "lid/2024/good",
            ),
            (
                &["bottle/train/good/a.png", "bottle/test/crack/b.png"],
                "bottle",
            ),
            (&["monday/a.png", "monday/NG/b.png"], "good images only"),
        ] {
            let dir = tempfile::tempdir().expect("temporary folder");
            for file in files {
                touch(dir.path().join(file));
            }
            let error = refused(dir.path());
            let instead = if instead.contains(' ') {
                instead.to_owned()
            } else {
                format!("name {} instead", dir.path().join(instead).display())
            };
            assert!(error.contains(&instead), "{files:?}: {error}");
        }
    }

    #[test]
    fn days_and_hidden_folders_are_no_layout() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for file in ["mon/a.png", "tue/good/b.png", ".cache/mask/c.png"] {
            touch(dir.path().join(file));
        }
        let found = GoodImages::find(dir.path()).expect("good images");
        assert_eq!(found.paths.len(), 2);
        touch(dir.path().join("set/Train/ok/d.png"));
        let found = GoodImages::find(&dir.path().join("set")).expect("train/ok");
        assert!(found.root.ends_with("Train/ok"));
    }
}
