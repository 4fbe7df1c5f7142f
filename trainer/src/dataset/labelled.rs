//! Labelled images, in the layouts of MVTec AD, MVTec AD 2, MVTec LOCO, BTAD, or plain folders of good
//! and bad images.

use super::folders::{Meaning, contents, images_in, meaning_of, name_of, subfolders};
use super::problem;
use crate::error::TrainError;
use partgate::frame::file::{images_under, list};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// One labelled test image.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) path: PathBuf,
    /// `good`, or the name of its folder: the kind of defect.
    pub(crate) kind: String,
    /// Ground truth, where there is one: what any of them marks.
    pub(crate) masks: Vec<PathBuf>,
}

impl TestImage {
    /// Whether the part should be rejected.
    pub(crate) fn defective(&self) -> bool {
        self.kind != "good"
    }
}

/// Labelled images as they were found.
pub(crate) struct TestSet {
    /// Kind by kind.
    pub(crate) images: Vec<TestImage>,
    /// The layout in a line.
    pub(crate) layout: String,
}

/// Which folders hold the labelled images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `test` and `ground_truth`.
    Test,
    /// `test_public`, with its ground truth inside.
    Public,
    /// The folder itself.
    Plain,
}

/// Where the labelled images of a data set lie.
struct Places {
    /// Folder of the kinds.
    test: PathBuf,
    /// Folders of the masks.
    truth: Vec<PathBuf>,
    /// Its name, for people.
    name: &'static str,
}

fn truth_in(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let all = subfolders(dir)?.into_iter();
    Ok(all.filter(|f| meaning_of(f) == Meaning::Truth).collect())
}

impl Places {
    /// The folders of `dir` in `shape`; None if no shape was recognised.
    fn find(dir: &Path, shape: Option<Shape>) -> Result<Self, TrainError> {
        let inside = subfolders(dir)?;
        let called = |name: &str| {
            let mut all = inside.iter();
            all.find(|f| name_of(f).to_lowercase() == name).cloned()
        };
        let truth = truth_in(dir)?;
        let test = match shape {
            Some(Shape::Test) => called("test").or_else(|| called("testing")),
            Some(Shape::Public) => called("test_public"),
            Some(Shape::Plain) => Some(dir.to_path_buf()),
            None => None,
        };
        let (Some(shape), Some(test)) = (shape, test) else {
            return Err(problem(
                dir,
                format!(
                    "no `test` folder; here is {}. Validation needs test/good and test/<kind of defect>, and ground_truth/<kind>/<name>_mask.png for pixel figures; or a folder with good/ beside kinds of defects; or a list (path,label,mask,part)",
                    contents(dir)?
                ),
            ));
        };
        Ok(match shape {
            Shape::Test => Self {
                test,
                truth,
                name: "test/good, test/KIND, ground_truth/KIND/NAME_mask.png (MVTec AD and its relatives)",
            },
            Shape::Public => Self {
                truth: [truth, truth_in(&test)?].concat(),
                test,
                name: "test_public/good, test_public/bad, test_public/ground_truth/bad (MVTec AD 2)",
            },
            Shape::Plain => Self {
                test,
                truth,
                name: "plain folders, good images beside kinds of defects",
            },
        })
    }
}

/// The masks of a data set by kind and stem of their images.
#[derive(Default)]
struct Masks {
    by_image: HashMap<(String, String), Vec<PathBuf>>,
    all: Vec<PathBuf>,
}

/// `000_mask` to `000`.
fn without_suffix(stem: &str) -> &str {
    let lower = stem.to_lowercase();
    let suffix = ["_mask", "_gt", "-mask"]
        .iter()
        .find(|s| lower.ends_with(**s));
    suffix.map_or(stem, |suffix| &stem[..stem.len() - suffix.len()])
}

fn stem_of(path: &Path) -> String {
    let stem = path.file_stem();
    stem.map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default()
}

impl Masks {
    fn find(truth: &[PathBuf]) -> Result<Self, TrainError> {
        let mut masks = Self::default();
        for folder in truth {
            for path in images_under(folder)? {
                let below = path.strip_prefix(folder).unwrap_or(&path);
                let parts: Vec<String> = below
                    .iter()
                    .map(|p| p.to_string_lossy().into_owned())
                    .collect();
                let file = stem_of(&path);
                let stem = match &parts[..] {
                    // MVTec LOCO: a folder of masks for each image.
                    [_, image, _] => image.clone(),
                    _ => file,
                };
                let kind = if parts.len() > 1 {
                    parts[0].clone()
                } else {
                    String::new()
                };
                masks
                    .by_image
                    .entry((kind, stem))
                    .or_default()
                    .push(path.clone());
                masks.all.push(path);
            }
        }
        Ok(masks)
    }

