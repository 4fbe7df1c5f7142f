//! Whether what a configuration names is there: the bundle, and the pictures that it will judge.

use super::LineConfig;
use super::problem::Problem;
use super::sections::CameraSource;
use crate::capture::folder::{images_under, read_frame};
use crate::capture::recorded::RecordedSource;
use crate::capture::source::FrameSource;
use crate::product::Product;
use std::error::Error;

/// An error with its causes, in one line.
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

impl LineConfig {
    /// Opens the bundle and looks at the pictures' size and at the folder of a folder source; what
    /// is wrong, sorted by line. Devices are `doctor`'s.
    pub fn check_files(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |key: &str, message: String| {
            problems.push(Problem {
                line: self.line_of(key).unwrap_or(1),
                key: key.into(),
                message,
            });
        };
        let product = match Product::open(&self.product) {
            Ok(product) => Some(product),
            Err(error) => {
                let cure = if self.product.exists() {
                    ""
                } else {
                    "; copy the bundle there, or name another: paths are relative to the configuration"
                };
                note("product", chain(&error) + cure);
                None
            }
        };
        let fits = |width: usize, height: usize| {
            let product = product
                .as_ref()
                .filter(|p| !p.expects_size(width, height))?;
            let [w, h] = product.manifest().training.smallest;
            Some(format!(
                "pictures of {width} x {height} are another view than the product's: it was fitted on {w} x {h}; take pictures of that size, or fit the product on such as these"
            ))
        };
        match &self.camera.source {
            CameraSource::V4l2(camera) => {
                if let Some(message) = fits(camera.width as usize, camera.height as usize) {
                    note("camera.width", message);
                }
            }
            CameraSource::Folder { folder, .. } => match images_under(folder) {
                Err(error) => note("camera.folder", chain(&error)),
                Ok(images) => match images.first().map(|first| read_frame(first)) {
                    None => note(
                        "camera.folder",
                        format!("{}: no images in this folder", folder.display()),
                    ),
                    Some(Err(error)) => note("camera.folder", chain(&error)),
                    Some(Ok(frame)) => {
                        if let Some(message) = fits(frame.width(), frame.height()) {
                            note("camera.folder", message);
                        }
                    }
                },
            },
            CameraSource::Recorded { folder } => {
                if let Err(error) = RecordedSource::new(folder, true).open() {
                    note("camera.folder", chain(&error));
                }
            }
            CameraSource::Rendered { .. } => {}
        }
        problems.sort();
        problems
    }
}
