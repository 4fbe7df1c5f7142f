//! `partgate render`: the demo product as a data set.

use super::failure::{Code, Failure};
use super::output_folder;
use super::progress::Progress;
use super::terminal::Out;
use clap::Args;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use partgate::simulation::part::{Defect, RenderedPart, Renderer};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Test parts have other indices than training parts, and defective parts other ones than good
/// parts. So no two pictures show the same part.
const FIRST_TEST_GOOD: u64 = 100_000;
const FIRST_DEFECTIVE: u64 = 200_000;
const INDICES_A_DEFECT: u64 = 10_000;

/// Render the demonstration product as a data set: folders of good and defective parts
///
/// Writes PNG files in the layout of the MVTec AD data set: train/good, test/good, test/DEFECT and
/// ground_truth/DEFECT/NNN_mask.png. The same numbers and seed give the same bytes on every
/// machine. The bundle of `partgate demo` is fitted on such a data set.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate render parts\n  partgate render parts --train 200 --seed 7\n\nExit codes: 0 done, 3 the folder is not empty or cannot be written."
)]
pub(crate) struct Arguments {
    /// New or empty folder for the data set
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Good parts for the fit
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    train: u32,
    /// Good parts for the test
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    test: u32,
    /// Defective parts for the test, per kind of defect
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    per_defect: u32,
    /// Seed of the production. Another seed gives other parts of the same product
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    folder: &'a Path,
    seed: u64,
    train_good: u32,
    test_good: u32,
    per_defect: u32,
    defects: Vec<&'static str>,
}

fn png(bytes: &[u8], part: &RenderedPart, colour: ExtendedColorType) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(bytes, part.width as u32, part.height as u32, colour)
        .map_err(Failure::unexpected)?;
    Ok(out)
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let root = &arguments.folder;
    output_folder::make_empty(root)?;
    let renderer = Renderer::new(arguments.seed);
    let total = arguments.train + arguments.test + arguments.per_defect * Defect::ALL.len() as u32;
    let mut progress = Progress::new("drawing parts", total as usize);

    for (folder, first, count) in [
        ("train/good", 0, arguments.train),
        ("test/good", FIRST_TEST_GOOD, arguments.test),
    ] {
        let folder = root.join(folder);
        output_folder::make(&folder)?;
        for i in 0..count {
            let part = renderer.good(first + u64::from(i));
            let bytes = png(&part.rgb, &part, ExtendedColorType::Rgb8)?;
            output_folder::write(&folder.join(format!("{i:03}.png")), &bytes)?;
            progress.step();
        }
    }
    for (kind, &defect) in Defect::ALL.iter().enumerate() {
        let test = root.join("test").join(defect.name());
        let truth = root.join("ground_truth").join(defect.name());
        output_folder::make(&test)?;
        output_folder::make(&truth)?;
        let first = FIRST_DEFECTIVE + kind as u64 * INDICES_A_DEFECT;
        for i in 0..arguments.per_defect {
            let part = renderer.defective(first + u64::from(i), defect);
            let bytes = png(&part.rgb, &part, ExtendedColorType::Rgb8)?;
            output_folder::write(&test.join(format!("{i:03}.png")), &bytes)?;
            if let Some(mask) = &part.mask {
                let bytes = png(mask, &part, ExtendedColorType::L8)?;
                output_folder::write(&truth.join(format!("{i:03}_mask.png")), &bytes)?;
            }
            progress.step();
        }
    }
    drop(progress);

    if out.json() {
        out.json_page(&Report {
            folder: root,
            seed: arguments.seed,
            train_good: arguments.train,
            test_good: arguments.test,
            per_defect: arguments.per_defect,
            defects: Defect::ALL.iter().map(|d| d.name()).collect(),
        })?;
    } else {
        out.line(format_args!(
            "{}: {} good parts for the fit; {} good and {} x {} defective parts for the test",
            root.display(),
            arguments.train,
            arguments.test,
            Defect::ALL.len(),
            arguments.per_defect
        ))?;
    }
    Ok(Code::Done)
}
