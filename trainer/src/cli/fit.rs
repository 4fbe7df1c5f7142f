//! `partgate-train fit`.

mod free_space;
mod mask;
mod method;
mod outliers;
mod printed;

use super::layout::{LayoutArgs, print_layout};
use super::{Common, check_writable, command_line, print_json, write_file};
use crate::error::TrainError;
use crate::fit;
use crate::fit::region::{PartBox, part_region};
use crate::fit::report::FittedProduct;
use crate::fit::settings::{LEAST_IMAGES, Settings};
use crate::fit::size_choice::choose_size;
use crate::report::fit_page;
use clap::Args;
use free_space::ReservedSpace;
use mask::ignore_mask;
use outliers::{Fitted, fit_without_outliers};
use partgate::backbone::Rect;
use partgate::product::Product;
use printed::print;
use std::path::PathBuf;

pub(crate) use method::MethodArgs;
#[cfg(test)]
pub(crate) use method::default_settings;
pub(crate) use printed::bound_line;

/// Arguments of `fit`.
#[derive(Args)]
pub(crate) struct FitArgs {
    /// A plain folder of good images, a data set in a known layout (train/good and others), or a list
    /// (path,label,mask,part)
    dir: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// The bundle to write
    #[arg(short, long, value_name = "FILE.pgp")]
    output: PathBuf,
    #[command(flatten)]
    method: MethodArgs,
    /// Product name [default: the output file's name]
    #[arg(long)]
    name: Option<String>,
    /// Your part number
    #[arg(long, default_value = "")]
    part_number: String,
    /// Revision of this product; boards refuse to go back
    #[arg(long, value_name = "N", default_value_t = 1)]
    revision: u32,
    /// Look at this part of the camera's picture only, source pixels; `auto` takes the box around the
    /// part, with room for parts that move. What is outside is not inspected [default: all of it]
    #[arg(long, value_name = "X,Y,W,H|auto", value_parser = parse_roi)]
    roi: Option<Region>,
    /// With --size auto: the most time that an inspection may take, ms on one thread of this machine
    #[arg(long, value_name = "MS", value_parser = parse_ms)]
    budget_ms: Option<f64>,
    /// Picture whose black pixels are not inspected; same view as the images
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Record a creation time, `now` or seconds since 1970 (two otherwise equal fits then differ);
    /// SOURCE_DATE_EPOCH is honoured
    #[arg(long, value_name = "TIME")]
    created: Option<String>,
    /// Good images, and as many damaged ones, carried for the board's self-test
    #[arg(long, value_name = "N", default_value_t = 2)]
    goldens: usize,
    /// Write the product even if all good images score alike, or none of its damaged golden images
    /// is rejected. The bundle says so for ever
    #[arg(long)]
    force: bool,
    /// Leave out good images that stand out far from the others, and fit again without them. The
    /// bundle keeps their names and what the fit with them gave
    #[arg(long)]
    drop_outliers: bool,
    /// Write a single-file HTML report: thresholds and operating points, outliers with pictures, what
    /// --method auto chose
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print every rule that --method auto compared
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    common: Common,
}

fn parse_ms(text: &str) -> Result<f64, String> {
    let ms = text
        .parse::<f64>()
        .ok()
        .filter(|ms| *ms > 0.0 && ms.is_finite());
    ms.ok_or_else(|| format!("`{text}`: milliseconds above 0 are expected"))
}

/// Which part of the picture is inspected.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Region {
    /// The box around the part.
    Part,
    Given(Rect),
}

fn parse_roi(text: &str) -> Result<Region, String> {
    if text == "auto" {
        return Ok(Region::Part);
    }
    let numbers: Vec<u32> = text
        .split(',')
        .map(|n| n.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("X,Y,W,H in pixels is expected: {e}"))?;
    match numbers[..] {
        [x, y, width, height] if width > 0 && height > 0 => Ok(Region::Given(Rect {
            x,
            y,
            width,
            height,
        })),
        _ => Err("X,Y,W,H in pixels is expected, W and H above 0, or auto".into()),
    }
}

