//! The images that were inspected worst, inspected once more for their maps.

use crate::dataset::defect_mask;
use crate::error::TrainError;
use crate::validation::{Inspected, is_plain};
use partgate::backbone::Threads;
use partgate::frame::Frame;
use partgate::frame::file::read_picture;
use partgate::inspection::Inspector;
use partgate::product::Product;
use partgate::size::Size;
use partgate::verdict::Verdict;
use partgate::view::overlay::contour;
use partgate::view::{Badge, Card, NetworkView, Picture, ScoreBar, Tone, overlay};
use std::path::{Path, PathBuf};

/// Colour of the line round the ground truth.
const TRUTH: [u8; 3] = [60, 255, 120];

/// Which images a gallery shows.
pub(super) struct Worst<'a> {
    pub(super) images: Vec<&'a Inspected>,
    /// Of how many mistakes; 0 when the images are only the closest calls.
    pub(super) mistakes: usize,
}

/// Shown where nothing was inspected wrongly: how close it came.
const CLOSEST: usize = 4;

fn worst<'a>(
    inspected: &'a [Inspected],
    of: impl Fn(&Inspected) -> bool,
    mistake: impl Fn(&Inspected) -> bool,
    order: impl Fn(&Inspected) -> f32,
    at_most: usize,
) -> Worst<'a> {
    let mut images: Vec<&Inspected> = inspected.iter().filter(|j| of(j)).collect();
    images.sort_by(|a, b| order(a).total_cmp(&order(b)).then(a.path.cmp(&b.path)));
    let mistakes = images.iter().filter(|j| mistake(j)).count();
    if mistakes > 0 {
        images.retain(|j| mistake(j));
        images.truncate(at_most);
    } else {
        images.truncate(at_most.min(CLOSEST));
    }
    Worst { images, mistakes }
}

/// Defectives called OK, the lowest score first; without any, the closest to it.
pub(super) fn misses(inspected: &[Inspected], at_most: usize) -> Worst<'_> {
    let escaped = |j: &Inspected| j.verdict == Verdict::Ok;
    worst(inspected, |j| j.defective, escaped, |j| j.score, at_most)
}

/// Goods not called OK, the highest score first; without any, the closest to it.
pub(super) fn false_rejects(inspected: &[Inspected], at_most: usize) -> Worst<'_> {
    let rejected = |j: &Inspected| j.verdict != Verdict::Ok;
    worst(inspected, |j| !j.defective, rejected, |j| -j.score, at_most)
}

/// Makes cards; holds the loaded product.
pub(super) struct Gallery<'a> {
    product: &'a Product,
    inspector: Inspector,
    view: NetworkView,
    /// What the images' paths are relative to.
    root: PathBuf,
}

impl<'a> Gallery<'a> {
    pub(super) fn new(product: &'a Product, root: &Path) -> Result<Self, TrainError> {
        Ok(Self {
            product,
            inspector: Inspector::new(product, &Threads::default())?,
            view: NetworkView::new(product.manifest().input.clone()),
            root: root.to_path_buf(),
        })
    }

    pub(super) fn cards(&mut self, worst: &Worst<'_>) -> Result<Vec<Card>, TrainError> {
        worst
            .images
            .iter()
            .map(|inspected| self.card(inspected))
            .collect()
    }

