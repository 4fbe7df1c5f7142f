//! `partgate-train amend`: good images join a finished product, and marked images say what that changes.

use super::another_day::{another_day, inspect_goldens, wider};
use super::fit::bound_line;
use super::inspected::{Inspected, inspected};
use super::layout::LayoutArgs;
use super::risk::RiskArgs;
use super::{Common, check_writable, print_json, write_file};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::fit::amend::{Amended, amended, refusal};
use crate::fit::operating::operating;
use crate::fit::thresholds::thresholds_from;
use clap::Args;
use partgate::backbone::Threads;
use partgate::frame::file::list;
use partgate::inspection::Inspector;
use partgate::product::{
    AuditEntry, GoldenKind, Inputs, Manifest, Operating, Product, SectionBytes, coarse,
};
use partgate::seed::Rng;
use partgate::verdict::{Bound, Thresholds, Verdict};
use serde::Serialize;
use std::path::PathBuf;

/// Groups of new goods, each of which is inspected by a bank without it.
const FOLDS: usize = 5;
/// The order in which the goods are dealt to the groups.
const FOLD_STREAM: u64 = 5;

/// Arguments of `amend`.
#[derive(Args)]
#[command(
    after_help = "The images of the fit are not needed. The bank gets rows for what the new goods show and it does not\nhave, and the places, spacing and means that depend on it. Networks and covariances stay as they were\nfitted. The thresholds stay too: rejected good parts are no sample of all good parts. If these goods\nare one, say --sample.\n\nExamples:\n  partgate-train amend lid.pgp --goods marked/good --defects marked/defect -o lid-2.pgp\n  partgate-train amend lid.pgp --goods photos/of/another/day --sample -o lid-2.pgp"
)]
pub(crate) struct AmendArgs {
    /// The bundle
    bundle: PathBuf,
    /// Folder of good images that were not used for the fit, for example parts that were rejected by
    /// mistake
    #[arg(long, value_name = "DIR")]
    goods: PathBuf,
    /// Folder of pictures of defects, for example parts that passed by mistake. If one of them passes
    /// with the amended product, nothing is written
    #[arg(long, value_name = "DIR")]
    defects: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
    /// The bundle to write
    #[arg(short, long, value_name = "FILE.pgp")]
    output: PathBuf,
    /// Most bank rows; the time a board needs per image grows with it. A larger bank stays as it is
    #[arg(long, value_name = "ROWS", default_value_t = 4000)]
    max_bank: usize,
    /// The goods are a random sample of good parts: derive the thresholds anew, from the held-out
    /// scores of the fit and of these goods
    #[arg(long)]
    sample: bool,
    #[command(flatten)]
    risk: RiskArgs,
    /// Lower the UNKNOWN threshold to this, for a defect that passes
    #[arg(long, value_name = "SCORE", conflicts_with = "sample")]
    unknown: Option<f32>,
    /// Why; kept in the bundle
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// A marked image under both products.
#[derive(Serialize)]
struct Marked {
    image: String,
    /// "good" or "defect".
    mark: &'static str,
    before: f32,
    verdict_before: Verdict,
    /// Of a good image: its score from a bank that has the other new goods, but not this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    unseen: Option<f32>,
    after: f32,
    verdict_after: Verdict,
}

#[derive(Serialize)]
struct AmendReport {
    revision: [u32; 2],
    /// Rows of the bank, before and after.
    rows: [usize; 2],
    /// Cells of the new goods for which the bank had no room.
    cells_left_out: usize,
    old: Thresholds,
    new: Thresholds,
    images: Vec<Marked>,
}

/// The marked images as the product before sees them.
struct Given {
    goods: GoodImages,
    seen: Vec<Inspected>,
    defects: Vec<PathBuf>,
    seen_defects: Vec<Inspected>,
}

fn given(args: &AmendArgs, product: &Product) -> Result<Given, TrainError> {
    let (goods, _) = another_day(&args.goods, args.layout, product, args.common.json)?;
    let seen = inspected(product, &goods.paths, "goods", true)?;
    let defects = match &args.defects {
        Some(folder) => list(folder)?.images,
        None => Vec::new(),
    };
    if let (Some(folder), true) = (&args.defects, defects.is_empty()) {
        return Err(TrainError::Setting(format!(
            "{}: no images here; leave --defects out if there are none",
            folder.display()
        )));
    }
    let seen_defects = inspected(product, &defects, "defects", false)?;
    if let Some(at) = same(&seen, &seen_defects) {
        return Err(TrainError::Setting(format!(
            "{}: the same picture is among the goods; is it good or defective?",
            defects[at].display()
        )));
    }
    Ok(Given {
        goods,
        seen,
        defects,
        seen_defects,
    })
}

/// A defect that is among the goods too.
fn same(goods: &[Inspected], defects: &[Inspected]) -> Option<usize> {
    let known = |defect: &Inspected| goods.iter().any(|good| good.content == defect.content);
    defects.iter().position(known)
}

/// The product with these goods, unsigned, with the goldens that it had.
fn with(
    product: &Product,
    goods: &[&Inspected],
    most_rows: usize,
) -> Result<(Product, Amended), TrainError> {
    let features: Vec<&[f32]> = goods.iter().map(|good| &good.features[..]).collect();
    let amended = amended(product, &features, most_rows.max(product.bank().rows()))?;
    let mut manifest = product.manifest().clone();
    manifest.method = amended.method.clone();
    let bytes = product.rewritten_with(manifest, amended.sections.clone())?;
    Ok((Product::from_bytes(bytes, product.origin())?, amended))
}

/// The score of each good image from a bank that has not seen it, but has the others.
fn unseen(args: &AmendArgs, product: &Product, given: &Given) -> Result<Vec<f32>, TrainError> {
    let n = given.seen.len();
    let mut scores: Vec<f32> = given.seen.iter().map(|good| good.score).collect();
    if n < 2 {
        return Ok(scores);
    }
    let order = Rng::stream(product.manifest().training.seed, FOLD_STREAM).permutation(n);
    let folds = FOLDS.min(n);
    for fold in 0..folds {
        let (held, rest): (Vec<_>, Vec<_>) = order
            .iter()
            .enumerate()
            .partition(|(at, _)| at % folds == fold);
        let rest: Vec<&Inspected> = rest.iter().map(|(_, i)| &given.seen[**i]).collect();
        let (without, _) = with(product, &rest, args.max_bank)?;
        let paths: Vec<PathBuf> = held
            .iter()
            .map(|(_, i)| given.goods.paths[**i].clone())
            .collect();
        let found = inspected(&without, &paths, "goods, unseen", false)?;
        for ((_, i), seen) in held.iter().zip(found) {
            scores[**i] = seen.score;
        }
    }
    Ok(scores)
}

/// Thresholds, and the evidence behind them where it is new.
fn thresholds(
    args: &AmendArgs,
    product: &Product,
    unseen: &[f32],
) -> Result<(Thresholds, Option<Operating>), TrainError> {
    let old = &product.manifest().thresholds;
    if let Some(unknown) = args.unknown {
        if !(unknown > 0.0 && unknown < old.unknown.threshold) {
            return Err(TrainError::Setting(format!(
                "--unknown {unknown}: above 0 and below the present threshold of {}; `calibrate` can raise it",
                old.unknown.threshold
            )));
        }
        let note = "Lowered by hand for a marked defect".to_owned();
        let mut new = old.clone();
        new.unknown = Bound::by_hand(unknown, note);
        return Ok((new, None));
    }
    if !args.sample {
        return Ok((old.clone(), None));
    }
    let Some(evidence) = product.operating() else {
        return Err(TrainError::Setting(format!(
            "{}: this bundle does not hold the held-out scores of its fit, so no threshold can be derived from them and the new goods; leave --sample out, `calibrate` it on these goods, or fit it again",
            args.bundle.display()
        )));
    };
    let risk = args.risk.risk(product.manifest().training.seed)?;
    let all = [&evidence.goods[..], unseen].concat();
    let partitions = evidence.partitions as usize;
    let operating = operating(&all, partitions, evidence.damaged.clone(), risk)?;
    Ok((thresholds_from(&all, risk)?, Some(operating)))
}

/// The sections that say what pictures the product knows, with the new goods.
fn known_pictures(product: &Product, given: &Given) -> Result<Vec<SectionBytes>, TrainError> {
    let mut sections = Vec::new();
    if let Some(inputs) = product.inputs() {
        let mut inputs = inputs.clone();
        let key = &product.manifest().training.digest;
        for good in &given.seen {
            let [width, height] = good.size;
            let wider = |[low, high]: [u32; 2], side: u32| [low.min(side), high.max(side)];
            inputs.width = wider(inputs.width, width);
            inputs.height = wider(inputs.height, height);
            inputs.digests.push(Inputs::digest(&good.content, key));
        }
        sections.push(inputs.section()?);
    }
    if let Some(light) = wider(product, given.seen.iter().map(|good| good.light)) {
        sections.push(light.section()?);
    }
    Ok(sections)
}

fn audit(
    args: &AmendArgs,
    product: &Product,
    given: &Given,
    new: &Thresholds,
    rows: usize,
) -> AuditEntry {
    let old = &product.manifest().thresholds;
    let reason = args.reason.iter().map(|reason| format!(": {reason}"));
    AuditEntry {
        action: format!(
            "amended with {} good images: bank {} -> {rows} rows, thresholds UNKNOWN {} -> {}, NG {} -> {}; {} marked defects are rejected{}",
            given.seen.len(),
            product.bank().rows(),
            old.unknown.threshold,
            new.unknown.threshold,
            old.ng.threshold,
            new.ng.threshold,
            given.defects.len(),
            reason.collect::<String>()
        ),
        unix: Some(super::now()),
    }
}

/// Lets the amended product inspect the golden images anew: scores and maps are other ones now.
fn prove_goldens(product: &Product, manifest: &mut Manifest) -> Result<(), TrainError> {
    let mut inspector = Inspector::new(product, &Threads::default())?;
    let size = inspector.size();
    for golden in &mut manifest.goldens {
        let inspection = inspector.inspect(&product.golden_frame(golden)?)?;
        golden.score = inspection.score;
        golden.coarse_map = coarse(inspector.map(), size);
    }
    if let Some(problem) = inspect_goldens(&mut manifest.goldens, &manifest.thresholds) {
        return Err(TrainError::Setting(problem));
    }
    let mut goods = manifest
        .goldens
        .iter()
        .filter(|g| g.kind == GoldenKind::Good);
    match goods.find(|g| g.verdict != Verdict::Ok) {
        Some(golden) => Err(TrainError::Setting(format!(
            "the golden image `{}` is good and would be rejected (score {}, UNKNOWN above {}); raise the threshold",
            golden.name, golden.score, manifest.thresholds.unknown.threshold
        ))),
        None => Ok(()),
    }
}

/// Refuses what lets a marked defect pass, and says what a lower threshold would cost.
fn check_defects(images: &[Marked], new: &Thresholds, held_out: &[f32]) -> Result<(), TrainError> {
    let defects = || images.iter().filter(|image| image.mark == "defect");
    let passing: Vec<&Marked> = defects()
        .filter(|d| d.verdict_after == Verdict::Ok)
        .collect();
    if passing.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = passing
        .iter()
        .map(|d| format!("{} ({} before, {} after)", d.image, d.before, d.after))
        .collect();
    let lowest = passing
        .iter()
        .map(|d| d.after)
        .fold(f32::INFINITY, f32::min);
    // Just below, so that the lowest of them is rejected.
    let threshold = lowest * (1.0 - 1e-3);
    let above = held_out.iter().filter(|&&score| score > threshold).count();
    Err(TrainError::Setting(format!(
        "{} of {} marked defects would pass with this amendment (UNKNOWN above {}): {}. Nothing is written. Leave out the good images that look like them, or reject them by --unknown {threshold}: {above} of {} held-out good images lie above that",
        passing.len(),
        defects().count(),
        new.unknown.threshold,
        words.join(", "),
        held_out.len()
    )))
}

impl AmendReport {
    fn print(&self, args: &AmendArgs) {
        println!(
            "{} -> {}, revision {} -> {}",
            args.bundle.display(),
            args.output.display(),
            self.revision[0],
            self.revision[1]
        );
        let full = match self.cells_left_out {
            0 => String::new(),
            n => format!("; no room for {n} more cells (--max-bank)"),
        };
        println!("  bank {} -> {} rows{full}", self.rows[0], self.rows[1]);
        println!("{}", bound_line("UNKNOWN", &self.new.unknown));
        println!("{}", bound_line("NG", &self.new.ng));
        let width = self.images.iter().map(|i| i.image.len()).max().unwrap_or(0);
        println!(
            "  {:6} {:width$} {:>18} {:>10} {:>18}",
            "mark", "image", "before", "unseen", "after"
        );
        for image in &self.images {
            let unseen = image
                .unseen
                .map_or(String::new(), |score| format!("{score:.4}"));
            println!(
                "  {:6} {:width$} {:>10.4} {:7} {unseen:>10} {:>10.4} {:7}",
                image.mark,
                image.image,
                image.before,
                image.verdict_before,
                image.after,
                image.verdict_after,
            );
        }
        println!("  unseen: from a bank with the other new goods, but not this one");
        let rejected = |image: &&Marked| image.mark == "good" && image.verdict_after != Verdict::Ok;
        let count = self.images.iter().filter(rejected).count();
        if count > 0 {
            println!("  {count} of the good images are rejected all the same");
        }
    }
}

/// Every marked image under both products.
fn marked(
    given: &Given,
    unseen: &[f32],
    [old, new]: [&Thresholds; 2],
    goods_after: &[Inspected],
    defects_after: &[Inspected],
) -> Vec<Marked> {
    let one = |image, mark, before: &Inspected, unseen, after: &Inspected| Marked {
        image,
        mark,
        before: before.score,
        verdict_before: old.verdict(before.score),
        unseen,
        after: after.score,
        verdict_after: new.verdict(after.score),
    };
    let goods = given.seen.iter().zip(goods_after).enumerate();
    let goods = goods.map(|(i, (before, after))| {
        let name = given.goods.relative(&given.goods.paths[i]);
        one(name, "good", before, Some(unseen[i]), after)
    });
    let defects = given.seen_defects.iter().zip(defects_after).enumerate();
    let defects = defects.map(|(i, (before, after))| {
        let name = given.defects[i].file_name().unwrap_or_default();
        one(
            name.to_string_lossy().into_owned(),
            "defect",
            before,
            None,
            after,
        )
    });
    goods.chain(defects).collect()
}

/// Runs `amend`.
pub(crate) fn run(args: &AmendArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let product = Product::open(&args.bundle)?;
    if let Some(why) = refusal(&product) {
        return Err(TrainError::Setting(format!(
            "{}: cannot be amended: {why}; fit it again on all images",
            args.bundle.display()
        )));
    }
    check_writable(&args.output)?;
    let given = given(args, &product)?;
    let unseen = unseen(args, &product, &given)?;
    let (thresholds, evidence) = thresholds(args, &product, &unseen)?;
    let everything: Vec<&Inspected> = given.seen.iter().collect();
    let (with_goods, amended) = with(&product, &everything, args.max_bank)?;
    let goods_after = inspected(&with_goods, &given.goods.paths, "goods, after", false)?;
    let defects_after = inspected(&with_goods, &given.defects, "defects, after", false)?;
    let old = product.manifest().thresholds.clone();
    let both = [&old, &thresholds];
    let images = marked(&given, &unseen, both, &goods_after, &defects_after);
    let of_fit = product.operating().map_or(&[][..], |o| &o.goods);
    check_defects(&images, &thresholds, &[of_fit, &unseen[..]].concat())?;
    let mut manifest = with_goods.manifest().clone();
    manifest.revision += 1;
    manifest.thresholds = thresholds.clone();
    // Both were measured with another bank.
    manifest.baseline_thresholds = None;
    manifest.validation = None;
    manifest.training.images += given.seen.len() as u32;
    let cells = given
        .seen
        .iter()
        .map(|good| good.features.len() / product.bank().dimensions());
    manifest.training.cells += cells.sum::<usize>() as u64;
    prove_goldens(&with_goods, &mut manifest)?;
    let entry = audit(args, &product, &given, &thresholds, amended.rows);
    manifest.audit.push(entry);
    let mut sections = known_pictures(&product, &given)?;
    if let Some(evidence) = &evidence {
        sections.push(evidence.section()?);
    }
    let revision = [product.manifest().revision, manifest.revision];
    let bytes = with_goods.rewritten_with(manifest, sections)?;
    write_file(&args.output, &bytes)?;
    let report = AmendReport {
        revision,
        rows: [product.bank().rows(), amended.rows],
        cells_left_out: amended.left_out,
        old,
        new: thresholds,
        images,
    };
    if args.common.json {
        return print_json(&report);
    }
    report.print(args);
    Ok(())
}
