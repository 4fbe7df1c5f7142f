//! Good images that a finished product has not seen, and what changes with its thresholds.

use super::layout::{LayoutArgs, print_layout};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::product::{Golden, GoldenKind, Light, LightMeasure, Product};
use partgate::verdict::{Thresholds, Verdict};
use std::path::Path;

/// Good images under `dir` that `product` was not fitted on, and how they lie, in a line.
pub(super) fn another_day(
    dir: &Path,
    layout: LayoutArgs,
    product: &Product,
    json: bool,
) -> Result<(GoodImages, String), TrainError> {
    let (goods, layout) = layout.source(dir)?.goods()?;
    print_layout(&layout, json);
    if crate::fit::digest_of(&goods)? == product.manifest().training.digest {
        return Err(TrainError::Setting(format!(
            "{}: these are the images of the fit; they are in the bank, so their scores say nothing about new parts. Take good images of another day",
            dir.display()
        )));
    }
    Ok((goods.of_another_day(product)?, layout))
}

/// The product's light with pictures of `found` in it; `None` where they change nothing.
pub(super) fn wider(product: &Product, found: impl Iterator<Item = LightMeasure>) -> Option<Light> {
    let mut light = product.light()?.clone();
    light.widen(found).then_some(light)
}

/// Gives the golden images the verdicts of `new`; their scores stay. Some: what is wrong if no damaged
/// one is rejected any more.
pub(super) fn inspect_goldens(goldens: &mut [Golden], new: &Thresholds) -> Option<String> {
    let caught = |goldens: &[Golden]| {
        let mut damaged = goldens.iter().filter(|g| g.kind == GoldenKind::Damaged);
        damaged.any(|g| g.verdict != Verdict::Ok)
    };
    let caught_before = caught(goldens);
    for golden in goldens.iter_mut() {
        golden.verdict = new.verdict(golden.score);
    }
    (caught_before && !caught(goldens)).then(|| {
        format!(
            "with an UNKNOWN threshold of {} none of the synthetically damaged golden images is rejected any more; look at the goods with the highest scores",
            new.unknown.threshold
        )
    })
}
