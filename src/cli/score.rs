//! `partgate score`: one line of JSON per image.

use super::failure::{Code, Failure, causes, tell};
use super::output_folder::{self, OutputError};
use super::terminal::Out;
use super::{PlacementOptions, ThreadCount, load, ms, open};
use clap::Args;
use partgate::frame::Frame;
use partgate::frame::file::{expand, list, read_picture};
use partgate::inspection::{Inspection, Inspector};
use partgate::product::{OtherView, Product, Signature};
use partgate::verdict::Verdict;
use partgate::view::{NetworkView, Picture, overlay};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Inspect images: one line of JSON per image
///
/// Takes image files (PNG, JPEG, BMP, TIFF; grey or colour; 8 or 16 bit) and folders. Folders are
/// searched with their sub-folders in the order of the names.
///
/// An inspected image gives {"path", "score", "verdict": "OK" | "NG" | "UNKNOWN", "threshold",
/// "unknown_threshold", "goods_above", "ms": {"decode", "preprocess", "backbone", "aggregate", "nearest", "map",
/// "total"}}. A score above `threshold` is NG, above `unknown_threshold` it is UNKNOWN.
/// `goods_above` is the share of good parts that score as high (bundles since format 3). `total` is
/// without `decode`. `origin` is "UNSIGNED" if nobody signed the product, else it is absent. An image
/// that cannot be inspected gives {"path", "error", "verdict": "UNKNOWN"}. The other images are still
/// inspected, and the exit code is 3.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate score part.pgp photos/ one.png\n  partgate score part.pgp photos/ --out overlays > scores.jsonl\n  partgate score part.pgp shot.png --gate && echo pass\n\nExit codes: 0 done, 3 an image, a folder or the accelerator cannot be used, 4 the bundle cannot be used,\n6 (with --gate) at least one image is not OK."
)]
pub(crate) struct Arguments {
    /// The product bundle
    bundle: PathBuf,
    /// Images, and folders of images
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Write a picture of each image with its score map into this folder: as the network sees it,
    /// with colours on the product's own scale and a contour around everything above the NG
    /// threshold
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Exit with 6 if any image is not OK
    #[arg(long)]
    gate: bool,
    #[command(flatten)]
    threads: ThreadCount,
    #[command(flatten)]
    placement: PlacementOptions,
}

/// Milliseconds per stage, in the order of the stages.
struct Times<'a> {
    decode: Duration,
    inspection: &'a Inspection,
}

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("decode", &ms(self.decode))?;
        for (stage, time) in &self.inspection.stages {
            map.serialize_entry(stage.name(), &ms(*time))?;
        }
        map.serialize_entry("total", &ms(self.inspection.total()))?;
        map.end()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    score: f32,
    verdict: Verdict,
    threshold: f32,
    unknown_threshold: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    goods_above: Option<f64>,
    ms: Times<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<&'a Path>,
    /// "UNSIGNED" if nobody signed the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
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

#[derive(Serialize)]
struct Uninspected<'a> {
    path: &'a str,
    error: String,
    verdict: Verdict,
}

/// An image, and the name of its overlay.
struct Job {
    path: PathBuf,
    name: PathBuf,
}

/// File names for overlays: the path below the given folder with its parts joined, and a number if
/// that name is already used.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
}

impl Names {
    fn next(&mut self, image: &Path, root: &Path) -> PathBuf {
        let below = match image.strip_prefix(root) {
            Ok(below) if below.components().next().is_some() => below.to_path_buf(),
            _ => image.file_name().map(PathBuf::from).unwrap_or_default(),
        };
        let parts: Vec<String> = below
            .with_extension("")
            .components()
            .filter_map(|c| match c {
                Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        let stem = parts.join("_");
        let mut name = stem.clone();
        let mut count = 1;
        // In lower case, because some file systems treat `A` and `a` as the same.
        while !self.taken.insert(name.to_lowercase()) {
            count += 1;
            name = format!("{stem}-{count}");
        }
        PathBuf::from(format!("{name}.png"))
    }
}

/// Writes overlays.
struct Overlays<'a> {
    folder: &'a Path,
    view: NetworkView,
}

impl<'a> Overlays<'a> {
    fn new(folder: &'a Path, product: &Product, jobs: &[Job]) -> Result<Self, Failure> {
        output_folder::make(folder)?;
        if let Ok(target) = folder.canonicalize() {
            let inside = |job: &Job| {
                let image = job.path.canonicalize().ok();
                image.is_some_and(|i| i.parent() == Some(&target))
            };
            if jobs.iter().any(inside) {
                let path = folder.to_path_buf();
                return Err(Failure::input(OutputError::HoldsInputs { path }));
            }
        }
        Ok(Self {
            folder,
            view: NetworkView::new(product.manifest().input.clone()),
        })
    }

