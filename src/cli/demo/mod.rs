//! `partgate demo`: rendered parts, inspected by an embedded product.

mod page;

use super::failure::{Code, Failure};
use super::output_folder::{self, OutputError};
use super::terminal::{Colour, Out};
use super::{ThreadCount, built_in, load, ms};
use clap::Args;
use partgate::frame::{Frame, Pixels};
use partgate::inspection::{Inspection, Inspector};
use partgate::network::Placement;
use partgate::seed::Rng;
use partgate::simulation::part::{Defect, RenderedPart, Renderer};
use partgate::verdict::Verdict;
use partgate::view::{NetworkView, Picture, overlay};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The fit uses parts below this number, the demonstration those from it on. So no part is shown
/// that is in the bank.
const FIRST_PART: u64 = 1_000_000;

/// Share of good parts.
const GOOD_SHARE: f64 = 0.4;

/// Most parts with pictures on the page. With more pictures it is slow on a phone.
const PICTURED: usize = 200;

/// Key of the random stream that orders the run.
const ORDER: u64 = 0x6465_6d6f_6f72_6472;

/// Inspect rendered parts with the built-in product; nothing else is needed
///
/// The parts are small electrical assemblies. Two in five are good. The others have a wire in the
/// wrong place, a missing or swapped component, a scratch, a stain or another defect. The command
/// prints a row per part, then a summary, and writes a page with pictures.
///
/// A defective part with the verdict OK is an escape. A good part with the verdict NG or UNKNOWN
/// is a false reject. UNKNOWN parts are rejected like NG parts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate demo\n  partgate demo --parts 100 --seed 7 --out /tmp/demo\n\nExit codes: 0 done (whatever the verdicts), 3 the output folder cannot be written."
)]
pub(crate) struct Arguments {
    /// Folder for index.html and overlays/
    #[arg(long, value_name = "DIR", default_value = "partgate-demo")]
    out: PathBuf,
    /// Parts to inspect
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    parts: u32,
    /// Seed of the parts and of their order
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    threads: ThreadCount,
}

/// Whether a verdict is right. UNKNOWN rejects the part, as NG does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// A good part passed or a defective one did not.
    Right,
    /// A defective part passed.
    Escape,
    /// A good part did not pass.
    FalseReject,
}

/// One inspected part.
#[derive(Serialize)]
struct Inspected {
    /// Number in this run, from 1.
    part: usize,
    /// `good`, or the defect's name.
    shown: &'static str,
    score: f32,
    verdict: Verdict,
    outcome: Outcome,
    ms: f64,
    #[serde(skip)]
    defect: Option<Defect>,
    /// The part and its overlay; None if the page would hold too many.
    #[serde(skip)]
    pictures: Option<[Picture; 2]>,
}

/// Figures of the whole run.
#[derive(Serialize)]
struct Summary {
    parts: usize,
    good: usize,
    ok: usize,
    ng: usize,
    unknown: usize,
    escapes: usize,
    false_rejects: usize,
    median_ms: f64,
    /// Inspection alone, without the time to render the parts.
    parts_per_second: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    product: &'a str,
    /// Who signed it, or UNSIGNED.
    origin: String,
    revision: u32,
    seed: u64,
    threads: usize,
    threshold: f32,
    unknown_threshold: f32,
    parts: &'a [Inspected],
    summary: &'a Summary,
    page: &'a Path,
}

/// What is shown, in order: about two in five good, the defects in turn so that a run of usual
/// length has every kind, all shuffled.
fn plan(parts: usize, seed: u64) -> Vec<Option<Defect>> {
    let mut rng = Rng::stream(seed, ORDER);
    let good = (parts as f64 * GOOD_SHARE).round() as usize;
    let kinds = rng.permutation(Defect::ALL.len());
    let turn = kinds
        .iter()
        .cycle()
        .map(|&kind| Defect::ALL.get(kind).copied());
    let shown: Vec<Option<Defect>> = std::iter::repeat_n(None, good)
        .chain(turn)
        .take(parts)
        .collect();
    let order = rng.permutation(parts);
    order
        .into_iter()
        .filter_map(|i| shown.get(i).copied())
        .collect()
}

