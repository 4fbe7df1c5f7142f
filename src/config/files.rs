//! Checks whether the files that a configuration names exist and fit: the bundle, and the images
//! of a source without a camera.

use super::{CameraSource, LineConfig, Problem, ProductPlace, V4l2Camera};
use crate::capture::recorded::RecordedSource;
use crate::capture::source::FrameSource;
use crate::capture::v4l2;
use crate::frame::PixelFormat;
use crate::frame::file::{list, read_picture};
use crate::frame::{MAX_AREA, MAX_SIDE, Picture, Reading};
use crate::product::{OtherView, Product};
use std::error::Error;
use std::path::{Path, PathBuf};

/// Width and height in pixels of the frames of `camera.source = "rendered"`.
pub(crate) const RENDERED_SIZE: (usize, usize) = (320, 256);

/// An error with its causes, in one text line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += ": ";
            text += &cause_text;
        }
        next = cause.source();
    }
    text.replace('\n', " ")
}

/// Most images that are read. Reading all of them would take minutes.
const LOOKED_AT: usize = 16;

/// The fault of the first file that is not an image or does not fit. Of many files only a sample is
/// read, with the first and the last.
fn first_unfit(
    files: &[PathBuf],
    reading: Reading,
    fits: &impl Fn(&Picture) -> Option<String>,
) -> Option<String> {
    let step = files.len().div_ceil(LOOKED_AT).max(1);
    let sample = files.iter().step_by(step).chain(files.last());
    for file in sample {
        match read_picture(file, reading) {
            Err(error) => return Some(chain(&error)),
            Ok(picture) => {
                if let Some(message) = fits(&picture) {
                    return Some(format!("{}: {message}", file.display()));
                }
            }
        }
    }
    None
}

/// What the files of a configuration are checked against, and the problems found so far.
struct FileCheck<'a> {
    config: &'a LineConfig,
    /// None if the bundle cannot be opened. Then every size of picture fits.
    product: Option<&'a Product>,
    problems: Vec<Problem>,
}

impl FileCheck<'_> {
    fn note(&mut self, key: &str, message: String) {
        self.problems.push(Problem {
            line: self.config.line_of(key).unwrap_or(1),
            key: key.into(),
            message,
        });
    }

    /// Opens no device: `doctor` does.
    fn check_accelerator(&mut self) {
        let key = "inference.accelerator";
        let accelerator = self.config.inference.accelerator;
        if let Err(error) = accelerator.built() {
            self.note(key, chain(&error));
            return;
        }
        let members = self.product.iter().flat_map(|product| product.members());
        let refused: Vec<String> = members
            .filter_map(|member| {
                let backbone = member.backbone();
                let name = format!("backbone `{}`", backbone.name);
                accelerator.takes(&name, backbone.precision).err()
            })
            .map(|error| error.to_string())
            .collect();
        for message in refused {
            self.note(key, message);
        }
    }

    /// Why the product does not take pictures of this size; None if it does.
    fn unfit_size(&self, width: usize, height: usize) -> Option<String> {
        let problem = self.product?.check_size(width, height).err()?;
        Some(match problem {
            OtherView::Size { fitted, .. } => format!(
                "pictures of {width} x {height} are another view than the product's: it was fitted on {fitted}; take pictures of that size, or fit the product on pictures like these"
            ),
            other => other.to_string(),
        })
    }

    /// Why the product does not take this picture; None if it does.
    fn unfit_picture(&self, picture: &Picture) -> Option<String> {
        let frame = &picture.frame;
        self.unfit_size(frame.width(), frame.height()).or_else(|| {
            let product = self.product?;
            let problem = product.check_picture(frame, picture.said()).err()?;
            Some(problem.to_string())
        })
    }

    /// The depth of the camera's samples against that of the product's pictures.
    fn check_bits(&mut self, camera: &V4l2Camera) {
        let Some(bits) = camera.bits else {
            return;
        };
        if camera.format != Some(PixelFormat::Grey16) {
            let message = "counts for camera.format = \"Y16\" only; say so, or leave it out";
            self.note("camera.bits", message.to_owned());
            return;
        }
        let fitted = self.product.map(|product| product.reading().bits);
        if let Some(fitted) = fitted.filter(|&fitted| fitted != bits) {
            let message = format!(
                "samples of {bits} bits, but the product was fitted on samples of {fitted}: the same part would be {} as bright; set the camera to that depth, or fit the product on its pictures (--bits {bits})",
                if bits < fitted {
                    "a fraction"
                } else {
                    "several times"
                }
            );
            self.note("camera.bits", message);
        }
    }

    /// Opens no device.
    fn check_v4l2(&mut self, camera: &V4l2Camera) {
        self.check_bits(camera);
        if let Err(error) = v4l2::built() {
            self.note("camera.source", chain(&error));
        }
        // If the board profile gave the size, the problem is noted at the line of the source.
        let config = self.config;
        let given = config
            .line_of("camera.width")
            .or(config.line_of("camera.height"));
        let key = match given {
            Some(_) if config.line_of("camera.width").is_some() => "camera.width",
            Some(_) => "camera.height",
            None => "camera.source",
        };
        let (width, height) = (camera.width as usize, camera.height as usize);
        if width.saturating_mul(height) > MAX_AREA || width.max(height) > MAX_SIDE {
            let message = format!(
                "pictures of {width} x {height} have more pixels than any inspector here takes, {MAX_AREA}"
            );
            self.note(key, message);
        } else if camera.format == Some(PixelFormat::Yuyv) && width % 2 == 1 {
            let message = format!(
                "camera.format = \"YUYV\" holds pixels in pairs, so that no picture of {width} pixels per row can be decoded; give an even width"
            );
            self.note(key, message);
        } else if let Some(message) = self.unfit_size(width, height) {
            let whose = if given.is_none() {
                format!("size of board {}: ", config.board.name)
            } else {
                String::new()
            };
            self.note(key, whose + &message);
        }
    }

    fn check_folder(&mut self, folder: &Path) {
        match list(folder) {
            Err(error) => self.note("camera.folder", chain(&error)),
            Ok(listed) if listed.images.is_empty() => self.note(
                "camera.folder",
                format!("{}: no images in this folder", folder.display()),
            ),
            Ok(listed) => {
                if let Some(words) = listed.passed_over() {
                    log::warn!("{}: {words}", folder.display());
                }
                self.check_images(&listed.images);
            }
        }
    }

    fn check_recording(&mut self, folder: &Path) {
        let mut source = RecordedSource::new(folder, true);
        match source.open() {
            Err(error) => self.note("camera.folder", chain(&error)),
            Ok(()) => self.check_images(source.files()),
        }
    }

    fn check_images(&mut self, files: &[PathBuf]) {
        let product = self.product;
        let reading = product.map(Product::reading).unwrap_or_default();
        let fits = |picture: &Picture| self.unfit_picture(picture);
        if let Some(message) = first_unfit(files, reading, &fits) {
            self.note("camera.folder", message);
        }
    }

    fn check_rendered(&mut self) {
        let (width, height) = RENDERED_SIZE;
        if let Some(message) = self.unfit_size(width, height) {
            self.note("camera.source", message);
        }
    }
}

