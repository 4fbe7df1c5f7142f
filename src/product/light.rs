//! The light of a picture against that of the fit's pictures. A failing lamp or another exposure makes
//! scores that say nothing about the part. The fit tries other light on held-out good parts, and keeps
//! the range in which they stay good and damage stays found; a picture outside it has no verdict.
//!
//! All values are in stops, logarithms to the base 2, of the stored samples over the whole picture:
//! one stop more is twice the value.

use super::manifest::{DType, SectionKind};
use super::member::Sections;
use super::{Problem, SectionBytes, other};
use crate::frame::{Frame, Pixels};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Points per side that are looked at.
const POINTS: usize = 128;
/// Added to means before a ratio is taken, so that two black halves are equal: a grey level.
const BLACK: f64 = 1.0 / 255.0;

/// What is measured of the light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LightKind {
    /// Mean of all samples over full scale.
    Brightness,
    /// Red over blue; 0 in grey pictures.
    Warmth,
    /// The left half over the right half.
    Across,
    /// The upper half over the lower half.
    Down,
}

impl LightKind {
    /// All kinds, in the order of [`LightMeasure`].
    pub const ALL: [Self; 4] = [Self::Brightness, Self::Warmth, Self::Across, Self::Down];
}

impl fmt::Display for LightKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Brightness => "brightness over full scale",
            Self::Warmth => "red over blue",
            Self::Across => "left half over right half",
            Self::Down => "upper half over lower half",
        })
    }
}

/// The light of one picture, stops, in the order of [`LightKind::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LightMeasure(pub [f32; 4]);

impl LightMeasure {
    /// Measures `frame`. Nothing is allocated.
    pub fn of(frame: &Frame) -> Self {
        let size = (frame.width(), frame.height());
        match frame.pixels() {
            Pixels::Gray8(v) => measure(size, 255.0, |i| [v[i]; 3].map(u32::from)),
            Pixels::Gray16(v) => measure(size, 65_535.0, |i| [v[i]; 3].map(u32::from)),
            Pixels::Rgb8(v) => measure(size, 255.0, |i| [0, 1, 2].map(|c| v[3 * i + c].into())),
            Pixels::Rgb16(v) => measure(size, 65_535.0, |i| [0, 1, 2].map(|c| v[3 * i + c].into())),
        }
    }
}

/// `samples(i)` are red, green and blue of pixel i, `full` at most.
fn measure(
    (width, height): (usize, usize),
    full: f64,
    samples: impl Fn(usize) -> [u32; 3],
) -> LightMeasure {
    let across = POINTS.min(width);
    let down = POINTS.min(height);
    let mut channels = [0u64; 3];
    // Sum and points of left, right, upper, lower half.
    let mut halves = [(0u64, 0u64); 4];
    for row in 0..down {
        let y = (2 * row + 1) * height / (2 * down);
        for column in 0..across {
            let x = (2 * column + 1) * width / (2 * across);
            let sample = samples(y * width + x);
            for (sum, value) in channels.iter_mut().zip(sample) {
                *sum += u64::from(value);
            }
            let sum = sample.iter().map(|&v| u64::from(v)).sum::<u64>();
            for half in [
                usize::from(2 * x >= width),
                2 + usize::from(2 * y >= height),
            ] {
                halves[half].0 += sum;
                halves[half].1 += 1;
            }
        }
    }
    let mean = |sum: u64, count: u64| sum as f64 / (count.max(1) as f64 * full);
    let ratio = |a: f64, b: f64| ((a + BLACK) / (b + BLACK)).log2() as f32;
    // A picture of one column has no left half.
    let balance = |a: (u64, u64), b: (u64, u64)| match (a.1, b.1) {
        (0, _) | (_, 0) => 0.0,
        _ => ratio(mean(a.0, 3 * a.1), mean(b.0, 3 * b.1)),
    };
    let points = (across * down) as u64;
    let [red, green, blue] = channels.map(|sum| mean(sum, points));
    let [left, right, upper, lower] = halves;
    let brightness = ((red + green + blue) / 3.0).max(BLACK / 256.0).log2() as f32;
    LightMeasure([
        brightness,
        ratio(red, blue),
        balance(left, right),
        balance(upper, lower),
    ])
}

/// Other light that was tried on held-out good pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LightTrial {
    /// What was changed.
    pub kind: LightKind,
    /// By how much, stops.
    pub stops: f32,
    /// Pictures that are OK without the change.
    pub images: u32,
    /// Those of them that stay OK.
    pub ok: u32,
    /// Pictures with a mark that are not OK without the change.
    pub marked: u32,
    /// Those of them that stay so.
    pub caught: u32,
}