fn outcome(defect: Option<Defect>, verdict: Verdict) -> Outcome {
    match (defect, verdict) {
        (Some(_), Verdict::Ok) => Outcome::Escape,
        (None, Verdict::Ng | Verdict::Unknown) => Outcome::FalseReject,
        _ => Outcome::Right,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl Summary {
    fn of(inspected: &[Inspected]) -> Self {
        let with = |verdict| inspected.iter().filter(|j| j.verdict == verdict).count();
        let came = |outcome| inspected.iter().filter(|j| j.outcome == outcome).count();
        let seconds: f64 = inspected.iter().map(|j| j.ms).sum::<f64>() / 1e3;
        Self {
            parts: inspected.len(),
            good: inspected.iter().filter(|j| j.defect.is_none()).count(),
            ok: with(Verdict::Ok),
            ng: with(Verdict::Ng),
            unknown: with(Verdict::Unknown),
            escapes: came(Outcome::Escape),
            false_rejects: came(Outcome::FalseReject),
            median_ms: median(inspected.iter().map(|j| j.ms).collect()),
            parts_per_second: inspected.len() as f64 / seconds,
        }
    }
}

/// Where the results are written.
struct Folder {
    page: PathBuf,
    overlays: PathBuf,
}

impl Folder {
    /// Creates the folder before anything is inspected. Does not overwrite a page of another
    /// program.
    fn make(root: &Path) -> Result<Self, Failure> {
        let page = root.join("index.html");
        let overlays = root.join("overlays");
        output_folder::make(&overlays)?;
        if page.exists() {
            let mark = partgate::view::page::GENERATOR;
            let ours = std::fs::read_to_string(&page).is_ok_and(|text| text.contains(mark));
            if !ours {
                return Err(Failure::input(OutputError::Foreign { path: page }));
            }
        }
        Ok(Self { page, overlays })
    }
}

/// Draws the pictures of an inspected part.
struct Painter {
    view: NetworkView,
    folder: Folder,
}

impl Painter {
    fn paint(
        &mut self,
        number: usize,
        part: &RenderedPart,
        frame: &Frame,
        inspector: &mut Inspector,
    ) -> Result<[Picture; 2], Failure> {
        let size = self.view.size();
        let seen = self.view.picture(frame).map_err(Failure::unexpected)?;
        let thresholds = inspector.thresholds().clone();
        let painted = overlay(&seen, inspector.map(), size, &thresholds);
        let file =
            Picture::png(&painted, size.width, size.height, "").map_err(Failure::unexpected)?;
        let path = self.folder.overlays.join(format!("{number:04}.png"));
        output_folder::write(&path, &file.bytes)?;
        // On the page the picture has the part's proportions again.
        let (width, height) = (part.width * 3 / 5, part.height * 3 / 5);
        let picture = Picture::jpeg(&part.rgb, part.width, part.height, format!("part {number}"));
        let alt = format!("score map of part {number}");
        let heat = Picture::jpeg(&painted, size.width, size.height, alt);
        Ok([
            picture
                .map_err(Failure::unexpected)?
                .shown_at(width, height),
            heat.map_err(Failure::unexpected)?.shown_at(width, height),
        ])
    }
}

fn row(out: &Out, inspected: &Inspected) -> String {
    let mark = match inspected.outcome {
        Outcome::Right => String::new(),
        Outcome::Escape => out.paint("  ESCAPE", Colour::Alarm),
        Outcome::FalseReject => out.paint("  FALSE REJECT", Colour::Alarm),
    };
    let verdict = out.paint(
        format_args!("{:7}", inspected.verdict),
        Colour::of(inspected.verdict),
    );
    format!(
        "{:>4}  {:20} {:>9.3}  {verdict} {:>7.1}{mark}",
        inspected.part, inspected.shown, inspected.score, inspected.ms
    )
}

fn inspect(
    number: usize,
    defect: Option<Defect>,
    inspector: &mut Inspector,
    frame: &Frame,
) -> Result<Inspected, Failure> {
    let inspection: Inspection = inspector.inspect(frame).map_err(Failure::unexpected)?;
    Ok(Inspected {
        part: number,
        shown: defect.map_or("good", Defect::name),
        score: inspection.score,
        verdict: inspection.verdict,
        outcome: outcome(defect, inspection.verdict),
        ms: ms(inspection.total()),
        defect,
        pictures: None,
    })
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let folder = Folder::make(&arguments.out)?;
    let threads = arguments.threads.threads()?;
    let product = built_in::product()?;
    let mut inspector = load(&product, &threads, Placement::default())?;
    let manifest = product.manifest();
    let mut painter = Painter {
        view: NetworkView::new(manifest.input.clone()),
        folder,
    };
    if !out.json() {
        out.line(format_args!(
            "{} parts of the product `{}`, {}: NG above {:.3}, UNKNOWN above {:.3}",
            arguments.parts,
            manifest.name,
            product.signature(),
            manifest.thresholds.ng.threshold,
            manifest.thresholds.unknown.threshold
        ))?;
        let header = format!(
            "{:>4}  {:20} {:>9}  {:7} {:>7}",
            "part", "shown", "score", "verdict", "ms"
        );
        out.line(out.paint(header, Colour::Soft))?;
    }

    let renderer = Renderer::new(arguments.seed);
    let mut inspected: Vec<Inspected> = Vec::new();
    let mut pictured = 0;
    for (i, defect) in plan(arguments.parts as usize, arguments.seed)
        .into_iter()
        .enumerate()
    {
        let index = FIRST_PART + i as u64;
        let part = match defect {
            Some(defect) => renderer.defective(index, defect),
            None => renderer.good(index),
        };
        let frame = Frame::new(part.width, part.height, Pixels::Rgb8(part.rgb.clone()))
            .map_err(Failure::unexpected)?;
        let mut entry = inspect(i + 1, defect, &mut inspector, &frame)?;
        let pictures = painter.paint(i + 1, &part, &frame, &mut inspector)?;
        // Mistakes are always shown, because a person looks for them.
        if pictured < PICTURED || entry.outcome != Outcome::Right {
            pictured += 1;
            entry.pictures = Some(pictures);
        }
        if !out.json() {
            out.line(row(out, &entry))?;
        }
        inspected.push(entry);
    }

    let summary = Summary::of(&inspected);
    let html = page::build(&product, &inspected, &summary, threads.count());
    output_folder::write(&painter.folder.page, html.as_bytes())?;
    let page = &painter.folder.page;
    if out.json() {
        out.json_page(&Report {
            product: &manifest.name,
            origin: product.signature().to_string(),
            revision: manifest.revision,
            seed: arguments.seed,
            threads: threads.count(),
            threshold: manifest.thresholds.ng.threshold,
            unknown_threshold: manifest.thresholds.unknown.threshold,
            parts: &inspected,
            summary: &summary,
            page,
        })?;
    } else {
        tell(out, &summary, page)?;
    }
    Ok(Code::Done)
}

fn tell(out: &mut Out, summary: &Summary, page: &Path) -> Result<(), Failure> {
    let defective = summary.parts - summary.good;
    let mistakes = |what: &str, count: usize, of: usize| {
        let colour = if count == 0 {
            Colour::Good
        } else {
            Colour::Alarm
        };
        out.paint(format_args!("{what} {count} of {of}"), colour)
    };
    let escapes = mistakes("escapes", summary.escapes, defective);
    let rejects = mistakes("false rejects", summary.false_rejects, summary.good);
    out.line("")?;
    out.line(format_args!(
        "{} parts: {} OK, {} NG, {} UNKNOWN",
        summary.parts, summary.ok, summary.ng, summary.unknown
    ))?;
    out.line(format_args!(
        "{escapes} defective parts, {rejects} good parts"
    ))?;
    out.line(format_args!(
        "median {:.1} ms per part, {:.1} parts per second",
        summary.median_ms, summary.parts_per_second
    ))?;
    let path = page.canonicalize().unwrap_or_else(|_| page.to_path_buf());
    out.line(format_args!("page with pictures: {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_mixes_good_parts_and_every_defect() {
        let shown = plan(24, 1);
        assert_eq!(shown.len(), 24);
        assert_eq!(shown.iter().filter(|s| s.is_none()).count(), 10);
        for defect in Defect::ALL {
            assert!(shown.contains(&Some(*defect)), "{defect:?} is not shown");
        }
        assert_eq!(plan(24, 1), shown);
        assert_ne!(plan(24, 2), shown);
        assert_eq!(plan(1, 1).len(), 1);
    }

    #[test]
    fn only_ok_lets_a_part_pass() {
        let bad = Some(Defect::Scratch);
        assert_eq!(outcome(bad, Verdict::Ok), Outcome::Escape);
        assert_eq!(outcome(bad, Verdict::Unknown), Outcome::Right);
        assert_eq!(outcome(bad, Verdict::Ng), Outcome::Right);
        assert_eq!(outcome(None, Verdict::Ok), Outcome::Right);
        assert_eq!(outcome(None, Verdict::Unknown), Outcome::FalseReject);
        assert_eq!(outcome(None, Verdict::Ng), Outcome::FalseReject);
    }
}
