//! `partgate-train damage`: the damage of training and of the choice of conditioning, as pictures.

mod sheet;

use super::layout::{LayoutArgs, print_layout};
use super::{Common, check_writable, print_json, unwritable, write_file};
use crate::damage::{Damaged, Damager, Family};
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::png::png;
use crate::progress::Progress;
use clap::{Args, ValueEnum};
use partgate::frame::{Frame, Pixels};
use partgate::seed::Rng;
use rayon::prelude::*;
use serde::Serialize;
use sheet::Sheet;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Other good images that one picture is filled from. A few give variety; every one is read.
const DONORS: usize = 3;

/// Pictures held at a time.
const BATCH: usize = 32;

/// Which damage to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FamilyArg {
    /// Something foreign on the surface
    Surface,
    /// Components in the wrong place, turned, recoloured or gone
    Misplaced,
    /// One after the other
    Both,
}

/// Arguments of `damage`.
#[derive(Args)]
pub(crate) struct DamageArgs {
    /// Folder of good images, or a data set in MVTec layout (its train/good is taken)
    dir: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// New or empty folder to write into: test/KIND/NNN.png and ground_truth/KIND/NNN_mask.png
    out: PathBuf,
    /// Damaged images to write
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Seed of the damage
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// What to draw
    #[arg(long, value_enum, default_value_t = FamilyArg::Both)]
    family: FamilyArg,
    /// Also write one picture that shows a few of every kind with their masks, kind by kind
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Refused {
    image: String,
    problem: String,
}

#[derive(Serialize)]
struct Report {
    folder: PathBuf,
    /// How the good images lie, in a line.
    layout: String,
    seed: u64,
    written: usize,
    /// Images of every kind of damage.
    kinds: BTreeMap<String, usize>,
    /// Images of every fill of surface damage.
    fillings: BTreeMap<String, usize>,
    /// Images on which the part was found; on the others the whole picture is damaged.
    part_found: usize,
    /// Mean share of the picture that those parts take.
    part_share: Option<f32>,
    /// Mean share of the picture that is changed.
    changed_share: f64,
    /// Images that could not be damaged, and why.
    refused: Vec<Refused>,
}

struct Outcome {
    part_share: Option<f32>,
    damaged: Damaged,
}

fn make_empty(folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(unwritable(folder))?;
    let mut entries = std::fs::read_dir(folder).map_err(unwritable(folder))?;
    if entries.next().is_some() {
        return Err(TrainError::Setting(format!(
            "{}: the folder is not empty; name a new or an empty one",
            folder.display()
        )));
    }
    Ok(())
}

fn mask(damaged: &Damaged) -> Result<Frame, TrainError> {
    let samples = damaged.changed.iter().map(|&c| if c { 255 } else { 0 });
    let (w, h) = (damaged.frame.width(), damaged.frame.height());
    Frame::new(w, h, Pixels::Gray8(samples.collect()))
        .map_err(|e| TrainError::Setting(e.to_string()))
}

/// The `index`-th damage, or why there is none. It depends only on the arguments, so the order of
/// work does not matter.
fn draw(
    args: &DamageArgs,
    images: &GoodImages,
    order: &[usize],
    index: u64,
) -> Result<Result<Outcome, Refused>, TrainError> {
    let mut rng = Rng::stream(args.seed, index);
    let turn = index as usize % order.len();
    let path = &images.paths[order[turn]];
    let frame = images.read(path)?;
    let mut others = Vec::new();
    for _ in 0..DONORS.min(order.len() - 1) {
        let other = (turn + 1 + rng.below(order.len() - 1)) % order.len();
        others.push(images.read(&images.paths[order[other]])?);
    }
    let donors: Vec<&Frame> = others.iter().collect();
    let family = match args.family {
        FamilyArg::Surface => Family::Surface,
        FamilyArg::Misplaced => Family::Misplaced,
        FamilyArg::Both if index.is_multiple_of(2) => Family::Surface,
        FamilyArg::Both => Family::Misplaced,
    };
    let outcome = Damager::new(&frame, &donors, None).and_then(|damager| {
        Ok(Outcome {
            part_share: damager.part_share(),
            damaged: damager.damage(family, rng.next_u64())?,
        })
    });
    Ok(outcome.map_err(|e| Refused {
        image: images.relative(path),
        problem: e.to_string(),
    }))
}

fn print(report: &Report) {
    println!(
        "{}: {} damaged images, {:.2} % of the pixels changed on average",
        report.folder.display(),
        report.written,
        100.0 * report.changed_share
    );
    match report.part_share {
        Some(share) => println!(
            "  the part was told from its background on {} of them ({:.0} % of the picture); elsewhere the whole picture is damaged",
            report.part_found,
            100.0 * share
        ),
        None => println!(
            "  no part was told from its background: the border is not of one colour; the whole picture is damaged"
        ),
    }
    for (name, count) in report.kinds.iter() {
        println!("  {name:<14} {count:>5}");
    }
    for refused in &report.refused {
        println!("  not damaged: {}: {}", refused.image, refused.problem);
    }
}

pub(crate) fn run(args: &DamageArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let (images, layout) = args.layout.source(&args.dir)?.goods()?;
    print_layout(&layout, args.common.json);
    make_empty(&args.out)?;
    if let Some(path) = &args.sheet {
        check_writable(path)?;
    }
    let order = Rng::new(args.seed).permutation(images.paths.len());
    let mut report = Report {
        folder: args.out.clone(),
        layout,
        seed: args.seed,
        written: 0,
        kinds: BTreeMap::new(),
        fillings: BTreeMap::new(),
        part_found: 0,
        part_share: None,
        changed_share: 0.0,
        refused: Vec::new(),
    };
    let mut sheet = Sheet::default();
    let mut shares = 0.0;
    let progress = Progress::new("damage", u64::from(args.count));
    let indices: Vec<u64> = (0..u64::from(args.count)).collect();
    for batch in indices.chunks(BATCH) {
        let drawn: Vec<_> = batch
            .par_iter()
            .map(|&index| draw(args, &images, &order, index))
            .collect();
        for outcome in drawn {
            progress.advance(1);
            let Outcome {
                part_share,
                damaged,
            } = match outcome? {
                Ok(outcome) => outcome,
                Err(refused) => {
                    report.refused.push(refused);
                    continue;
                }
            };
            write_pair(args, &mut report, &damaged)?;
            if let Some(share) = part_share {
                report.part_found += 1;
                shares += share;
            }
            if args.sheet.is_some() {
                sheet.add(&damaged);
            }
        }
    }
    progress.finish();
    let Some(first) = report.refused.first().filter(|_| report.written == 0) else {
        return finished(args, report, &sheet, shares);
    };
    Err(TrainError::Dataset {
        path: images.root.join(&first.image),
        problem: first.problem.clone(),
    })
}

fn write_pair(args: &DamageArgs, report: &mut Report, damaged: &Damaged) -> Result<(), TrainError> {
    let kind = damaged.kind.to_string();
    let number = report.kinds.entry(kind.clone()).or_default();
    let image = args.out.join("test").join(&kind);
    let truth = args.out.join("ground_truth").join(&kind);
    let image = image.join(format!("{number:03}.png"));
    let truth = truth.join(format!("{number:03}_mask.png"));
    *number += 1;
    write_file(&image, &png(&damaged.frame)?)?;
    write_file(&truth, &png(&mask(damaged)?)?)?;
    report.written += 1;
    let changed = damaged.changed.iter().filter(|&&c| c).count();
    report.changed_share += changed as f64 / damaged.changed.len() as f64;
    if let Some(fill) = damaged.fill {
        *report.fillings.entry(fill.to_string()).or_default() += 1;
    }
    Ok(())
}

fn finished(
    args: &DamageArgs,
    mut report: Report,
    sheet: &Sheet,
    shares: f32,
) -> Result<(), TrainError> {
    report.changed_share /= report.written.max(1) as f64;
    report.part_share = (report.part_found > 0).then(|| shares / report.part_found as f32);
    if let Some(path) = &args.sheet {
        write_file(path, &sheet.png()?)?;
    }
    if args.common.json {
        print_json(&report)
    } else {
        print(&report);
        Ok(())
    }
}