/// The light in which a product inspects: JSON in the section `light`. A reader refuses fields that it
/// does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Light {
    /// Smallest values that were seen, of the fit's pictures and of those of calibrations.
    pub lowest: LightMeasure,
    /// Largest values.
    pub highest: LightMeasure,
    /// How far below the smallest a picture may be, stops.
    pub below: LightMeasure,
    /// How far above the largest.
    pub above: LightMeasure,
    /// What these rest on.
    #[serde(default)]
    pub trials: Vec<LightTrial>,
}

/// A picture in other light than any that was shown to leave good parts good.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error(
    "other light than that of the fit: {kind} is {found:.3}, and {low:.3} to {high:.3} was shown to leave good parts good and damage visible; check lamp, exposure and white balance, or let `partgate-train calibrate --goods` see good parts in this light"
)]
pub struct OtherLight {
    /// What differs.
    pub kind: LightKind,
    /// The ratio that was found, not in stops.
    pub found: f32,
    /// The least that is accepted.
    pub low: f32,
    /// The most.
    pub high: f32,
}

impl Light {
    /// The accepted range of each kind, stops.
    pub fn accepted(&self) -> [(LightKind, [f32; 2]); 4] {
        let mut at = 0;
        LightKind::ALL.map(|kind| {
            let low = self.lowest.0[at] - self.below.0[at];
            let high = self.highest.0[at] + self.above.0[at];
            at += 1;
            (kind, [low, high])
        })
    }

    /// The accepted ranges, a line each, with what was tried.
    pub fn in_words(&self) -> Vec<String> {
        let line = |(kind, [low, high]): (LightKind, [f32; 2])| {
            let tried = self.trials.iter().filter(|t| t.kind == kind);
            let tried: Vec<String> = tried
                .map(|t| {
                    format!(
                        "{:+} stops {} of {} and {} of {}",
                        t.stops, t.ok, t.images, t.caught, t.marked
                    )
                })
                .collect();
            let tried = match tried.join(", ") {
                none if none.is_empty() => String::new(),
                tried => format!("; good parts that stay OK, marks that stay found: {tried}"),
            };
            let [low, high] = [low, high].map(f32::exp2);
            format!("{kind} {low:.3} to {high:.3}{tried}")
        };
        self.accepted().into_iter().map(line).collect()
    }

    /// Checks a picture.
    ///
    /// # Errors
    /// [`OtherLight`].
    pub fn check(&self, found: LightMeasure) -> Result<(), OtherLight> {
        for ((kind, [low, high]), found) in self.accepted().into_iter().zip(found.0) {
            if !(low..=high).contains(&found) {
                let [found, low, high] = [found, low, high].map(f32::exp2);
                return Err(OtherLight {
                    kind,
                    found,
                    low,
                    high,
                });
            }
        }
        Ok(())
    }

    /// Takes pictures of these values in as good ones. Returns whether the range grew.
    pub fn widen(&mut self, found: impl IntoIterator<Item = LightMeasure>) -> bool {
        let before = (self.lowest, self.highest);
        for measure in found {
            for (at, value) in measure.0.into_iter().enumerate() {
                self.lowest.0[at] = self.lowest.0[at].min(value);
                self.highest.0[at] = self.highest.0[at].max(value);
            }
        }
        before != (self.lowest, self.highest)
    }

    /// The section that holds this.
    ///
    /// # Errors
    /// [`serde_json::Error`]; it cannot happen with finite values.
    pub fn section(&self) -> Result<SectionBytes, serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        Ok(SectionBytes {
            kind: SectionKind::Light,
            member: 0,
            dtype: DType::Bytes,
            shape: vec![bytes.len() as u64],
            bytes,
        })
    }

    fn sound(&self) -> bool {
        let all = [self.lowest, self.highest, self.below, self.above];
        let numbers = all.iter().all(|m| m.0.iter().all(|v| v.is_finite()));
        let ordered = self.lowest.0.iter().zip(&self.highest.0);
        let room = self.below.0.iter().chain(&self.above.0);
        numbers && ordered.into_iter().all(|(l, h)| l <= h) && room.into_iter().all(|&r| r >= 0.0)
    }
}

