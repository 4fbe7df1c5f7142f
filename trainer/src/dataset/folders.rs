//! What the names of folders mean, and whether a folder holds more than good pictures.

use super::problem;
use crate::error::TrainError;
use partgate::frame::file::{images_under, is_hidden};
use std::path::{Path, PathBuf};

/// What a folder's name says about the pictures in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Good,
    Bad,
    /// A part of a labelled data set for training.
    Train,
    /// A part of a labelled data set for testing.
    Test,
    /// Masks.
    Truth,
    /// Anything else: a kind of defect, a day, a camera.
    Other,
}

const GOOD: [&str; 9] = [
    "good", "goods", "ok", "okay", "io", "normal", "normals", "pass", "passed",
];
const BAD: [&str; 21] = [
    "bad",
    "ng",
    "nok",
    "ko",
    "nio",
    "defect",
    "defects",
    "defective",
    "anomaly",
    "anomalies",
    "anomalous",
    "abnormal",
    "fault",
    "faults",
    "faulty",
    "reject",
    "rejects",
    "rejected",
    "damaged",
    "broken",
    "scrap",
];
const TRUTH: [&str; 11] = [
    "mask",
    "masks",
    "gt",
    "groundtruth",
    "truth",
    "label",
    "labels",
    "annotation",
    "annotations",
    "segmentation",
    "segmentations",
];
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 5] = ["test", "testing", "val", "valid", "validation"];
/// Words that change nothing.
const BESIDE: [&str; 11] = [
    "set", "part", "parts", "image", "images", "img", "picture", "pictures", "sample", "samples",
    "public",
];

/// What `name` means, in any case and with any separators: `Ground_Truth`, `masks-png`, `good parts`.
pub(super) fn meaning(name: &str) -> Meaning {
    let name = name.to_lowercase();
    let letters: String = name.chars().filter(|c| c.is_alphabetic()).collect();
    if letters.starts_with("groundtruth") {
        return Meaning::Truth;
    }
    let words: Vec<&str> = name
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty() && !BESIDE.contains(word))
        .collect();
    let all = |list: &[&str]| !words.is_empty() && words.iter().all(|w| list.contains(w));
    let any = |list: &[&str]| words.iter().any(|w| list.contains(w));
    let negated = any(&["no", "non", "not", "without", "free"]);
    match () {
        () if any(&TRUTH) => Meaning::Truth,
        () if all(&GOOD) || negated && any(&BAD) => Meaning::Good,
        () if all(&TRAIN) => Meaning::Train,
        () if all(&TEST) => Meaning::Test,
        () if any(&BAD) || negated && any(&GOOD) => Meaning::Bad,
        () => Meaning::Other,
    }
}

/// The name of a folder or file.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What [`name_of`] `path` means.
pub(super) fn meaning_of(path: &Path) -> Meaning {
    meaning(&name_of(path))
}

/// The folders in `dir`, sorted, without hidden ones.
pub(super) fn subfolders(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let read = |source| TrainError::File {
        path: dir.to_path_buf(),
        action: "listing",
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() && !is_hidden(&name_of(&path)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The images that lie in `dir` itself.
pub(super) fn images_in(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let all = images_under(dir)?;
    Ok(all
        .into_iter()
        .filter(|path| path.parent() == Some(dir))
        .collect())
}

/// `good (12 images), crack (4 images)`: what lies in `dir`.
pub(super) fn contents(dir: &Path) -> Result<String, TrainError> {
    let mut words = Vec::new();
    for folder in subfolders(dir)? {
        let count = images_under(&folder)?.len();
        words.push(format!("{} ({})", name_of(&folder), images(count)));
    }
    let loose = images_in(dir)?.len();
    if loose > 0 {
        words.push(format!("{} not in a folder", images(loose)));
    }
    if words.is_empty() {
        words.push("nothing".into());
    }
    Ok(words.join(", "))
}

/// `1 image`, `2 images`.
pub(super) fn images(count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} image{s}")
}

/// The good folders in `dir`.
pub(super) fn good_in(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let all = subfolders(dir)?.into_iter();
    Ok(all.filter(|f| meaning_of(f) == Meaning::Good).collect())
}

/// The folder of training images in `dir`, if there is one.
pub(super) fn train_in(dir: &Path) -> Result<Option<PathBuf>, TrainError> {
    let mut all = subfolders(dir)?.into_iter();
    Ok(all.find(|f| meaning_of(f) == Meaning::Train))
}

/// Whether the folders `names` beside each other, with or without images beside them, are not all
/// good pictures.
fn mixed(meanings: &[Meaning], loose: bool) -> bool {
    let sure = [Meaning::Train, Meaning::Test, Meaning::Truth, Meaning::Bad];
    let good = meanings.iter().filter(|&&m| m == Meaning::Good).count();
    let beside = loose || meanings.len() > good;
    meanings.iter().any(|m| sure.contains(m)) || good > 0 && beside
}

/// Refuses a folder below which something else than good pictures lies, as far as names tell: taking
/// everything would make defects and masks into goods.
///
/// # Errors
/// [`TrainError::Dataset`], which says what is there and which folder to name instead.
pub(super) fn check_only_goods(root: &Path) -> Result<(), TrainError> {
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        let inside = subfolders(&dir)?;
        let meanings: Vec<Meaning> = inside.iter().map(|f| meaning_of(f)).collect();
        if !inside.is_empty() && mixed(&meanings, !images_in(&dir)?.is_empty()) {
            return Err(swept_up(root, &dir)?);
        }
        open.extend(inside.into_iter().rev());
    }
    Ok(())
}

/// The folders of good images below `root`, to be named instead.
fn instead(root: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(dir) = open.pop() {
        let train = train_in(&dir)?;
        if let Some(train) = &train
            && !good_in(train)?.is_empty()
        {
            found.push(dir);
            continue;
        }
        for folder in subfolders(&dir)?.into_iter().rev() {
            match meaning_of(&folder) {
                Meaning::Good => found.push(folder),
                Meaning::Other | Meaning::Train => open.push(folder),
                Meaning::Bad | Meaning::Test | Meaning::Truth => {}
            }
        }
    }
    Ok(found)
}

fn swept_up(root: &Path, dir: &Path) -> Result<TrainError, TrainError> {
    let found = contents(dir)?;
    let instead: Vec<String> = instead(root)?
        .iter()
        .take(5)
        .map(|path| path.display().to_string())
        .collect();
    let cure = if instead.is_empty() {
        "name a folder that holds good images only, or one with train/good".to_owned()
    } else {
        format!("name {} instead", instead.join(" or "))
    };
    Ok(problem(
        dir,
        format!(
            "holds more than good images: {found}; taken together, defects or masks would become goods: {cure}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_the_same_however_they_are_written() {
        for (name, means) in [
            ("good", Meaning::Good),
            ("OK", Meaning::Good),
            ("Good parts", Meaning::Good),
            ("no_defect", Meaning::Good),
            ("not good", Meaning::Bad),
            ("NG", Meaning::Bad),
            ("defects-2", Meaning::Bad),
            ("Ground_Truth", Meaning::Truth),
            ("crack_mask", Meaning::Truth),
            ("masks.png", Meaning::Truth),
            ("test_public", Meaning::Test),
            ("Train", Meaning::Train),
            ("crack", Meaning::Other),
            ("test bench 3", Meaning::Other),
            ("2024-05-01", Meaning::Other),
            ("", Meaning::Other),
        ] {
            assert_eq!(meaning(name), means, "{name}");
        }
    }
}