    /// The masks of the image `stem` of the folder `kind`: those of its own name, or of its name
    /// with `_mask` or `_gt`.
    fn of(&self, kind: &str, stem: &str) -> Result<Vec<PathBuf>, TrainError> {
        let mut found: Vec<(&str, &PathBuf)> = Vec::new();
        for ((of_kind, of_stem), paths) in &self.by_image {
            let same_kind = of_kind == kind || of_kind.is_empty();
            if same_kind && (of_stem == stem || without_suffix(of_stem) == stem) {
                found.extend(paths.iter().map(|path| (of_stem.as_str(), path)));
            }
        }
        found.sort_by_key(|(_, path)| path.to_path_buf());
        let folders: HashSet<Option<&Path>> = found.iter().map(|(_, p)| p.parent()).collect();
        let in_one_folder = folders.len() == 1
            && found
                .iter()
                .all(|(_, p)| p.parent().is_some_and(|f| name_of(f) == stem));
        if found.len() > 1 && !in_one_folder {
            return Err(problem(
                found[0].1,
                format!(
                    "{} is for the same image; which is its mask? Keep one",
                    found[1].1.display()
                ),
            ));
        }
        Ok(found.into_iter().map(|(_, path)| path.clone()).collect())
    }
}

/// The images of one folder of `test`.
fn images_of_kind(folder: &Path, masks: &Masks) -> Result<Vec<TestImage>, TrainError> {
    let (name, good) = (name_of(folder), meaning_of(folder) == Meaning::Good);
    let mut images: Vec<TestImage> = Vec::new();
    let mut by_mask: HashMap<PathBuf, PathBuf> = HashMap::new();
    for path in images_under(folder)? {
        let found = if good {
            Vec::new()
        } else {
            masks.of(&name, &stem_of(&path))?
        };
        for mask in &found {
            if let Some(other) = by_mask.insert(mask.clone(), path.clone()) {
                return Err(problem(
                    mask,
                    format!(
                        "a mask for two images, {} and {}; rename one of them, or remove the copy",
                        other.display(),
                        path.display()
                    ),
                ));
            }
        }
        images.push(TestImage {
            path,
            kind: if good { "good".into() } else { name.clone() },
            masks: found,
        });
    }
    Ok(images)
}

impl TestSet {
    /// The labelled images of `dir`, kind by kind, with their masks.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] for a folder in no known layout, for images that belong to no kind, and
    /// for masks that do not belong to exactly one image.
    pub(super) fn find(dir: &Path, shape: Option<Shape>) -> Result<Self, TrainError> {
        let layout = Places::find(dir, shape)?;
        let test = &layout.test;
        let loose = images_in(test)?;
        if let Some(first) = loose.first() {
            return Err(problem(
                test,
                format!(
                    "{} directly here ({}), so that nothing says whether it is good; move it into a folder for good images or for a kind of defect",
                    super::folders::images(loose.len()),
                    name_of(first)
                ),
            ));
        }
        if let Some(words) = list(test)?.passed_over() {
            log::warn!("{}: {words}", test.display());
        }
        let masks = Masks::find(&layout.truth)?;
        let (mut images, mut kinds) = (Vec::new(), Vec::new());
        for folder in subfolders(test)? {
            let kind = match meaning_of(&folder) {
                Meaning::Truth | Meaning::Train => continue,
                Meaning::Good if name_of(&folder) != "good" => {
                    format!("{} (taken as good)", name_of(&folder))
                }
                _ => name_of(&folder),
            };
            let found = images_of_kind(&folder, &masks)?;
            kinds.push(format!("{kind}: {}", found.len()));
            images.extend(found);
        }
        check_all_used(&masks, &images)?;
        Ok(Self {
            images,
            layout: format!("{}; {}", layout.name, kinds.join(", ")),
        })
    }

    /// The set, unless nothing could be learned from it. `at` is where it was looked for.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] for a set without images, or without good ones.
    pub(super) fn checked(self, at: &Path) -> Result<Self, TrainError> {
        if self.images.is_empty() {
            return Err(problem(
                at,
                format!("no images to test with ({})", self.layout),
            ));
        }
        if self.images.iter().all(TestImage::defective) {
            return Err(problem(
                at,
                format!(
                    "no good images: here is {}. Put good images that were not used for the fit into test/good, or label them good",
                    counted(&self.images)
                ),
            ));
        }
        Ok(self)
    }
}

/// `good: 2, crack: 1`.
pub(super) fn counted(images: &[TestImage]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for image in images {
        match counts.iter_mut().find(|(kind, _)| *kind == image.kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((&image.kind, 1)),
        }
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(kind, n)| format!("{kind}: {n}"))
        .collect();
    words.join(", ")
}

