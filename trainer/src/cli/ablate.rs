//! `partgate-train ablate`: every rule on the same features, folds and test images, and what else
//! could be changed, each against the plain bank.

mod seeds;

use super::fit::MethodArgs;
use super::layout::{LayoutArgs, print_layout};
use super::{Common, print_json};
use crate::dataset::{GoodImages, TestImage, TestSet};
use crate::error::TrainError;
use crate::fit::choice::{self, LOST, candidates, choose};
use crate::fit::copies::DamagedCopies;
use crate::fit::fitted_bank::FittedBank;
use crate::fit::glancing;
use crate::fit::member::{FittedMember, MemberRule};
use crate::fit::plan::MemberPlan;
use crate::fit::rules::RuleSpec;
use crate::fit::settings::{OtherMember, Settings};
use crate::fit::study::Study;
use crate::fit::{Bundle, FitSeconds, aspect, check_memory};
use crate::validation::{Validation, percent, validate};
use clap::Args;
use partgate::backbone::InputGeometry;
use partgate::frame::Frame;
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::{MemberData, Product};
use partgate::score::{Combination, GlancingForm, NPadForm, PlaceWeights, Rule, triangle};
use partgate::size::Size;
use serde::Serialize;
use std::path::PathBuf;

/// Frames that are timed, at most.
const TIMED: usize = 24;
/// Side of the ensemble's further member where none is named, pixels.
const LARGER: usize = 320;
/// The same where the first member has that already.
const SMALLER: usize = 256;

/// Side of the smaller input that is compared, pixels.
const LESS: usize = 224;

/// Arguments of `ablate`.
#[derive(Args)]
pub(crate) struct AblateArgs {
    /// Folder in a known layout that says what is for testing (train/good, test, ground_truth and
    /// others), or a list (path,label,mask,part)
    dir: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    method: MethodArgs,
    /// Rules only: leave out other box sizes, input sizes and bank sizes, each a fit of its own,
    /// and the ensemble (of what --member names, or of --size and 320 px)
    #[arg(long)]
    rules_only: bool,
    /// The plain bank and what --rules-only leaves out, without the other rules: a set of hundreds
    /// of images takes hours otherwise
    #[arg(long, conflicts_with = "rules_only")]
    changes_only: bool,
    /// Published methods and their parts against the plain bank, over the seeds of --seeds: image AUROC,
    /// AUPRO, and escapes and false rejects at budgets of 1 and 5 %; means, least and most
    #[arg(long, conflicts_with_all = ["rules_only", "changes_only"])]
    published: bool,
    /// With --published: seeds, from that of --seed on
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
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
    /// False rejects and escapes under each budget, as shares.
    budgets: Vec<BudgetShares>,
    /// Multiply-accumulates of scoring without the backbone, in units of 10^9.
    scoring_gmac: f64,
    bundle_bytes: usize,
    /// Median over some test images, one thread; `None` without frames to time.
    ms: Option<f64>,
    /// The same over the plain bank's, timed in turns on the same images.
    ms_ratio: Option<f64>,
}

/// What the labelled images show under the threshold of one budget.
#[derive(Clone, Debug, Serialize)]
struct BudgetShares {
    budget: f64,
    false_rejects: f64,
    escapes: f64,
}