    fn write(
        &mut self,
        frame: &Frame,
        inspector: &mut Inspector,
        name: &Path,
    ) -> Result<PathBuf, Failure> {
        let seen = self.view.picture(frame).map_err(Failure::input)?;
        let size = self.view.size();
        let thresholds = inspector.thresholds().clone();
        let painted = overlay(&seen, inspector.map(), size, &thresholds);
        let picture =
            Picture::png(&painted, size.width, size.height, "").map_err(Failure::unexpected)?;
        let path = self.folder.join(name);
        output_folder::write(&path, &picture.bytes)?;
        Ok(path)
    }
}

fn uninspected(
    out: &mut Out,
    path: &Path,
    error: &(dyn std::error::Error + 'static),
) -> Result<(), Failure> {
    out.json_line(&Uninspected {
        path: &path.to_string_lossy(),
        error: causes(error).join(": "),
        verdict: Verdict::Unknown,
    })
}

/// Says what is passed over in a folder. A gate must report every file of a folder that it gets.
/// Returns the number of files that it reported: those that have no name of an image.
fn report_others(root: &Path, gate: bool, out: &mut Out) -> Result<usize, Failure> {
    // What cannot be listed is told where its images are looked for.
    let Some(listed) = root.is_dir().then(|| list(root).ok()).flatten() else {
        return Ok(0);
    };
    if let Some(words) = listed.passed_over() {
        log::warn!("{}: {words}", root.display());
    }
    if !gate {
        return Ok(0);
    }
    for path in &listed.others {
        let error = NotAnImageName { path: path.clone() };
        uninspected(out, path, &error)?;
    }
    Ok(listed.others.len())
}

/// The images to inspect, and how many inputs are none.
fn jobs(arguments: &Arguments, out: &mut Out) -> Result<(Vec<Job>, usize), Failure> {
    let mut names = Names::default();
    let mut jobs = Vec::new();
    let mut failed = 0;
    for root in &arguments.paths {
        failed += report_others(root, arguments.gate, out)?;
        match expand(std::slice::from_ref(root)) {
            Ok(images) => jobs.extend(images.into_iter().map(|path| Job {
                name: names.next(&path, root),
                path,
            })),
            Err(error) => {
                uninspected(out, root, &error)?;
                tell(&error);
                failed += 1;
            }
        }
    }
    Ok((jobs, failed))
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
    /// None: no pictures are written, or none any more.
    overlays: Option<Overlays<'a>>,
    pictures_lost: bool,
    failed: usize,
    not_ok: usize,
}

impl Scoring<'_> {
    fn score(&mut self, job: &Job, out: &mut Out) -> Result<(), Failure> {
        let inspected = match self.inspect(job) {
            Ok(inspected) => inspected,
            Err(error) => {
                uninspected(out, &job.path, &*error)?;
                self.failed += 1;
                return Ok(());
            }
        };
        let overlay = self.overlay(&inspected.frame, &job.name);
        let inspection = &inspected.inspection;
        self.not_ok += usize::from(inspection.verdict != Verdict::Ok);
        let thresholds = self.inspector.thresholds();
        out.json_line(&Line {
            path: &job.path.to_string_lossy(),
            score: inspection.score,
            verdict: inspection.verdict,
            threshold: thresholds.ng.threshold,
            unknown_threshold: thresholds.unknown.threshold,
            goods_above: self
                .product
                .operating()
                .map(|operating| operating.share_above(inspection.score)),
            ms: Times {
                decode: inspected.decode,
                inspection,
            },
            overlay: overlay.as_deref(),
            origin: match self.product.signature() {
                Signature::Unsigned => Some(Signature::Unsigned.to_string()),
                Signature::Ed25519 { .. } => None,
            },
        })
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

    /// Writes the overlay of the frame that was inspected last, if overlays are written. Returns
    /// its path.
    fn overlay(&mut self, frame: &Frame, name: &Path) -> Option<PathBuf> {
        let overlays = self.overlays.as_mut()?;
        match overlays.write(frame, &mut self.inspector, name) {
            Ok(path) => Some(path),
            Err(failure) => {
                // A full disk costs the pictures, not the verdicts.
                failure.report();
                self.overlays = None;
                self.pictures_lost = true;
                None
            }
        }
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
        if self.pictures_lost {
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
    let (jobs, failed) = jobs(arguments, out)?;
    let overlays = match &arguments.out {
        Some(folder) => Some(Overlays::new(folder, &product, &jobs)?),
        None => None,
    };
    let mut scoring = Scoring {
        product: &product,
        inspector,
        gate: arguments.gate,
        overlays,
        pictures_lost: false,
        failed,
        not_ok: 0,
    };
    for job in &jobs {
        scoring.score(job, out)?;
    }
    Ok(scoring.code(jobs.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_names_tell_folders_apart_and_never_collide() {
        let mut names = Names::default();
        let mut next = |image: &str, root: &str| {
            names
                .next(Path::new(image), Path::new(root))
                .into_os_string()
        };
        assert_eq!(next("t/good/000.png", "t"), "good_000.png");
        assert_eq!(next("t/scratch/000.png", "t"), "scratch_000.png");
        assert_eq!(next("t/good_000.jpg", "t"), "good_000-2.png");
        assert_eq!(next("elsewhere/000.png", "elsewhere/000.png"), "000.png");
        assert_eq!(next("other/000.PNG", "other/000.PNG"), "000-2.png");
        assert_eq!(
            next("../up/GOOD_000.bmp", "../up/GOOD_000.bmp"),
            "GOOD_000-3.png"
        );
    }
}
