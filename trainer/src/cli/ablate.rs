//! `partgate-train ablate`: every rule on the same features, folds and test images, and what else
//! could be changed, each against the plain bank.

use super::fit::MethodArgs;
use super::{Common, print_json};
use crate::dataset::{GoodImages, TestImage, test_images};
use crate::error::TrainError;
use crate::fit::choice::{LOST, candidates, choose, copies_for_choice};
use crate::fit::rules::RuleSpec;
use crate::fit::study::Study;
use crate::fit::{FitSeconds, Settings, catalogue};
use crate::validation::{percent, validate};
use clap::Args;
use partgate::capture::folder::read_frame;
use partgate::frame::Frame;
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::Product;
use partgate::score::Rule;
use serde::Serialize;
use std::path::PathBuf;

/// Frames that are timed, at most.
const TIMED: usize = 24;

/// Arguments of `ablate`.
#[derive(Args)]
pub(crate) struct AblateArgs {
    /// Folder in MVTec layout: train/good, test, ground_truth
    dir: PathBuf,
    #[command(flatten)]
    method: MethodArgs,
    /// Rules only: leave out other box sizes, input sizes and bank sizes, each a fit of its own
    #[arg(long)]
    rules_only: bool,
    #[command(flatten)]
    common: Common,
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    name: String,
    image_auroc: Option<f64>,
    pixel_auroc: Option<f64>,
    aupro: Option<f64>,
    false_reject_rate: Option<f64>,
    escape_rate: Option<f64>,
    /// Multiply-accumulates of scoring without the backbone, in units of 10^9.
    scoring_gmac: f64,
    bundle_bytes: usize,
    /// Median over some test images, one thread.
    ms: f64,
    /// The same over the plain bank's, timed in turns on the same images.
    ms_ratio: f64,
}

#[derive(Serialize)]
struct Table {
    images: usize,
    tested: usize,
    chosen: String,
    reason: String,
    rows: Vec<Row>,
}

/// What is compared with the plain bank on the same features.
fn rules() -> Vec<RuleSpec> {
    let mut rules: Vec<RuleSpec> = [
        Rule::Patchcore,
        Rule::Position,
        Rule::Neighbourhood,
        Rule::Pni,
        Rule::PniV1,
        Rule::PniTwoMap,
    ]
    .map(RuleSpec::of)
    .to_vec();
    let shares = [LOST, 5.0 * LOST, 0.01, 0.05];
    rules.extend(shares.map(|lost| RuleSpec::coverage(Some(lost), None)));
    rules.extend(shares.map(|lost| RuleSpec::coverage(None, Some(lost))));
    rules.push(RuleSpec::coverage(Some(LOST), Some(LOST)));
    rules.extend([0.5, 1.0].map(|power| RuleSpec::BASELINE.with_density(power)));
    for condition in [
        RuleSpec::coverage(Some(LOST), None),
        RuleSpec::coverage(None, Some(5.0 * LOST)),
        RuleSpec::coverage(Some(LOST), Some(5.0 * LOST)),
    ] {
        rules.push(condition.with_density(0.5));
    }
    rules
}

