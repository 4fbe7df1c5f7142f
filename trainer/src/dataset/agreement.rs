//! Pictures against a product: what was fitted on already, what is there twice, what is of another
//! kind than the pictures of the fit.

use super::ground_truth::odd_masks;
use super::labelled::TestImage;
use super::pictures::{Copies, Facts, copies, facts_of, in_words, named, without_copies};
use super::{GoodImages, problem};
use crate::error::TrainError;
use partgate::frame::Said;
use partgate::product::{OtherView, Product};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Why `product` would not judge a picture of these facts.
fn other_view(product: &Product, facts: &Facts) -> Result<(), OtherView> {
    let [width, height] = facts.size.map(|side| side as usize);
    product.check_picture_of(width, height, facts.said, Some(facts.light))
}

/// Refuses pictures with different EXIF orientations, where they are taken as they are stored.
fn check_orientations(
    product: &Product,
    facts: &[Facts],
    root: &Path,
    name: &dyn Fn(usize) -> String,
) -> Result<Option<String>, TrainError> {
    let orientation = |said: Said| said.orientation.unwrap_or(1);
    let all: BTreeSet<u8> = facts.iter().map(|f| orientation(f.said)).collect();
    let turned = (0..facts.len()).filter(|&i| orientation(facts[i].said) != 1);
    let names: Vec<String> = turned
        .map(|i| format!("{} ({})", name(i), orientation(facts[i].said)))
        .collect();
    if names.is_empty() || product.reading().upright {
        return Ok(None);
    }
    let words = format!(
        "{} of {} images have an EXIF orientation other than 1, and their pixels are taken as they are stored: {}",
        names.len(),
        facts.len(),
        named(names)
    );
    if all.len() > 1 && product.inputs().is_some() {
        return Err(problem(
            root,
            format!("{words}; save all upright, or fit the product with --exif apply"),
        ));
    }
    Ok(Some(words))
}

/// Labelled images as they count against a product.
pub(crate) struct CheckedSet {
    pub(crate) images: Vec<TestImage>,
    /// Whether each image is of another kind than those of the fit: UNKNOWN on a line.
    pub(crate) other_view: Vec<bool>,
    /// Images that are not counted: copies, and good images of the fit.
    pub(crate) left_out: usize,
    /// What is odd, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// Leaves out of `images` what must not count, and notes what is odd.
///
/// # Errors
/// [`TrainError::Dataset`] for an image that is both good and defective, mixed EXIF orientations, and
/// a set whose good images all are the fit's.
pub(crate) fn checked(product: &Product, images: &[TestImage]) -> Result<CheckedSet, TrainError> {
    let paths: Vec<PathBuf> = images.iter().map(|i| i.path.clone()).collect();
    let facts = facts_of(&paths, product.reading())?;
    let name = |i: usize| {
        let file = images[i].path.file_name().unwrap_or_default();
        format!("{}/{}", images[i].kind, file.to_string_lossy())
    };
    let root = common_folder(&paths);
    let mut notes: Vec<String> = check_orientations(product, &facts, &root, &name)?
        .into_iter()
        .collect();
    let groups = copies(&facts);
    check_labels(&groups, images, &name)?;
    notes.extend(in_words(&groups, &name));
    let twice: HashSet<usize> = groups
        .iter()
        .flat_map(|g| g.others.iter().copied())
        .collect();
    let known = |i: &usize| product.was_fitted_on(&facts[*i].content);
    let single = || (0..images.len()).filter(|i| !twice.contains(i));
    let fitted: Vec<usize> = single()
        .filter(|i| !images[*i].defective())
        .filter(known)
        .collect();
    let goods = single().filter(|i| !images[*i].defective()).count();
    if !fitted.is_empty() {
        let words = format!(
            "{} of {goods} good test images are among the images of the fit ({}); they are in the bank, so they say nothing about new parts",
            fitted.len(),
            named(fitted.iter().map(|&i| name(i)))
        );
        if fitted.len() == goods {
            return Err(problem(
                &root,
                words + ": no good image is left to test with",
            ));
        }
        notes.push(words + " and are left out");
    }
    let learned: Vec<usize> = single()
        .filter(|i| images[*i].defective())
        .filter(known)
        .collect();
    if !learned.is_empty() {
        notes.push(format!(
            "{} images labelled defective were fitted on as good ones: {}; remove them from the good images and fit again",
            learned.len(),
            named(learned.into_iter().map(name))
        ));
    }
    let fitted: HashSet<usize> = fitted.into_iter().collect();
    let kept: Vec<usize> = single().filter(|i| !fitted.contains(i)).collect();
    let views: Vec<Result<(), OtherView>> = kept
        .iter()
        .map(|&i| other_view(product, &facts[i]))
        .collect();
    notes.extend(not_judged(&kept, &views, &name));
    let masks: Vec<PathBuf> = kept.iter().flat_map(|&i| images[i].masks.clone()).collect();
    notes.extend(odd_masks(&masks)?);
    Ok(CheckedSet {
        left_out: images.len() - kept.len(),
        other_view: views.iter().map(Result::is_err).collect(),
        images: kept.into_iter().map(|i| images[i].clone()).collect(),
        notes,
    })
}

/// The images among `kept` that a line would not judge, in words.
fn not_judged(
    kept: &[usize],
    views: &[Result<(), OtherView>],
    name: &dyn Fn(usize) -> String,
) -> Option<String> {
    let others = kept.iter().zip(views);
    let others: Vec<String> = others
        .filter_map(|(&i, view)| Some(format!("{}: {}", name(i), view.as_ref().err()?)))
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "{} of {} images are UNKNOWN, as on a line, because they are of another kind than those of the fit: {}",
            others.len(),
            kept.len(),
            named(others)
        )
    })
}