/// Reads the section `light`; `None` in a bundle from before it.
pub(super) fn read(sections: &Sections<'_>) -> Result<Option<Light>, Problem> {
    let all = sections.manifest.sections.iter();
    if !all.into_iter().any(|s| s.kind == SectionKind::Light) {
        return Ok(None);
    }
    let (_, data) = sections.only(SectionKind::Light, 0, DType::Bytes)?;
    let light: Light = serde_json::from_slice(data)
        .map_err(|e| Problem::Other(format!("section `{}`: {e}", SectionKind::Light)))?;
    if !light.sound() {
        return other("the light of the fitted pictures is not sound");
    }
    Ok(Some(light))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Frame {
        let all = (0..width * height).flat_map(|i| pixel(i % width, i / width));
        Frame::new(width, height, Pixels::Rgb8(all.collect())).expect("a frame")
    }

    fn near(found: LightMeasure, right: [f32; 4]) {
        let close = found.0.iter().zip(right).all(|(a, b)| (a - b).abs() < 0.03);
        assert!(close, "{found:?} for {right:?}");
    }

    #[test]
    fn light_is_measured_in_stops() {
        let grey = rgb(300, 200, |_, _| [64; 3]);
        near(LightMeasure::of(&grey), [-2.0, 0.0, 0.0, 0.0]);
        let twice = rgb(300, 200, |_, _| [128; 3]);
        near(LightMeasure::of(&twice), [-1.0, 0.0, 0.0, 0.0]);
        let warm = rgb(301, 33, |_, _| [120, 60, 30]);
        near(LightMeasure::of(&warm), [-1.87, 1.95, 0.0, 0.0]);
        let left = rgb(300, 200, |x, _| if x < 150 { [200; 3] } else { [100; 3] });
        near(LightMeasure::of(&left), [-0.77, 0.0, 1.0, 0.0]);
        let low = rgb(1, 2, |_, y| if y == 0 { [50; 3] } else { [200; 3] });
        near(LightMeasure::of(&low), [-1.03, 0.0, 0.0, -1.98]);
        let black = Frame::new(9, 9, Pixels::Gray16(vec![0; 81])).expect("a frame");
        assert!(LightMeasure::of(&black).0[0] < -15.0);
        let deep = Frame::new(9, 9, Pixels::Gray16(vec![257 * 64; 81])).expect("a frame");
        near(LightMeasure::of(&deep), [-2.0, 0.0, 0.0, 0.0]);
    }

    fn light() -> Light {
        Light {
            lowest: LightMeasure([-2.0, 0.0, 0.0, 0.0]),
            highest: LightMeasure([-1.5, 0.0, 0.1, 0.0]),
            below: LightMeasure([0.5, 0.1, 0.25, 0.25]),
            above: LightMeasure([0.25, 0.1, 0.25, 0.25]),
            trials: Vec::new(),
        }
    }

    #[test]
    fn a_picture_outside_the_range_is_named_by_what_differs() {
        let light = light();
        let ok = |values| light.check(LightMeasure(values));
        assert_eq!(ok([-2.5, 0.1, 0.35, -0.25]), Ok(()));
        let dark = ok([-3.0, 0.0, 0.0, 0.0]).expect_err("dark");
        assert_eq!(dark.kind, LightKind::Brightness);
        assert!((dark.found - 0.125).abs() < 1e-6 && (dark.low - 0.176_777).abs() < 1e-5);
        let lamp = ok([-2.0, 0.0, 0.4, 0.0]).expect_err("a lamp");
        assert_eq!(lamp.kind, LightKind::Across);
        assert!(ok([f32::NAN, 0.0, 0.0, 0.0]).is_err());
        assert!(
            lamp.to_string()
                .contains("left half over right half is 1.320")
        );
    }

    #[test]
    fn good_parts_of_another_day_widen_it() {
        let mut light = light();
        assert!(!light.widen([LightMeasure([-1.7, 0.0, 0.05, 0.0])]));
        assert!(light.widen([LightMeasure([-3.0, 0.0, 0.0, 0.0])]));
        assert_eq!(light.check(LightMeasure([-3.4, 0.0, 0.0, 0.0])), Ok(()));
    }

    #[test]
    fn what_is_not_sound_is_refused() {
        assert!(light().sound());
        let changed = |change: fn(&mut Light)| {
            let mut light = light();
            change(&mut light);
            light.sound()
        };
        assert!(!changed(|l| l.lowest.0[0] = 0.0));
        assert!(!changed(|l| l.below.0[1] = -0.1));
        assert!(!changed(|l| l.above.0[2] = f32::INFINITY));
    }
}