#[derive(Serialize)]
struct Table {
    /// How the images lie, in a line.
    layout: String,
    images: usize,
    tested: usize,
    /// What `auto` takes; None with --changes-only.
    #[serde(flatten)]
    chosen: Option<Chosen>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Chosen {
    chosen: String,
    reason: String,
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
        Rule::Gaussian,
        Rule::BankGaussian,
    ]
    .map(RuleSpec::of)
    .to_vec();
    let shares = [LOST, 5.0 * LOST, 0.01, 0.05];
    rules.extend(shares.map(|lost| RuleSpec::coverage(Some(lost), None)));
    rules.extend(shares.map(|lost| RuleSpec::coverage(None, Some(lost))));
    rules.push(RuleSpec::coverage(Some(LOST), Some(LOST)));
    rules.extend(
        [(3, 1), (9, 1), (1, 100), (1, 1000)]
            .map(|(rows, pixels)| RuleSpec::BASELINE.with_means(rows, pixels)),
    );
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

/// N-pad, in a study of its own: a covariance per cell takes much memory in every fold.
const N_PAD: RuleSpec = RuleSpec::n_pad(NPadForm {
    window: 3,
    reach: 3,
    weights: PlaceWeights::Bhattacharyya,
});

/// Glancing at the Patch, as the options give it by themselves.
const GLANCING: RuleSpec = RuleSpec::glancing(GlancingForm {
    weight: glancing::WEIGHT,
    window: 9,
    hole: 3,
    channels: glancing::CHANNELS,
});

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

/// Multiply-accumulates of a member's scoring without its backbone, in units of 10^9.
fn gmac(member: &MemberData) -> f64 {
    let (method, bank) = (member.method(), member.bank());
    let cells = member.backbone().grid(member.input().size()).area();
    let d = bank.dimensions();
    let (searched, measured) = match method.rule.combination() {
        None => (bank.rows() * d, 0),
        Some(Combination::GaussianOnly) => (0, triangle(d)),
        Some(Combination::GeometricMean) => (bank.rows() * d, triangle(d)),
    };
    let scoring = member.scoring();
    let averaged = (scoring.neighbours as usize - 1) * d;
    // Without what the grid's edges cut off.
    let around = scoring
        .n_pad
        .map_or(0, |form| (form.reach * form.reach) as usize);
    let search = match &scoring.glancing {
        Some(form) => cells * form.multiplications(d) as usize,
        None => cells * (searched + measured + averaged + around * triangle(d)),
    };
    let near = method.neighbourhood.as_ref().map(|n| n.shape.gmac());
    let refined = method.refinement.as_ref().map(|r| r.shape.gmac());
    search as f64 / 1e9 + near.unwrap_or(0.0) + refined.unwrap_or(0.0)
}

struct Ablation<'a> {
    goods: &'a GoodImages,
    tests: &'a [TestImage],
    frames: Vec<Frame>,
    baseline: Option<Product>,
    /// The plain bank as a member, for the ensemble.
    plain: Option<FittedMember>,
    rows: Vec<Row>,
    /// Whether the table is printed as JSON, at the end.
    json: bool,
}