    fn card(&mut self, inspected: &Inspected) -> Result<Card, TrainError> {
        let path = self.root.join(&inspected.path);
        let frame = read_picture(&path, self.product.reading())?.frame;
        let failed = |source| TrainError::Image {
            path: path.clone(),
            source,
        };
        self.inspector.inspect(&frame).map_err(failed)?;
        let seen = self.view.picture(&frame)?;
        let size = self.view.size();
        let thresholds = self.inspector.thresholds().clone();
        let painted = overlay(&seen, self.inspector.map(), size, &thresholds);
        let ng = thresholds.ng.threshold;
        let score = ScoreBar {
            score: inspected.score,
            unknown: thresholds.unknown.threshold,
            ng,
            top: (ng * 1.5).max(f32::MIN_POSITIVE),
            tone: tone(inspected.verdict),
        };
        let mut plain = seen;
        if !inspected.masks.is_empty() {
            let input = &self.product.manifest().input;
            let of = (frame.width(), frame.height());
            let masks: Vec<PathBuf> = inspected
                .masks
                .iter()
                .map(|mask| self.root.join(mask))
                .collect();
            let truth = defect_mask(&masks, of, input, false)?;
            let truth: Vec<f32> = truth.into_iter().map(f32::from).collect();
            contour(&mut plain, &truth, size.width, 0.5, TRUTH);
        }
        let caption = name(&inspected.path);
        let (width, height) = shown(self.product, size, &frame);
        let picture = |rgb: &[u8], what: &str| {
            Picture::jpeg(rgb, size.width, size.height, format!("{caption}, {what}"))
                .map(|p| p.shown_at(width, height))
                .map_err(|e| TrainError::Setting(format!("{}: {e}", path.display())))
        };
        let mut badges = vec![Badge::new(inspected.verdict.to_string(), score.tone)];
        match (inspected.defective, inspected.verdict == Verdict::Ok) {
            (true, true) => badges.push(Badge::new("escape", Tone::Alarm)),
            (false, false) => badges.push(Badge::new("false reject", Tone::Alarm)),
            _ => {}
        }
        Ok(Card {
            pictures: vec![
                picture(&plain, "as the network sees it")?,
                picture(&painted, "score map")?,
            ],
            note: if is_plain(self.product.manifest()) {
                String::new()
            } else {
                format!(
                    "patchcore: {:.3}, {}",
                    inspected.baseline_score, inspected.baseline_verdict
                )
            },
            badges,
            score: Some(score),
            caption,
        })
    }
}

/// Width and height of what the network sees, in the proportions of what it was cut from.
pub(super) fn shown(product: &Product, size: Size, frame: &Frame) -> (usize, usize) {
    let side = size.longer();
    let (w, h) = match product.manifest().input.roi {
        Some(r) => (r.width as usize, r.height as usize),
        None => (frame.width(), frame.height()),
    };
    let long = w.max(h).max(1);
    ((side * w / long).max(1), (side * h / long).max(1))
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Ng => Tone::Bad,
        Verdict::Unknown => Tone::Unsure,
    }
}

/// Kind and file name: enough to find the image, short enough for a caption.
fn name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    match path.parent().and_then(Path::file_name) {
        Some(kind) => format!("{}/{file}", kind.to_string_lossy()),
        None => file.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(name: &str, defective: bool, score: f32, verdict: Verdict) -> Inspected {
        Inspected {
            path: name.into(),
            masks: Vec::new(),
            kind: if defective { "crack" } else { "good" }.into(),
            defective,
            score,
            verdict,
            baseline_score: score,
            baseline_verdict: verdict,
        }
    }

    fn names(worst: &Worst<'_>) -> Vec<String> {
        let of = |j: &&Inspected| j.path.to_string_lossy().into_owned();
        worst.images.iter().map(of).collect()
    }

    #[test]
    fn mistakes_come_worst_first_and_without_any_the_closest_calls() {
        let all = [
            inspected("a", true, 1.0, Verdict::Ok),
            inspected("b", true, 0.5, Verdict::Ok),
            inspected("c", true, 9.0, Verdict::Ng),
            inspected("d", false, 0.7, Verdict::Ok),
            inspected("e", false, 0.2, Verdict::Ok),
        ];
        let found = misses(&all, 12);
        assert_eq!(
            (names(&found), found.mistakes),
            (vec!["b".into(), "a".into()], 2)
        );
        let found = misses(&all, 1);
        assert_eq!((names(&found), found.mistakes), (vec!["b".into()], 2));
        let found = false_rejects(&all, 12);
        assert_eq!(
            (names(&found), found.mistakes),
            (vec!["d".into(), "e".into()], 0)
        );
    }
}
