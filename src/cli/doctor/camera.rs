//! Checks the camera: is it there, and does it offer what is configured?

use super::finding::{Finding, Findings};
use super::machine::read;
use super::node::node;
use crate::cli::failure::causes;
use partgate::capture::recorded::RecordedSource;
use partgate::capture::source::FrameSource;
use partgate::capture::v4l2::{Camera, V4l2Settings, cameras};
use partgate::config::{CameraSource, LineConfig, V4l2Camera};
use partgate::station::v4l2_settings;
use std::path::Path;

/// Checks the configured source of frames.
pub(super) fn check(root: &Path, config: &LineConfig, findings: &mut Findings) {
    let check = "camera";
    match &config.camera.source {
        CameraSource::V4l2(camera) => v4l2(root, config, camera, findings),
        CameraSource::Folder { folder, .. } => {
            findings.push(match partgate::frame::file::images_under(folder) {
                Ok(images) if !images.is_empty() => Finding::ok(
                    check,
                    format!("{}: {} image files", folder.display(), images.len()),
                ),
                Ok(_) => Finding::failed(
                    check,
                    format!("{}: no images in this folder", folder.display()),
                    "set camera.folder to a folder with image files",
                ),
                Err(error) => Finding::failed(
                    check,
                    error.to_string(),
                    "set camera.folder to a folder with image files",
                ),
            });
        }
        CameraSource::Recorded { folder } => {
            let mut recording = RecordedSource::new(folder, true);
            findings.push(match recording.open() {
                Ok(()) => Finding::ok(check, recording.describe()),
                Err(error) => Finding::failed(
                    check,
                    causes(&error).join(": "),
                    "set camera.folder to a folder that `partgate capture --recording` made",
                ),
            });
        }
        CameraSource::Rendered { .. } => {
            findings.push(Finding::ok(check, "rendered parts; no camera is used"));
        }
    }
}

/// Device nodes and names of the kernel's video devices.
pub(super) fn video_devices(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root.join("sys/class/video4linux"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let name = read(entry.path().join("name")).unwrap_or_else(|| "no name".into());
            format!("/dev/{} ({name})", entry.file_name().to_string_lossy())
        })
        .collect();
    found.sort();
    found
}

fn v4l2(root: &Path, config: &LineConfig, camera: &V4l2Camera, findings: &mut Findings) {
    let check = "camera";
    let others = video_devices(root);
    match node(check, &camera.device, "video") {
        Ok(()) => {
            // The device can be a stable link in /dev/v4l/by-id.
            let node = std::fs::canonicalize(&camera.device);
            let node = node.unwrap_or_else(|_| camera.device.clone());
            let name = node.file_name().unwrap_or_default();
            let about = root.join("sys/class/video4linux").join(name);
            findings.push(match read(about.join("name")) {
                Some(name) => Finding::ok(check, format!("{}: {name}", camera.device.display())),
                None => Finding::failed(
                    check,
                    format!("{} is not a video device", camera.device.display()),
                    known_devices(&others),
                ),
            });
        }
        Err(mut finding) => {
            if !camera.device.exists() {
                finding.fix = Some(known_devices(&others));
            }
            findings.push(*finding);
        }
    }
    findings.push(controls(&config.camera.controls));
    findings.push(offers(&v4l2_settings(config, camera)));
}

/// Compares what the camera offers with what it will be asked for.
fn offers(settings: &V4l2Settings) -> Finding {
    let check = "camera offers";
    if !cfg!(feature = "v4l2") {
        return Finding::not_checked(check, "this build has no V4L2");
    }
    match cameras() {
        Ok(cameras) => offered(settings, &cameras),
        Err(error) => Finding::failed(
            check,
            causes(&error).join(": "),
            "is /dev there, and may this user read it?",
        ),
    }
}