impl Ablation<'_> {
    fn add(&mut self, name: String, product: Product) -> Result<(), TrainError> {
        let Validation { report, .. } = validate(&product, self.tests, false)?;
        let scoring_gmac = product.members().iter().map(gmac).sum();
        let times = match self.frames.is_empty() {
            true => None,
            false => Some(timed(
                self.baseline.as_ref().unwrap_or(&product),
                &product,
                &self.frames,
            )?),
        };
        let figures = &report.figures;
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        let budgets = report.budgets.iter().map(|b| BudgetShares {
            budget: b.budget,
            false_rejects: share(b.false_rejects, report.good),
            escapes: share(b.escapes, report.defective),
        });
        let row = Row {
            name,
            image_auroc: figures.image_auroc,
            pixel_auroc: figures.pixel_auroc,
            aupro: figures.aupro,
            false_reject_rate: figures.false_reject_rate,
            escape_rate: figures.escape_rate,
            budgets: budgets.collect(),
            scoring_gmac,
            bundle_bytes: product.size(),
            ms: times.map(|[_, ms]| ms),
            ms_ratio: times.map(|[plain, ms]| ms / plain),
        };
        // At once: the command takes long, and an interrupted one keeps the rows so far.
        if !self.json {
            print_row(&row);
        }
        self.rows.push(row);
        if self.baseline.is_none() {
            self.baseline = Some(product);
        }
        Ok(())
    }

    /// Writes the product of one member and adds its line.
    fn add_member(
        &mut self,
        name: String,
        settings: &Settings,
        member: FittedMember,
    ) -> Result<(), TrainError> {
        let members = [member];
        let bytes = Bundle::new(self.goods, settings, &members)?.bytes;
        self.add(name, Product::from_bytes(bytes, &settings.name)?)?;
        let [member] = members;
        if self.plain.is_none() {
            self.plain = Some(member);
        }
        Ok(())
    }

    /// Fits once with `settings` and adds a line for each of `specs`.
    fn study(
        &mut self,
        settings: &Settings,
        specs: &[RuleSpec],
        name: impl Fn(RuleSpec) -> String,
    ) -> Result<(), TrainError> {
        let plan = self.plan(settings)?;
        let (study, fitted) = self.fitted(&plan, specs)?;
        for &spec in specs {
            let member = FittedMember::new(&study, &fitted, MemberRule::given(&study, spec)?)?;
            self.add_member(name(spec), &plan.settings, member)?;
        }
        Ok(())
    }

    /// The same with [`rules`], and what `auto` takes of its candidates.
    fn rules(&mut self, settings: &Settings) -> Result<Chosen, TrainError> {
        let plan = self.plan(settings)?;
        let dimensions = plan.file.spec.dimensions();
        let candidates = candidates(settings, dimensions, self.goods.paths.len());
        let needed = [rules(), candidates.clone()].concat();
        let (study, fitted) = self.fitted(&plan, &needed)?;
        for spec in rules() {
            let member = FittedMember::new(&study, &fitted, MemberRule::given(&study, spec)?)?;
            self.add_member(spec.to_string(), &plan.settings, member)?;
        }
        let copies = DamagedCopies::new(&study.fitter, &study.extractor, self.goods)?;
        let choice::Chosen { spec, choice } = choose(&study, &candidates, &copies)?;
        let at_once = copies.at_once()?;
        for spec in [RuleSpec::BASELINE, spec] {
            let rule = MemberRule::refined(&study, spec, &at_once)?;
            let weight = rule.refined.as_ref().map_or(0.0, |r| r.evidence.weight);
            let name = format!("{spec}, refined (weight {weight})");
            let member = FittedMember::new(&study, &fitted, rule)?;
            self.add_member(name, &plan.settings, member)?;
        }
        Ok(Chosen {
            chosen: spec.to_string(),
            reason: choice.reason,
        })
    }

    /// A rule for hosts in a study of its own, and a warning in its place where it takes more than there
    /// is.
    fn host_rule(&mut self, settings: &Settings, spec: RuleSpec) -> Result<(), TrainError> {
        let mut settings = settings.clone();
        settings.rule = Some(spec);
        match self.study(&settings, &[spec], |spec| spec.to_string()) {
            Err(error @ (TrainError::Memory { .. } | TrainError::Setting(_))) => {
                log::warn!("no line for {spec}: {error}");
                Ok(())
            }
            other => other,
        }
    }

    /// The plain bank of the first study, and one of each of `others`: alone, then all together.
    fn ensemble(
        &mut self,
        settings: &Settings,
        others: Vec<OtherMember>,
    ) -> Result<(), TrainError> {
        let mut settings = settings.clone();
        settings.others = others;
        let plans = settings.members()?;
        let Some(first) = self.plain.take().filter(|_| plans.len() > 1) else {
            return Ok(());
        };
        let label = |member: &FittedMember, first: &FittedMember| {
            let size = member.input.size().briefly();
            if member.backbone.name == first.backbone.name {
                format!("{size} px")
            } else {
                format!("{} at {size} px", member.backbone.name)
            }
        };
        let mut name = label(&first, &first);
        let mut members = vec![first];
        for plan in &plans[1..] {
            let plain = [RuleSpec::BASELINE];
            let (study, fitted) = self.fitted(plan, &plain)?;
            let rule = MemberRule::given(&study, plain[0])?;
            let member = FittedMember::new(&study, &fitted, rule)?;
            let label = label(&member, &members[0]);
            // Alone it draws maps of its own size, as a product of its own.
            let mut alone = plan.settings.clone();
            alone.map_size = None;
            let bytes = Bundle::new(self.goods, &alone, std::slice::from_ref(&member))?.bytes;
            self.add(
                format!("patchcore, {label}"),
                Product::from_bytes(bytes, &settings.name)?,
            )?;
            name += &format!(" + {label}");
            members.push(member);
        }
        let bytes = Bundle::new(self.goods, &settings, &members)?.bytes;
        self.add(
            format!("patchcore, {name}"),
            Product::from_bytes(bytes, &settings.name)?,
        )
    }

    /// What the single member of `settings` is fitted with.
    fn plan(&self, settings: &Settings) -> Result<MemberPlan, TrainError> {
        let mut settings = settings.clone();
        settings.others.clear();
        let mut plans = settings.members()?;
        check_memory(&plans, self.goods.paths.len())?;
        Ok(plans.remove(0))
    }

    fn fitted<'p>(
        &self,
        plan: &'p MemberPlan,
        specs: &[RuleSpec],
    ) -> Result<(Study<'p>, FittedBank), TrainError> {
        let mut seconds = FitSeconds::default();
        let study = Study::new(self.goods, &plan.settings, &plan.file, specs, &mut seconds)?;
        let fitted = study.whole(specs);
        Ok((study, fitted))
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn print_head(images: usize, tested: usize) {
    println!("{images} good images fitted, {tested} tested\n");
    println!(
        "| rule or change | image AUROC | pixel AUROC | AUPRO | false rejects | escapes | scoring GMAC | bundle MiB | ms a frame | over patchcore |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
}

fn print_row(row: &Row) {
    println!(
        "| {} | {} | {} | {} | {} | {} | {:.3} | {:.2} | {} | {} |",
        row.name,
        percent(row.image_auroc),
        percent(row.pixel_auroc),
        percent(row.aupro),
        percent(row.false_reject_rate),
        percent(row.escape_rate),
        row.scoring_gmac,
        mib(row.bundle_bytes),
        row.ms.map_or("-".into(), |ms| format!("{ms:.1}")),
        row.ms_ratio
            .map_or("-".into(), |ratio| format!("{ratio:.2}"))
    );
}

/// The further members of the ensemble's line: those named, or one of another size; none, and a
/// warning, where the crop allows no other.
fn others(settings: &Settings) -> Result<Vec<OtherMember>, TrainError> {
    if !settings.others.is_empty() {
        // Checked now, and not after all the other fits.
        settings.members()?;
        return Ok(settings.others.clone());
    }
    let size = if settings.features.input.resize == Size::square(LARGER) {
        SMALLER
    } else {
        LARGER
    };
    let other = OtherMember {
        backbone: None,
        size: Some(Size::square(size)),
    };
    let mut both = settings.clone();
    both.others = vec![other];
    match both.members() {
        Ok(_) => Ok(both.others),
        Err(error) => {
            log::warn!("no ensemble in the table; name one with --member: {error}");
            Ok(Vec::new())
        }
    }
}

/// Every n-th image of the test set, so that good and defective parts are timed.
fn timed_frames(goods: &GoodImages, tests: &[TestImage]) -> Result<Vec<Frame>, TrainError> {
    let step = (tests.len() / TIMED).max(1);
    let frames = tests.iter().step_by(step).take(TIMED);
    Ok(frames
        .map(|image| goods.read(&image.path))
        .collect::<Result<_, _>>()?)
}

/// Settings of `ablate`: without golden images, which nobody looks at here.
fn settings(args: &AblateArgs, goods: &GoodImages) -> Result<Settings, TrainError> {
    let mut settings = args.method.settings_of_a_size("ablation")?;
    args.method.adapt_input(&mut settings, goods)?;
    settings.goldens = 0;
    Ok(settings)
}

/// Adds the lines of other box sizes, input sizes and bank sizes, each a fit of its own.
fn changes(ablation: &mut Ablation<'_>, given: &Settings) -> Result<(), TrainError> {
    let plain = [RuleSpec::BASELINE];
    let mut change = |name: String, alter: &dyn Fn(&mut Settings), specs: &[RuleSpec]| {
        let mut settings = given.clone();
        alter(&mut settings);
        ablation.study(&settings, specs, |_| name.clone())
    };
    for patch in [1, 5] {
        let alter = |s: &mut Settings| s.features.patch = patch;
        change(format!("patchcore, box {patch} x {patch}"), &alter, &plain)?;
    }
    let input = &given.features.input;
    // A strip too thin for fewer pixels has no such line.
    if let Ok(size) = aspect::sized(input.crop, LESS, 32) {
        let smaller = InputGeometry::whole(input.roi, size);
        let alter = |s: &mut Settings| s.features.input = smaller.clone();
        let name = format!("patchcore, {} px", size.briefly());
        change(name, &alter, &plain)?;
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
    Ok(())
}

pub(crate) fn run(args: &AblateArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let source = args.layout.source(&args.dir)?;
    source.check_divided()?;
    let (goods, _) = source.goods()?;
    let goods = goods.surveyed(args.method.asked(None))?;
    let tests = source.tests()?;
    let TestSet {
        images: tests,
        layout,
    } = tests;
    print_layout(&layout, args.common.json);
    let settings = settings(args, &goods)?;
    if args.published {
        return seeds::run(args, &goods, &tests, &settings);
    }
    let others = if args.rules_only {
        Vec::new()
    } else {
        others(&settings)?
    };
    let mut ablation = Ablation {
        goods: &goods,
        tests: &tests,
        frames: timed_frames(&goods, &tests)?,
        baseline: None,
        plain: None,
        rows: Vec::new(),
        json: args.common.json,
    };
    if !args.common.json {
        print_head(goods.paths.len(), tests.len());
    }
    let chosen = if args.changes_only {
        ablation.study(&settings, &[RuleSpec::BASELINE], |spec| spec.to_string())?;
        None
    } else {
        let chosen = ablation.rules(&settings)?;
        for spec in [N_PAD, GLANCING] {
            ablation.host_rule(&settings, spec)?;
        }
        Some(chosen)
    };
    if !args.rules_only {
        changes(&mut ablation, &settings)?;
        ablation.ensemble(&settings, others)?;
    }
    let table = Table {
        layout,
        images: goods.paths.len(),
        tested: tests.len(),
        chosen,
        rows: ablation.rows,
    };
    if args.common.json {
        return print_json(&table);
    }
    if let Some(Chosen { chosen, reason }) = &table.chosen {
        println!("\n`auto` takes {chosen}: {reason}");
    }
    Ok(())
}