/// Median milliseconds of `a` and `b` on the same frames, in turns.
fn timed(a: &Product, b: &Product, frames: &[Frame]) -> Result<[f64; 2], TrainError> {
    let one = Threads::default();
    let mut inspectors = [Inspector::new(a, &one)?, Inspector::new(b, &one)?];
    let mut times = [Vec::new(), Vec::new()];
    for (index, frame) in std::iter::once(&frames[0]).chain(frames).enumerate() {
        for (inspector, times) in inspectors.iter_mut().zip(&mut times) {
            let ms = inspector.inspect(frame)?.total().as_secs_f64() * 1e3;
            // The first frame warms caches and buffers.
            if index > 0 {
                times.push(ms);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

struct Ablation<'a> {
    goods: &'a GoodImages,
    tests: &'a [TestImage],
    frames: Vec<Frame>,
    baseline: Option<Product>,
    rows: Vec<Row>,
}

impl Ablation<'_> {
    fn add(&mut self, name: String, product: Product) -> Result<(), TrainError> {
        let (report, _) = validate(&product, self.tests, false)?;
        let member = &product.members()[0];
        let method = member.method();
        let grid = member.backbone().grid(member.input().side());
        let search = grid * grid * product.bank().rows() * product.bank().dimensions();
        let networks = method
            .neighbourhood
            .as_ref()
            .map_or(0.0, |n| n.shape.gmac())
            + method.refinement.as_ref().map_or(0.0, |r| r.shape.gmac());
        let [plain, ms] = timed(
            self.baseline.as_ref().unwrap_or(&product),
            &product,
            &self.frames,
        )?;
        let figures = &report.figures;
        self.rows.push(Row {
            name,
            image_auroc: figures.image_auroc,
            pixel_auroc: figures.pixel_auroc,
            aupro: figures.aupro,
            false_reject_rate: figures.false_reject_rate,
            escape_rate: figures.escape_rate,
            scoring_gmac: search as f64 / 1e9 + networks,
            bundle_bytes: product.size(),
            ms,
            ms_ratio: ms / plain,
        });
        if self.baseline.is_none() {
            self.baseline = Some(product);
        }
        Ok(())
    }

    /// Fits once with `settings` and adds a line for each of `specs`.
    fn study(
        &mut self,
        settings: &Settings,
        specs: &[RuleSpec],
        name: impl Fn(RuleSpec) -> String,
        choice: bool,
    ) -> Result<Option<(RuleSpec, String)>, TrainError> {
        let file = catalogue::backbone(&settings.backbone)?;
        let mut seconds = FitSeconds::default();
        let mut needed = specs.to_vec();
        if choice {
            needed.extend(candidates(settings.density));
        }
        let study = Study::new(self.goods, settings, &file, &needed, &mut seconds)?;
        let fitted = study.whole(&needed)?;
        for &spec in specs {
            let held_out = study.held_out(spec)?;
            let (bytes, _) = study.bundle(self.goods, &fitted, spec, None, &held_out, None)?;
            let product = Product::from_bytes(bytes, &settings.name)?;
            self.add(name(spec), product)?;
        }
        if !choice {
            return Ok(None);
        }
        let copies = copies_for_choice(&study.fitter, &study.extractor, self.goods)?;
        let (spec, choice) = choose(&study, &candidates(settings.density), &copies)?;
        for spec in [RuleSpec::BASELINE, spec] {
            let (held_out, refined) = study.refined(spec, &copies)?;
            let weight = refined.as_ref().map_or(0.0, |r| r.evidence.weight);
            let name = format!("{spec}, refined (weight {weight})");
            let (bytes, _) =
                study.bundle(self.goods, &fitted, spec, None, &held_out, refined.as_ref())?;
            self.add(name, Product::from_bytes(bytes, &settings.name)?)?;
        }
        Ok(Some((spec, choice.reason)))
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn print(table: &Table) {
    println!(
        "{} good images fitted, {} tested; `auto` takes {}: {}\n",
        table.images, table.tested, table.chosen, table.reason
    );
    println!(
        "| rule or change | image AUROC | pixel AUROC | AUPRO | false rejects | escapes | scoring GMAC | bundle MiB | ms a frame | over patchcore |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in &table.rows {
        println!(
            "| {} | {} | {} | {} | {} | {} | {:.3} | {:.2} | {:.1} | {:.2} |",
            row.name,
            percent(row.image_auroc),
            percent(row.pixel_auroc),
            percent(row.aupro),
            percent(row.false_reject_rate),
            percent(row.escape_rate),
            row.scoring_gmac,
            mib(row.bundle_bytes),
            row.ms,
            row.ms_ratio
        );
    }
}

/// Runs `ablate`.
pub(crate) fn run(args: &AblateArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let goods = GoodImages::find(&args.dir)?;
    let tests = test_images(&args.dir)?;
    let mut settings = args.method.settings("ablation")?;
    settings.goldens = 0;
    // Every other image of the test set, so that good and defective parts are timed.
    let step = (tests.len() / TIMED).max(1);
    let frames = tests
        .iter()
        .step_by(step)
        .take(TIMED)
        .map(|image| read_frame(&image.path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut ablation = Ablation {
        goods: &goods,
        tests: &tests,
        frames,
        baseline: None,
        rows: Vec::new(),
    };
    let chosen = ablation.study(&settings, &rules(), |spec| spec.to_string(), true)?;
    if !args.rules_only {
        let plain = [RuleSpec::BASELINE];
        let mut change = |name: String, alter: &dyn Fn(&mut Settings), specs: &[RuleSpec]| {
            let mut settings = args.method.settings("ablation")?;
            settings.goldens = 0;
            alter(&mut settings);
            ablation.study(&settings, specs, |_| name.clone(), false)
        };
        for patch in [1, 5] {
            let alter = |s: &mut Settings| s.features.patch = patch;
            change(format!("patchcore, box {patch} x {patch}"), &alter, &plain)?;
        }
        for side in [224, 320] {
            let alter = |s: &mut Settings| {
                s.features.input.resize = side;
                s.features.input.crop = side;
            };
            change(format!("patchcore, {side} px"), &alter, &plain)?;
        }
        for times in [0.25, 0.5, 2.0] {
            let alter = |s: &mut Settings| {
                s.bank_ratio *= times;
                let scaled = |rows: usize| ((rows as f64 * times) as usize).max(1);
                (s.min_bank, s.max_bank) = (scaled(s.min_bank), scaled(s.max_bank));
            };
            change(format!("patchcore, bank x {times}"), &alter, &plain)?;
        }
        for entries in [128, 256] {
            let alter = |s: &mut Settings| s.entries = entries;
            let spec = RuleSpec::coverage(Some(LOST), Some(LOST));
            change(format!("{spec}, {entries} rows in D"), &alter, &[spec])?;
        }
    }
    let (chosen, reason) = chosen.map_or((String::new(), String::new()), |(spec, reason)| {
        (spec.to_string(), reason)
    });
    let table = Table {
        images: goods.paths.len(),
        tested: tests.len(),
        chosen,
        reason,
        rows: ablation.rows,
    };
    if args.common.json {
        print_json(&table)
    } else {
        print(&table);
        Ok(())
    }
}
