//! `partgate score`: one line of JSON per image.

mod names;
mod printed;
mod written;

use super::failure::{Code, Failure, causes, tell};
use super::output_folder;
use super::progress::Progress;
use super::terminal::Out;
use super::{PlacementOptions, ThreadCount, load, open};
use clap::Args;
use names::Names;
use partgate::frame::Frame;
use partgate::frame::file::{expand, list, read_picture};
use partgate::inspection::{Inspection, Inspector};
use partgate::product::{OtherView, Product, Signature};
use partgate::verdict::Verdict;
use partgate::view::defects::limit;
use partgate::view::{Ground, defects};
use printed::{Line, MapNote, Results, Scores, Times};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;
use written::{Folder, MapFormat};

/// Inspect images: one line of JSON per image
///
/// Takes image files (PNG, JPEG, BMP, TIFF; grey or colour; 8 or 16 bit) and folders. Folders are
/// searched with their sub-folders in the order of the names.
///
/// An inspected image gives {"path", "score", "verdict": "OK" | "NG" | "UNKNOWN", "threshold",
/// "unknown_threshold", "goods_above", "defects": [{"box": [x, y, width, height], "area", "peak": [x, y],
/// "score", "verdict"}], "map": {"limit", "cell", "blur", "origin", "pixel"}, "ms": {"decode", "preprocess",
/// "backbone", "aggregate", "nearest", "refine", "map", "total"}}. A score above `threshold` is NG, above
/// `unknown_threshold` it is UNKNOWN. `goods_above` is the share of good parts that score as high (bundles
/// since format 3). `refine` is there if the product has a refinement network. `total` is without `decode`.
/// `origin` is "UNSIGNED" if nobody signed the product, else it is absent. An image that cannot be inspected gives {"path", "error", "verdict": "UNKNOWN"}. The
/// other images are still inspected, and the exit code is 3.
///
/// `defects` are the connected regions of the score map above `map.limit`, which is `unknown_threshold`, the
/// highest score first, in pixels of the picture. They show where the map is high and not the outline of
/// the damage: the map is blurred by `map.blur` (sigma) and made of cells of `map.cell` pixels.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate score part.pgp photos/ one.png\n  partgate score part.pgp photos/ --out overlays > scores.jsonl\n  partgate score part.pgp photos/ --csv scores.csv --maps maps > scores.jsonl\n  partgate score part.pgp shot.png --gate && echo pass\n\nExit codes: 0 done, 3 an image, a folder or the accelerator cannot be used, 4 the bundle cannot be used,\n6 (with --gate) at least one image is not OK."
)]
pub(crate) struct Arguments {
    /// The product bundle
    bundle: PathBuf,
    /// Images, and folders of images
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Write a picture of each image with its score map into this folder, in the aspect of the image,
    /// at most 1600 pixels long: with colours on the product's own scale and a contour around
    /// everything above the NG threshold
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write a table of all images into this file: a row per image, with the defect of the highest
    /// score
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the score map of each image into this folder, in the map's own pixels. `map.scale` is
    /// what a score of 1 is in the file; `map.origin` and `map.pixel` are where the map lies in the
    /// picture
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Format of the maps
    #[arg(long, value_name = "FORMAT", requires = "maps", default_value = "npy")]
    map_format: MapFormat,
    /// Exit with 6 if any image is not OK
    #[arg(long)]
    gate: bool,
    #[command(flatten)]
    threads: ThreadCount,
    #[command(flatten)]
    placement: PlacementOptions,
}

/// The picture is of another kind than those of the fit.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
struct OtherPicture {
    path: PathBuf,
    problem: OtherView,
}

/// A file in a gated folder whose name is not that of an image.
#[derive(Debug, Error)]
#[error("{}: not named like an image, so it was not inspected; move it out of the folder", path.display())]
struct NotAnImageName {
    path: PathBuf,
}

/// An image, and the name of what is written for it, without the ending.
struct Job {
    path: PathBuf,
    name: String,
}