/// Opens the product and asks whether the line accepts it.
fn open_product(config: &LineConfig) -> (Option<Product>, Vec<Problem>) {
    let place = &config.product;
    let problem = |message: String| Problem {
        line: config.line_of(place.key()).unwrap_or(1),
        key: place.key().into(),
        message,
    };
    match place.open() {
        Ok(product) => {
            let refused = config.judge(product.signature()).err();
            let problems = refused.map(|refusal| problem(chain(&*refusal)));
            (Some(product), problems.into_iter().collect())
        }
        Err(error) => {
            let cure = match place {
                ProductPlace::File(path) if !path.exists() => {
                    "; copy the bundle there, or name another: paths are relative to the configuration"
                }
                _ => "",
            };
            (None, vec![problem(chain(&error) + cure)])
        }
    }
}

impl LineConfig {
    /// Opens the bundle and checks whether the line accepts it, the size of the frames, the folder of
    /// a folder source, whether this build has cameras and the accelerator, and whether the product
    /// can run there. Returns the problems, sorted by line. `doctor` checks the devices.
    pub fn check_files(&self) -> Vec<Problem> {
        let (product, mut problems) = open_product(self);
        problems.extend(self.check_source(product.as_ref()));
        problems.sort();
        problems
    }

    /// As [`LineConfig::check_files`], of a product that is not the line's yet.
    pub fn check_product(&self, product: &Product) -> Vec<Problem> {
        self.check_source(Some(product))
    }

    fn check_source(&self, product: Option<&Product>) -> Vec<Problem> {
        let mut check = FileCheck {
            config: self,
            product,
            problems: Vec::new(),
        };
        check.check_accelerator();
        match &self.camera.source {
            CameraSource::V4l2(camera) => check.check_v4l2(camera),
            CameraSource::Folder { folder } => check.check_folder(folder),
            CameraSource::Recorded { folder } => check.check_recording(folder),
            CameraSource::Rendered(_) => check.check_rendered(),
        }
        let mut problems = check.problems;
        problems.sort();
        problems
    }
}
