//! Cameras through Video4Linux: what they offer, what the program chooses from it, and streaming.
//!
//! All code that only decides is compiled and tested everywhere. The code that calls the kernel
//! needs the cargo feature `v4l2`.

mod choice;
mod controls;
#[cfg(feature = "v4l2")]
mod device;
#[cfg(feature = "v4l2")]
mod ioctl;
#[cfg(feature = "v4l2")]
mod listing;
mod offer;
mod stamp;

#[cfg(feature = "v4l2")]
pub use device::V4l2Source;
pub use offer::{
    Camera, ControlKind, ControlOffer, FormatOffer, MenuEntry, RateOffer, SizeOffer, Steps,
};

use super::source::{CaptureError, FrameSource};
use crate::frame::PixelFormat;
use std::path::PathBuf;

/// The settings that a camera must grant. If it does not grant one, opening it is an error.
#[derive(Clone, Debug, PartialEq)]
pub struct V4l2Settings {
    /// Device node. Names under `/dev/v4l/by-id` stay the same after a reboot or a replug.
    pub device: PathBuf,
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// None: chosen from what the camera offers, uncompressed before MJPG.
    pub format: Option<PixelFormat>,
    /// Frames per second; a rate within 1 % counts as granted.
    pub fps: f64,
    /// Controls to set and lock, in this order: `exposure_us`, `gain`, `focus`, `white_balance_k`,
    /// any other by its V4L2 name (`power_line_frequency`) or number (`0x00980918`).
    pub controls: Vec<(String, i64)>,
}

/// Whether this build can use cameras at all.
///
/// # Errors
/// [`CaptureError::Open`], which names the feature, if it cannot.
pub fn built() -> Result<(), CaptureError> {
    #[cfg(feature = "v4l2")]
    return Ok(());
    #[cfg(not(feature = "v4l2"))]
    Err(not_built("camera.source = \"v4l2\"".to_owned()))
}

/// A source for this camera, not yet opened.
///
/// # Errors
/// [`CaptureError::Open`] in a build without the feature `v4l2`.
pub fn source(settings: V4l2Settings) -> Result<Box<dyn FrameSource>, CaptureError> {
    #[cfg(feature = "v4l2")]
    return Ok(Box::new(V4l2Source::new(settings)));
    #[cfg(not(feature = "v4l2"))]
    Err(not_built(settings.device.display().to_string()))
}

/// Every capture device of this machine with what it offers, sorted by number. A device that is
/// busy or not permitted is in the list with the reason.
///
/// # Errors
/// [`CaptureError::Open`] in a build without the feature `v4l2`, and if `/dev` cannot be read.
pub fn cameras() -> Result<Vec<Camera>, CaptureError> {
    #[cfg(feature = "v4l2")]
    return listing::cameras();
    #[cfg(not(feature = "v4l2"))]
    Err(not_built("/dev/video*".to_owned()))
}

/// Whether `camera` offers what `settings` need: format, size, rate and every control with its
/// value. It uses the same rules as opening, so after a success only a driver that does not grant
/// what it offers refuses.
///
/// # Errors
/// In words: why nothing is known about the camera, or what it offers instead.
pub fn check(settings: &V4l2Settings, camera: &Camera) -> Result<(), String> {
    if let Some(problem) = &camera.problem {
        return Err(problem.clone());
    }
    let size = (settings.width, settings.height);
    let mut formats = camera.formats.clone();
    // The rates of a range are known at its largest size; a smaller size can be faster.
    for range in formats.iter_mut().flat_map(|format| &mut format.sizes) {
        if (range.width.most as usize, range.height.most as usize) != size {
            range.rates.clear();
        }
    }
    choice::choose(&formats, size, settings.fps, settings.format)?;
    controls::plan(&settings.controls, &camera.controls)?;
    Ok(())
}

#[cfg(not(feature = "v4l2"))]
fn not_built(source_name: String) -> CaptureError {
    CaptureError::Open {
        source_name,
        problem: "this build has no V4L2; build with --features v4l2 (needs libclang-dev)"
            .to_owned(),
    }
}

/// The four characters of a format in V4L2; None for a format that no camera sends.
pub fn fourcc(format: PixelFormat) -> Option<[u8; 4]> {
    Some(match format {
        PixelFormat::Grey8 => *b"GREY",
        PixelFormat::Grey16 => *b"Y16 ",
        PixelFormat::Rgb24 => *b"RGB3",
        PixelFormat::Bgr24 => *b"BGR3",
        PixelFormat::Yuyv => *b"YUYV",
        PixelFormat::Mjpeg => *b"MJPG",
        PixelFormat::File => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> V4l2Settings {
        V4l2Settings {
            device: "/dev/video7".into(),
            width: 640,
            height: 480,
            format: None,
            fps: 30.0,
            controls: vec![("gain".to_owned(), 16)],
        }
    }

    /// Grey, 640 x 480 at 30 frames per second, gain 0 to 63.
    fn camera() -> Camera {
        let rate = RateOffer {
            slowest: 30.0,
            fastest: 30.0,
        };
        Camera {
            formats: vec![FormatOffer {
                fourcc: *b"GREY",
                description: String::new(),
                sizes: vec![SizeOffer {
                    width: Steps::only(640),
                    height: Steps::only(480),
                    rates: vec![rate],
                }],
            }],
            controls: vec![ControlOffer {
                id: 0x0098_0913,
                key: "gain".to_owned(),
                kind: ControlKind::Integer,
                least: 0,
                most: 63,
                step: 1,
                default: 0,
                read_only: false,
                inactive: false,
                entries: Vec::new(),
                value: Some(0),
            }],
            ..Camera::default()
        }
    }

    #[test]
    fn a_camera_is_held_against_everything_that_is_configured() {
        assert_eq!(check(&settings(), &camera()), Ok(()));
        type Change = fn(&mut V4l2Settings, &mut Camera);
        let changes: [(Change, &str); 6] = [
            (|_, c| c.problem = Some("busy".to_owned()), "busy"),
            (|s, _| s.width = 800, "no pictures of 800 x 480"),
            (|s, _| s.fps = 60.0, "no 60 frames per second"),
            (|s, _| s.format = Some(PixelFormat::Yuyv), "no YUYV"),
            (|s, _| s.controls[0].1 = 64, "outside 0 to 63"),
            (|_, c| c.controls.clear(), "no control gain"),
        ];
        for (change, words) in changes {
            let (mut settings, mut camera) = (settings(), camera());
            change(&mut settings, &mut camera);
            let problem = check(&settings, &camera).expect_err(words);
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[cfg(not(feature = "v4l2"))]
    #[test]
    fn a_build_without_it_says_how_to_get_it() {
        let error = source(settings()).err().expect("no V4L2 here").to_string();
        assert!(error.contains("/dev/video7") && error.contains("--features v4l2"));
        let error = cameras().expect_err("no V4L2 here").to_string();
        assert!(error.contains("--features v4l2"));
    }
}
