//! Which cameras exist, and what each offers.

use super::ioctl;
use super::offer::{self, Camera, ControlKind, ControlOffer, FormatOffer, MenuEntry};
use super::offer::{RateOffer, SizeOffer, Steps};
use crate::capture::source::CaptureError;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use v4l::Device;

/// More entries than any list of a driver has; the list of a broken driver might never end.
const MOST_LISTED: u32 = 512;

/// `V4L2_CAP_VIDEO_CAPTURE`, `..._MPLANE`, `V4L2_CAP_STREAMING`.
const CAN_CAPTURE: u32 = 0x0000_0001;
const CAN_CAPTURE_PLANES: u32 = 0x0000_1000;
const CAN_STREAM: u32 = 0x0400_0000;

/// The system's error, with the fix if it is known.
pub(super) fn reason(error: &io::Error) -> String {
    use rustix::io::Errno;
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => "; is the camera plugged in? `partgate doctor` lists what is there",
        Some(Errno::ACCESS | Errno::PERM) => {
            "; is the user in group `video`? board/udev has the rule"
        }
        Some(Errno::BUSY) => "; another program uses the camera",
        Some(Errno::NODEV | Errno::NXIO) => "; it was unplugged",
        Some(Errno::NOTTY) => "; it is no camera",
        _ => "",
    };
    format!("{error}{hint}")
}

pub(super) fn open_node(path: &Path) -> Result<Device, String> {
    // The crate panics on a path with a zero byte.
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("no device has a zero byte in its name".to_owned());
    }
    let meta = std::fs::metadata(path).map_err(|error| reason(&error))?;
    if !meta.file_type().is_char_device() {
        return Err("not a device; cameras are /dev/video* or links under /dev/v4l".to_owned());
    }
    Device::with_path(path).map_err(|error| reason(&error))
}

/// The camera's name, if it captures single-plane pictures by streaming.
pub(super) fn usable(device: &Device) -> Result<String, String> {
    let capability = ioctl::capability(device).map_err(|error| reason(&error))?;
    let can = capability.device_caps;
    if can & CAN_CAPTURE == 0 {
        return Err(if can & CAN_CAPTURE_PLANES != 0 {
            "it offers only multi-planar pictures, which are not read here".to_owned()
        } else {
            "it does not capture pictures (cameras often have a second node for metadata)"
                .to_owned()
        });
    }
    if can & CAN_STREAM == 0 {
        return Err("its driver cannot stream".to_owned());
    }
    Ok(ioctl::text(&capability.card))
}

pub(super) fn formats(device: &Device, at: Option<(u32, u32)>) -> Vec<FormatOffer> {
    (0..MOST_LISTED)
        .map_while(|index| ioctl::format_at(device, index).ok())
        .map(|(fourcc, description)| FormatOffer {
            fourcc,
            description,
            sizes: sizes(device, fourcc, at),
        })
        .collect()
}

fn sizes(device: &Device, fourcc: [u8; 4], at: Option<(u32, u32)>) -> Vec<SizeOffer> {
    let steps = |(least, most, step)| Steps { least, most, step };
    (0..MOST_LISTED)
        .map_while(|index| ioctl::size_at(device, fourcc, index).ok())
        .map(|(width, height)| {
            let (width, height) = (steps(width), steps(height));
            let wanted = at.filter(|&(w, h)| width.holds(w as usize) && height.holds(h as usize));
            let size = wanted.unwrap_or((width.most, height.most));
            SizeOffer {
                width,
                height,
                rates: rates(device, fourcc, size),
            }
        })
        .collect()
}

fn rates(device: &Device, fourcc: [u8; 4], size: (u32, u32)) -> Vec<RateOffer> {
    let fps = |(over, under): (u32, u32)| f64::from(under) / f64::from(over.max(1));
    (0..MOST_LISTED)
        .map_while(|index| ioctl::interval_at(device, fourcc, size, index).ok())
        .map(|[shortest, longest]| RateOffer {
            slowest: fps(longest),
            fastest: fps(shortest),
        })
        .collect()
}