fn uninspected(
    results: &mut Results,
    path: &Path,
    error: &(dyn std::error::Error + 'static),
) -> Result<(), Failure> {
    results.uninspected(path, &causes(error).join(": "))
}

/// Inputs that are none.
#[derive(Default)]
struct Refused(Vec<(PathBuf, Box<dyn std::error::Error>)>);

/// Says what is passed over in a folder. A gate must report every file of a folder that it gets.
fn report_others(root: &Path, gate: bool, refused: &mut Refused) {
    // What cannot be listed is told where its images are looked for.
    let Some(listed) = root.is_dir().then(|| list(root).ok()).flatten() else {
        return;
    };
    if let Some(words) = listed.passed_over() {
        log::warn!("{}: {words}", root.display());
    }
    if gate {
        refused.0.extend(listed.others.into_iter().map(|path| {
            let error = NotAnImageName { path: path.clone() };
            (path, error.into())
        }));
    }
}

/// The images to inspect, and the inputs that are none.
fn jobs(arguments: &Arguments) -> (Vec<Job>, Refused) {
    let mut names = Names::default();
    let mut jobs = Vec::new();
    let mut refused = Refused::default();
    for root in &arguments.paths {
        report_others(root, arguments.gate, &mut refused);
        match expand(std::slice::from_ref(root)) {
            Ok(images) => jobs.extend(images.into_iter().map(|path| Job {
                name: names.next(&path, root),
                path,
            })),
            Err(error) => {
                tell(&error);
                refused.0.push((root.clone(), error.into()));
            }
        }
    }
    (jobs, refused)
}

/// An inspected image.
struct Inspected {
    frame: Frame,
    decode: Duration,
    inspection: Inspection,
}

/// Inspects one image after another and counts what comes out.
struct Scoring<'a> {
    product: &'a Product,
    inspector: Inspector,
    gate: bool,
    /// None: no overlays are written, or none any more.
    overlays: Option<Folder<'a>>,
    /// The same for maps.
    maps: Option<(Folder<'a>, MapFormat)>,
    files_lost: bool,
    failed: usize,
    not_ok: usize,
}

impl Scoring<'_> {
    fn score(&mut self, job: &Job, results: &mut Results) -> Result<(), Failure> {
        let inspected = match self.inspect(job) {
            Ok(inspected) => inspected,
            Err(error) => {
                self.failed += 1;
                return uninspected(results, &job.path, &*error);
            }
        };
        let (frame, inspection) = (&inspected.frame, &inspected.inspection);
        let geometry = &self.product.manifest().input;
        let ground = Ground::new(geometry, frame.width(), frame.height());
        let (map_file, overlay) = self.write(frame, &job.name, &ground);
        self.not_ok += usize::from(inspection.verdict != Verdict::Ok);
        let (size, resolution) = (self.inspector.size(), self.inspector.resolution());
        let thresholds = self.inspector.thresholds().clone();
        let operating = self.product.operating();
        let scores = Scores {
            threshold: thresholds.ng.threshold,
            unknown_threshold: thresholds.unknown.threshold,
            goods_above: operating.map(|o| o.share_above(inspection.score)),
            origin: match self.product.signature() {
                Signature::Unsigned => Some(Signature::Unsigned.to_string()),
                Signature::Ed25519 { .. } => None,
            },
        };
        // A part that is OK has no defect, also where its score is a mean of pixels that are above the
        // limit and others that are not.
        let found = match inspection.verdict {
            Verdict::Ok => Vec::new(),
            _ => defects(self.inspector.map(), size, &thresholds, &ground),
        };
        let note = MapNote::new(limit(&thresholds), resolution, &ground, map_file.as_ref());
        let times = Times {
            decode: inspected.decode,
            inspection,
        };
        let path = &job.path.to_string_lossy();
        results.line(&Line::new(
            path,
            &scores,
            &found,
            note,
            times,
            overlay.as_deref(),
        ))
    }

    fn inspect(&mut self, job: &Job) -> Result<Inspected, Box<dyn std::error::Error>> {
        let started = Instant::now();
        let picture = read_picture(&job.path, self.product.reading())?;
        let decode = started.elapsed();
        let said = picture.said();
        let frame = picture.frame;
        if let Err(problem) = self.product.check_picture(&frame, said) {
            let path = job.path.clone();
            let error = OtherPicture { path, problem };
            if self.gate {
                return Err(error.into());
            }
            log::warn!("{error}");
        }
        let inspection = self.inspector.inspect(&frame)?;
        Ok(Inspected {
            frame,
            decode,
            inspection,
        })
    }

    /// Writes map and overlay of the frame that was inspected last, if these are written. Returns the
    /// map's file with its scale, and the overlay's file.
    fn write(
        &mut self,
        frame: &Frame,
        name: &str,
        ground: &Ground,
    ) -> (Option<(PathBuf, f64)>, Option<PathBuf>) {
        let size = self.inspector.size();
        let thresholds = self.inspector.thresholds().clone();
        let mut map = None;
        if let Some((folder, format)) = &self.maps {
            let pixels = (self.inspector.map(), size);
            let written = folder.map(name, *format, pixels, &thresholds);
            map = self.kept(written);
        }
        let mut overlay = None;
        if let Some(folder) = &self.overlays {
            let pixels = (self.inspector.map(), size);
            let written = folder.overlay(name, frame, pixels, ground, &thresholds);
            overlay = self.kept(written);
        }
        (map, overlay)
    }

    /// What was written. A full disk costs the files, not the verdicts.
    fn kept<T>(&mut self, written: Result<T, Failure>) -> Option<T> {
        written
            .map_err(|failure| {
                failure.report();
                self.files_lost = true;
                (self.overlays, self.maps) = (None, None);
            })
            .ok()
    }

    /// The exit code after `images` images.
    fn code(&self, images: usize) -> Code {
        let failed = self.failed;
        if failed > 0 {
            log::warn!(
                "{failed} of {} inputs could not be inspected",
                images.max(failed)
            );
            return Code::Input;
        }
        if self.files_lost {
            return Code::Input;
        }
        if self.gate && self.not_ok > 0 {
            Code::NotOk
        } else {
            Code::Done
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    if arguments.gate {
        // Until all images are inspected: a gate must not pass because the reader of the output
        // left.
        out.when_left(Code::Unexpected);
    }
    let product = open(&arguments.bundle)?;
    let inspector = load(
        &product,
        &arguments.threads.threads()?,
        arguments.placement.placement(),
    )?;
    let (jobs, refused) = jobs(arguments);
    let inputs = || jobs.iter().map(|job| job.path.as_path());
    let folder = |path: &'static str, at| Folder::new(at, path, inputs());
    let overlays = arguments.out.as_deref().map(|at| folder("--out", at));
    let maps = arguments.maps.as_deref().map(|at| folder("--maps", at));
    let maps = maps.transpose()?.map(|at| (at, arguments.map_format));
    let mut scoring = Scoring {
        product: &product,
        inspector,
        gate: arguments.gate,
        overlays: overlays.transpose()?,
        maps,
        files_lost: false,
        failed: refused.0.len(),
        not_ok: 0,
    };
    let mut results = Results::new(out);
    if let Some(path) = &arguments.csv {
        let read = inputs().chain([arguments.bundle.as_path()]);
        results.write_table(path, output_folder::create(path, read)?);
    }
    for (path, error) in &refused.0 {
        uninspected(&mut results, path, &**error)?;
    }
    // On a terminal the lines themselves show how far it is.
    let mut progress = Progress::new("inspecting", jobs.len());
    progress.only_if(!std::io::stdout().is_terminal());
    for job in &jobs {
        scoring.score(job, &mut results)?;
        progress.step();
    }
    drop(progress);
    scoring.files_lost |= results.table_lost;
    Ok(scoring.code(jobs.len()))
}