fn check_all_used(masks: &Masks, images: &[TestImage]) -> Result<(), TrainError> {
    let used: HashSet<&PathBuf> = images.iter().flat_map(|i| &i.masks).collect();
    for mask in &masks.all {
        let for_good = mask
            .ancestors()
            .skip(1)
            .take(2)
            .any(|f| meaning_of(f) == Meaning::Good);
        if !used.contains(mask) && !for_good {
            return Err(problem(
                mask,
                "a mask without its image: test/<kind>/<name> is expected with ground_truth/<kind>/<name>_mask.png, ground_truth/<kind>/<name>.png or the folder ground_truth/<kind>/<name>; remove the mask or restore the image",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{GoodImages, Source, categories};
    use super::*;

    fn touch(path: PathBuf) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        image::GrayImage::new(4, 4).save(path).expect("image");
    }

    fn set(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        for file in files {
            touch(dir.path().join(file));
        }
        dir
    }

    fn tests(dir: &Path) -> Result<TestSet, TrainError> {
        Source::find(dir, None)?.tests()
    }

    fn refused(files: &[&str]) -> String {
        let dir = set(files);
        tests(dir.path()).err().expect("accepted").to_string()
    }

    #[test]
    fn masks_find_their_images_and_orphans_are_named() {
        let dir = set(&[
            "train/good/a.png",
            "test/good/b.png",
            "test/crack/c.png",
            "test/crack/d.png",
            "ground_truth/crack/c_mask.png",
        ]);
        let root = dir.path();
        let images = tests(root).expect("layout").images;
        assert_eq!(images.len(), 3);
        assert_eq!(images.iter().filter(|i| i.defective()).count(), 2);
        assert_eq!(images.iter().filter(|i| !i.masks.is_empty()).count(), 1);
        assert_eq!(GoodImages::find(root).expect("good").paths.len(), 1);
        assert_eq!(categories(root, None).expect("one").len(), 1);
        touch(root.join("ground_truth/crack/gone_mask.png"));
        let error = tests(root).err().expect("orphan accepted").to_string();
        assert!(error.contains("gone_mask.png") && error.contains("without its image"));
    }

    #[test]
    fn the_relatives_of_the_layout_are_read() {
        for (files, images, masked) in [
            (
                &["test/ok/a.png", "test/ko/b.bmp", "ground_truth/ko/b.png"][..],
                2,
                1,
            ),
            (
                &[
                    "test_public/good/a.png",
                    "test_public/bad/b.png",
                    "test_public/ground_truth/bad/b_mask.png",
                ],
                2,
                1,
            ),
            (
                &[
                    "test/good/a.png",
                    "test/logical/b.png",
                    "ground_truth/logical/b/000.png",
                    "ground_truth/logical/b/001.png",
                ],
                2,
                1,
            ),
            (
                &["good/a.png", "NG/b.png", "crack/c.png", "masks/crack/c.png"],
                3,
                1,
            ),
            (
                &["Test/Good/a.png", "Test/scratch/b.png", "Test/.trash/c.png"],
                2,
                0,
            ),
        ] {
            let dir = set(files);
            let found = tests(dir.path()).expect("a known layout").images;
            assert_eq!(found.len(), images, "{files:?}");
            let with_masks: Vec<&TestImage> =
                found.iter().filter(|i| !i.masks.is_empty()).collect();
            assert_eq!(with_masks.len(), masked, "{files:?}");
            assert_eq!(
                found.iter().filter(|i| !i.defective()).count(),
                1,
                "{files:?}"
            );
        }
    }

    #[test]
    fn nothing_is_passed_over_or_guessed() {
        for (files, words) in [
            (
                &["test/good/a.png", "test/b.png"][..],
                "1 image directly here",
            ),
            (&["test/crack/a.png"], "no good images: here is crack: 1"),
            (
                &[
                    "test/good/a.png",
                    "test/crack/b.png",
                    "test/crack/b.bmp",
                    "ground_truth/crack/b_mask.png",
                ],
                "a mask for two images",
            ),
            (
                &[
                    "test/good/a.png",
                    "test/crack/b.png",
                    "ground_truth/crack/b_mask.png",
                    "ground_truth/crack/b.png",
                ],
                "Keep one",
            ),
            (
                &["train/good/a.png", "other/b.png"],
                "no `test` folder; here is other (1 image), train (1 image)",
            ),
            (&["good/a.png"], "no `test` folder; here is good (1 image)"),
        ] {
            let error = refused(files);
            assert!(error.contains(words), "{files:?}: {error}");
        }
    }
}
