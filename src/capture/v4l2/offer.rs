//! What a camera offers, as plain data.

use std::fmt;
use std::path::PathBuf;

/// One capture device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Camera {
    /// Device node, `/dev/videoN`.
    pub path: PathBuf,
    /// A name that stays the same after a reboot or a replug, if udev made one.
    pub stable_path: Option<PathBuf>,
    /// The driver's name for it.
    pub name: String,
    /// Driver, `uvcvideo` for USB cameras.
    pub driver: String,
    /// The place where it is plugged in.
    pub bus: String,
    /// Why nothing more is known: busy, not permitted, not usable here.
    pub problem: Option<String>,
    /// Formats, in the driver's order.
    pub formats: Vec<FormatOffer>,
    /// Controls with their values, in the driver's order.
    pub controls: Vec<ControlOffer>,
}

/// A pixel format with its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatOffer {
    /// Four characters, `YUYV`.
    pub fourcc: [u8; 4],
    /// The driver's description.
    pub description: String,
    /// Sizes; empty if the driver does not enumerate them.
    pub sizes: Vec<SizeOffer>,
}

impl FormatOffer {
    /// The four characters as text, `?` for those that cannot be printed.
    pub fn code(&self) -> String {
        code(self.fourcc)
    }
}

pub(super) fn code(fourcc: [u8; 4]) -> String {
    let printable = |c: u8| {
        if c.is_ascii_graphic() || c == b' ' {
            c as char
        } else {
            '?'
        }
    };
    let text: String = fourcc.iter().map(|&c| printable(c)).collect();
    text.trim_end().to_owned()
}

/// From `least` to `most` in steps; `least` = `most` if there is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Smallest, pixels.
    pub least: u32,
    /// Largest, pixels.
    pub most: u32,
    /// Distance between two.
    pub step: u32,
}

impl Steps {
    /// A single value.
    pub fn only(value: u32) -> Self {
        Self {
            least: value,
            most: value,
            step: 1,
        }
    }

    /// Whether `value` is one of them.
    pub fn holds(&self, value: usize) -> bool {
        let (least, most) = (self.least as usize, self.most as usize);
        (least..=most).contains(&value) && (value - least).is_multiple_of(self.step.max(1) as usize)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{}-{}", self.least, self.most)
        }
    }
}

/// A picture size, or a range of them, with its rates.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeOffer {
    /// Width, pixels.
    pub width: Steps,
    /// Height, pixels.
    pub height: Steps,
    /// Rates at this size (at the largest of a range); empty if the driver does not report them.
    pub rates: Vec<RateOffer>,
}

/// A frame rate, or a range; frames per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateOffer {
    /// Slowest.
    pub slowest: f64,
    /// Fastest; equal to `slowest` if there is no choice.
    pub fastest: f64,
}

/// Rates this close count as the same: 29.97 if the settings have 30.
pub(super) const RATE_TOLERANCE: f64 = 0.01;

impl RateOffer {
    /// Whether `fps` is among these, within 1 %.
    pub fn holds(&self, fps: f64) -> bool {
        fps >= self.slowest * (1.0 - RATE_TOLERANCE) && fps <= self.fastest * (1.0 + RATE_TOLERANCE)
    }
}

impl fmt::Display for RateOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |fps: f64| (fps * 100.0).round() / 100.0;
        if self.slowest == self.fastest {
            write!(f, "{}", short(self.fastest))
        } else {
            write!(f, "{}-{}", short(self.slowest), short(self.fastest))
        }
    }
}

/// The values of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// A number within a range.
    Integer,
    /// 0 or 1.
    Boolean,
    /// One of the entries.
    Menu,
    /// Bits.
    Bitmask,
    /// Another type, which this program neither sets nor reads (buttons, strings, arrays): its V4L2
    /// type.
    Other(u32),
}

/// One entry of a menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuEntry {
    /// The value to set.
    pub value: i64,
    /// The driver's name of it, or the number that it stands for.
    pub label: String,
}

/// One control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOffer {
    /// V4L2's number.
    pub id: u32,
    /// Name for configurations: the driver's in lower case with underscores, as `v4l2-ctl` has it.
    pub key: String,
    /// The kind of its values.
    pub kind: ControlKind,
    /// Smallest value.
    pub least: i64,
    /// Largest value.
    pub most: i64,
    /// Distance between two.
    pub step: u64,
    /// The driver's default.
    pub default: i64,
    /// Whether it can only be read.
    pub read_only: bool,
    /// Whether it has no effect at present, because an automatic mode controls it.
    pub inactive: bool,
    /// Entries of a menu.
    pub entries: Vec<MenuEntry>,
    /// The present value, if it can be read.
    pub value: Option<i64>,
}

/// The driver's name of a control as configurations have it.
#[cfg_attr(not(feature = "v4l2"), allow(dead_code))]
pub(super) fn key(name: &str) -> String {
    let mut key = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            key.push(c.to_ascii_lowercase());
        } else if !key.is_empty() && !key.ends_with('_') {
            key.push('_');
        }
    }
    key.truncate(key.trim_end_matches('_').len());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_v4l2_ctl_writes_them() {
        for (name, expected) in [
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("Exposure (Absolute)", "exposure_absolute"),
            (
                "White Balance Temperature, Auto",
                "white_balance_temperature_auto",
            ),
            ("  Gain ", "gain"),
            ("", ""),
        ] {
            assert_eq!(key(name), expected);
        }
    }

    #[test]
    fn ranges_hold_their_steps_and_rates_their_neighbours() {
        let steps = Steps {
            least: 16,
            most: 64,
            step: 16,
        };
        for (value, held) in [
            (15, false),
            (16, true),
            (24, false),
            (64, true),
            (80, false),
        ] {
            assert_eq!(steps.holds(value), held, "{value}");
        }
        // A driver that leaves the step at 0 means no restriction.
        assert!(Steps { step: 0, ..steps }.holds(17));
        let ntsc = RateOffer {
            slowest: 30_000.0 / 1001.0,
            fastest: 30_000.0 / 1001.0,
        };
        assert!(ntsc.holds(30.0) && !ntsc.holds(25.0));
        assert_eq!(ntsc.to_string(), "29.97");
        assert_eq!(code(*b"Y16 "), "Y16");
        assert_eq!(code([0, b'A', 0xff, b'1']), "?A?1");
    }
}