/// The region to inspect, where `part` is the box around the part.
fn region(args: &FitArgs, part: Option<&PartBox>) -> Result<Option<Rect>, TrainError> {
    match (args.roi, part) {
        (None, _) => Ok(None),
        (Some(Region::Given(region)), _) => Ok(Some(region)),
        (Some(Region::Part), Some(part)) => Ok(Some(part.region)),
        (Some(Region::Part), None) => Err(TrainError::Setting(format!(
            "--roi auto: no box around the part was found in {}: the pictures differ in size, or show no part on a plain background, or the part fills them; give X,Y,W,H, or leave --roi out to inspect the whole picture",
            args.dir.display()
        ))),
    }
}

fn created(argument: Option<&str>) -> Result<Option<u64>, TrainError> {
    let from_environment = std::env::var("SOURCE_DATE_EPOCH").ok();
    match argument.or(from_environment.as_deref()) {
        None => Ok(None),
        Some("now") => Ok(Some(super::now())),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|e| TrainError::Setting(format!("creation time `{text}`: {e}"))),
    }
}

/// The settings that need no image.
fn settings_of(args: &FitArgs) -> Result<Settings, TrainError> {
    let stem = args
        .output
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned());
    let name = args
        .name
        .clone()
        .or(stem)
        .ok_or_else(|| TrainError::Setting("-o names no file".into()))?;
    let mut settings = args.method.settings(&name)?;
    settings.part_number = args.part_number.clone();
    settings.revision = args.revision;
    settings.created_unix = created(args.created.as_deref())?;
    if args.goldens > 16 {
        return Err(TrainError::Setting(format!(
            "--goldens {}: at most 16, every one is carried in the bundle twice",
            args.goldens
        )));
    }
    settings.goldens = args.goldens;
    settings.force = args.force;
    Ok(settings)
}

pub(crate) fn run(args: &FitArgs) -> Result<(), TrainError> {
    args.common.start_threads()?;
    let mut settings = settings_of(args)?;
    let given = match args.roi {
        Some(Region::Given(region)) => Some(region),
        Some(Region::Part) | None => None,
    };
    let (images, layout) = args.layout.source(&args.dir)?.goods()?;
    print_layout(&layout, args.common.json);
    let images = images.surveyed(args.method.asked(given))?;
    let part = part_region(&images)?;
    settings.features.input.roi = region(args, part.as_ref())?;
    args.method.adapt_input(&mut settings, &images)?;
    let few = images.paths.len() < LEAST_IMAGES;
    let size = if args.method.auto_size() && few {
        log::warn!(
            "--size auto: {} good images are too few to choose by ({LEAST_IMAGES} are needed), so the usual {} pixels are taken",
            images.paths.len(),
            settings.features.input.size()
        );
        None
    } else if args.method.auto_size() {
        let inputs = args
            .method
            .inputs_to_compare(&settings, &images, part.as_ref())?;
        Some(choose_size(&images, &settings, inputs, args.budget_ms)?)
    } else if args.budget_ms.is_some() {
        return Err(TrainError::Setting(
            "--budget-ms limits what --size auto may choose; give --size auto, or leave it out"
                .into(),
        ));
    } else {
        None
    };
    if let Some(choice) = &size {
        settings.features.input = choice.input().clone();
    }
    if let Some(path) = &args.mask {
        settings.ignore = Some(ignore_mask(path, &images, &settings.features.input)?);
    }
    check_writable(&args.output)?;
    if let Some(path) = &args.report {
        check_writable(path)?;
    }
    let space = ReservedSpace::take(&args.output, fit::bundle_bytes(&settings, &images)?)?;
    let all = images.clone();
    let Fitted { images, product } = if args.drop_outliers {
        fit_without_outliers(images, settings)?
    } else {
        let product = fit::fit(&images, &settings)?;
        Fitted { images, product }
    };
    let FittedProduct { bytes, mut report } = product;
    report.layout = layout;
    report.part = part;
    report.size = size;
    space.write(&bytes)?;
    if let Some(path) = &args.report {
        let product = Product::from_bytes(bytes, &report.name)?;
        let page = fit_page(&product, &report, [&images, &all], &command_line())?;
        write_file(path, page.as_bytes())?;
    }
    if args.common.json {
        print_json(&report)
    } else {
        print(&report, &args.output, args.verbose);
        Ok(())
    }
}