fn offered(settings: &V4l2Settings, cameras: &[Camera]) -> Finding {
    let check = "camera offers";
    let device = &settings.device;
    // The device can be a stable link in /dev/v4l/by-id.
    let node = std::fs::canonicalize(device).unwrap_or_else(|_| device.clone());
    let Some(camera) = cameras.iter().find(|camera| camera.path == node) else {
        let others = cameras.iter().map(|camera| {
            let path = camera.stable_path.as_ref().unwrap_or(&camera.path);
            format!("{} ({})", path.display(), camera.name)
        });
        let others: Vec<String> = others.collect();
        return Finding::failed(
            check,
            format!("{} captures nothing", device.display()),
            known_devices(&others),
        );
    };
    let wanted = format!(
        "{} x {} at {} fps",
        settings.width, settings.height, settings.fps
    );
    match partgate::capture::v4l2::check(settings, camera) {
        Ok(()) => Finding::ok(
            check,
            format!("{wanted}, and {} controls as set", settings.controls.len()),
        ),
        Err(problem) => Finding::failed(
            check,
            format!("{}: {problem}", device.display()),
            "set [camera] and [camera.controls] to what the camera offers: `v4l2-ctl -d DEVICE --list-formats-ext -L`",
        ),
    }
}

fn known_devices(devices: &[String]) -> String {
    if devices.is_empty() {
        "the kernel has no video device: is the camera plugged in, and its driver loaded?".into()
    } else {
        format!(
            "set camera.device to one that is there: {}",
            devices.join(", ")
        )
    }
}

/// What the camera changes by itself changes the score.
fn controls(set: &[(String, i64)]) -> Finding {
    let check = "camera controls";
    let mut free = vec!["exposure_us", "gain", "focus", "white_balance_k"];
    free.retain(|key| !set.iter().any(|(known, _)| known == key));
    if free.is_empty() {
        Finding::ok(check, "exposure, gain, focus and white balance are fixed")
    } else {
        Finding::warning(
            check,
            format!("not fixed: {}", free.join(", ")),
            "set them in [camera.controls], unless the camera has none: what it changes by itself moves the scores",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use partgate::capture::v4l2::FormatOffer;

    const EXAMPLE: &str = partgate::config::EXAMPLE;

    #[test]
    fn a_missing_camera_is_reported_with_those_that_are_there() {
        let root = tempfile::tempdir().expect("folder");
        let about = root.path().join("sys/class/video4linux/video2");
        std::fs::create_dir_all(&about).expect("folder");
        std::fs::write(about.join("name"), "USB camera\n").expect("write");
        let text = EXAMPLE.replace("/dev/video0", "/dev/video-none");
        let config = LineConfig::parse(&text, Path::new("line.toml")).expect("valid");
        let mut findings = Findings::new();
        check(root.path(), &config, &mut findings);
        assert_eq!(findings[0].state, State::Failed);
        let fix = findings[0].fix.as_deref().unwrap_or_default();
        assert!(fix.contains("/dev/video2 (USB camera)"), "{fix}");
        assert_eq!(findings[1].state, State::Ok, "{:?}", findings[1]);
    }

    #[test]
    fn what_the_camera_may_change_is_reported() {
        let text = EXAMPLE.replace("focus = 30", "").replace("gain = 16", "");
        let config = LineConfig::parse(&text, Path::new("line.toml")).expect("valid");
        let finding = controls(&config.camera.controls);
        assert_eq!(finding.found, "not fixed: gain, focus");
    }

    #[test]
    fn a_camera_that_offers_something_else_is_reported_with_what_it_offers() {
        let text = EXAMPLE.replace("/dev/video0", "/dev/video-none");
        let text = &text[..text.find("[camera.controls]").expect("controls")];
        let rest = &EXAMPLE[EXAMPLE.find("[trigger]").expect("trigger")..];
        let text = format!("{text}{rest}");
        let config = LineConfig::parse(&text, Path::new("line.toml")).expect("valid");
        let CameraSource::V4l2(camera) = &config.camera.source else {
            panic!("another source");
        };
        let settings = v4l2_settings(&config, camera);
        let known = |fourcc: [u8; 4]| Camera {
            path: "/dev/video-none".into(),
            formats: vec![FormatOffer {
                fourcc,
                description: String::new(),
                sizes: Vec::new(),
            }],
            ..Camera::default()
        };
        let finding = offered(&settings, &[known(*b"YUYV")]);
        assert_eq!(finding.state, State::Ok, "{finding:?}");
        let finding = offered(&settings, &[known(*b"H264")]);
        assert_eq!(finding.state, State::Failed);
        assert!(finding.found.contains("offers H264"), "{}", finding.found);
        let other = Camera {
            path: "/dev/video4".into(),
            name: "USB camera".into(),
            ..Camera::default()
        };
        let finding = offered(&settings, &[other]);
        let fix = finding.fix.as_deref().unwrap_or_default();
        assert!(fix.contains("/dev/video4 (USB camera)"), "{fix}");
    }
}