/// Refuses a picture that is there with two labels.
fn check_labels(
    groups: &[Copies],
    images: &[TestImage],
    name: &dyn Fn(usize) -> String,
) -> Result<(), TrainError> {
    for group in groups {
        let kept = &images[group.kept];
        let differs = |&&other: &&usize| images[other].defective() != kept.defective();
        if let Some(&other) = group.others.iter().find(differs) {
            return Err(problem(
                &images[other].path,
                format!(
                    "the same picture as {}, which has another label",
                    name(group.kept)
                ),
            ));
        }
    }
    Ok(())
}

/// The folder that all `paths` lie under.
fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let first = paths
        .first()
        .and_then(|p| p.parent())
        .unwrap_or(Path::new(""));
    let holds = |dir: &&Path| paths.iter().all(|path| path.starts_with(dir));
    first.ancestors().find(holds).unwrap_or(first).to_path_buf()
}

impl GoodImages {
    /// Good images of another day for `product`: read as the product reads, without copies.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] if images of the fit are among them, or images of another kind than
    /// the fit's; mixed EXIF orientations.
    pub(crate) fn of_another_day(self, product: &Product) -> Result<Self, TrainError> {
        let reading = product.reading();
        let facts = facts_of(&self.paths, reading)?;
        let name = |i: usize| self.relative(&self.paths[i]);
        if let Some(note) = check_orientations(product, &facts, &self.root, &name)? {
            log::warn!("{note}");
        }
        let all = 0..facts.len();
        let known: Vec<usize> = all
            .clone()
            .filter(|&i| product.was_fitted_on(&facts[i].content))
            .collect();
        if !known.is_empty() {
            return Err(problem(
                &self.root,
                format!(
                    "{} of {} images are images of the fit ({}); they are in the bank, so their scores say nothing about new parts. Remove them, or take good images of another day",
                    known.len(),
                    facts.len(),
                    named(known.iter().map(|&i| name(i)))
                ),
            ));
        }
        let views = all.filter_map(|i| Some((i, other_view(product, &facts[i]).err()?)));
        // Other light is what calibration is there for.
        let views = views.filter(|(_, view)| !matches!(view, OtherView::Light(_)));
        let views: Vec<String> = views
            .map(|(i, view)| format!("{}: {view}", name(i)))
            .collect();
        if !views.is_empty() {
            return Err(problem(
                &self.root,
                format!(
                    "{} of {} images are of another kind than those of the fit, so that the line would not judge them: {}",
                    views.len(),
                    facts.len(),
                    named(views)
                ),
            ));
        }
        let Self { root, paths, .. } = self;
        let relative = |path: &Path| {
            path.strip_prefix(&root)
                .unwrap_or(path)
                .display()
                .to_string()
        };
        let (paths, _, copies) = without_copies(paths, facts, &relative);
        if let Some(words) = copies {
            log::warn!("{words}");
        }
        Ok(Self {
            root,
            paths,
            reading,
            survey: None,
        })
    }
}