pub(super) fn controls(device: &Device) -> Vec<ControlOffer> {
    /// `V4L2_CTRL_FLAG_DISABLED`, `READ_ONLY`, `INACTIVE`, `WRITE_ONLY`.
    const DISABLED: u32 = 0x01;
    const READ_ONLY: u32 = 0x04;
    const INACTIVE: u32 = 0x10;
    const WRITE_ONLY: u32 = 0x40;
    let mut found = Vec::new();
    let mut last = 0;
    while let Ok(control) = ioctl::control_after(device, last) {
        if control.id <= last || found.len() >= MOST_LISTED as usize {
            break;
        }
        last = control.id;
        let kind = match control.type_ {
            1 => ControlKind::Integer,
            2 => ControlKind::Boolean,
            3 | 9 => ControlKind::Menu,
            8 => ControlKind::Bitmask,
            other => ControlKind::Other(other),
        };
        // Headings between the controls (type 6), and disabled controls.
        if control.type_ == 6 || control.flags & DISABLED != 0 {
            continue;
        }
        let readable = !matches!(kind, ControlKind::Other(_)) && control.flags & WRITE_ONLY == 0;
        found.push(ControlOffer {
            id: control.id,
            key: offer::key(&ioctl::control_name(&control)),
            kind,
            least: control.minimum,
            most: control.maximum,
            step: control.step,
            default: control.default_value,
            read_only: control.flags & READ_ONLY != 0,
            inactive: control.flags & INACTIVE != 0,
            entries: entries(device, kind, &control),
            value: readable
                .then(|| ioctl::control(device, control.id).ok())
                .flatten(),
        });
    }
    found
}

fn entries(
    device: &Device,
    kind: ControlKind,
    control: &v4l::v4l_sys::v4l2_query_ext_ctrl,
) -> Vec<MenuEntry> {
    if kind != ControlKind::Menu {
        return Vec::new();
    }
    let of_numbers = control.type_ == 9;
    (control.minimum.max(0)..=control.maximum)
        .take(MOST_LISTED as usize)
        .filter_map(|value| {
            let index = u32::try_from(value).ok()?;
            let label = ioctl::menu_entry(device, control.id, index, of_numbers).ok()?;
            Some(MenuEntry { value, label })
        })
        .collect()
}

/// Every capture node of this machine, sorted by number.
pub(super) fn cameras() -> Result<Vec<Camera>, CaptureError> {
    let entries = std::fs::read_dir("/dev").map_err(|source| CaptureError::File {
        path: PathBuf::from("/dev"),
        source,
    })?;
    let mut nodes: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("video")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    nodes.sort();
    Ok(nodes
        .into_iter()
        .filter_map(|(_, path)| camera(path))
        .collect())
}

/// What is known about one node; None if it surely captures nothing.
fn camera(path: PathBuf) -> Option<Camera> {
    let mut camera = Camera {
        stable_path: stable_path(&path),
        path,
        ..Camera::default()
    };
    let device = match open_node(&camera.path) {
        Ok(device) => device,
        Err(problem) => {
            camera.problem = Some(problem);
            return Some(camera);
        }
    };
    match ioctl::capability(&device) {
        Ok(capability) => {
            if capability.device_caps & (CAN_CAPTURE | CAN_CAPTURE_PLANES) == 0 {
                return None;
            }
            camera.name = ioctl::text(&capability.card);
            camera.driver = ioctl::text(&capability.driver);
            camera.bus = ioctl::text(&capability.bus_info);
        }
        Err(error) => {
            camera.problem = Some(reason(&error));
            return Some(camera);
        }
    }
    camera.problem = usable(&device).err();
    if camera.problem.is_none() {
        camera.formats = formats(&device, None);
        camera.controls = controls(&device);
    }
    Some(camera)
}

/// The link that udev made for this node from the device's own serial number.
fn stable_path(node: &Path) -> Option<PathBuf> {
    let links = std::fs::read_dir("/dev/v4l/by-id").ok()?;
    links
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|link| std::fs::canonicalize(link).is_ok_and(|target| target == node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_the_cameras_needs_none() {
        for camera in cameras().expect("list") {
            println!("{camera:?}");
        }
    }
}
