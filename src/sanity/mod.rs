//! Is this a picture of a part at all? Checks on the frame itself, before any network.
//!
//! A failed lamp, a lens out of focus, a moved fixture: the network would inspect such a picture, and
//! it might find nothing unusual in a black one. A finding makes the part UNKNOWN, whatever its score
//! is.
//!
//! The frame is sampled on a grid of at most 256 x 256 points, whatever its size and format. Nothing is
//! allocated after the first frame of a size.
//!
//! Measured values:
//!
//! - mean: of luma, grey levels 0 to 255.
//! - saturated: share of points with a channel at 254 or above, per cent.
//! - sharpness: mean absolute Laplacian, `|4 c - l - r - u - d|` with the next pixels in full
//!   resolution, over the sharpest 2 % of the points, grey levels. Over all points, sensor noise would
//!   hide the loss of edges, because no lens blurs it. For a product on an empty background the mean
//!   over all points went only from 2.1 to 2.0 under a blur of 5 x 5 pixels and noise of one grey
//!   level; the mean over the sharpest went from 29 to 9.
//! - shift: the position of the frame against a reference, per cent of width and height
//!   ([`place`](self) in the source has the method). If no position fits clearly better than all others
//!   the shift is unknown. That is a finding of its own: a check that cannot see must not pass.

mod place;
mod repeats;

#[cfg(test)]
mod tests;

pub use place::Shift;
pub use repeats::Repeats;

use crate::frame::{Frame, Pixels};
use crate::settings::kind::decimal;
use crate::settings::section;
use place::{Place, Placement};
use std::ops::RangeInclusive;
use thiserror::Error;

/// Most points per side.
const POINTS: usize = 256;
/// A channel at this level or above is saturated, of 255.
const SATURATED: u8 = 254;
/// Sharpness is taken over the sharpest one of this many points.
const SHARPEST: u64 = 50;
/// Largest possible Laplacian, grey levels.
const STEEPEST: usize = 4 * 255;
/// Luma is calculated in this many parts of a grey level.
const PARTS: i32 = 256;

const MEANS: RangeInclusive<f64> = 0.0..=255.0;
const SHARES: RangeInclusive<f64> = 0.0..=100.0;
const SHARPNESSES: RangeInclusive<f64> = 0.0..=STEEPEST as f64;
const SHIFTS: RangeInclusive<f64> = 0.1..=10.0;

section! {
    /// `[sanity]`: limits; a picture outside them is UNKNOWN, whatever its score is. A limit that is
    /// absent is not checked.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct SanitySettings, read as SanityRead in "sanity" {
        /// A darker picture is a finding; grey levels.
        min_mean: f64 = "min_mean", decimal(MEANS, "grey levels"), optional "off";
        /// A larger share of saturated points is a finding; per cent.
        max_saturated_percent: f64 = "max_saturated_percent", decimal(SHARES, "%"), optional "off";
        /// A softer picture is a finding; grey levels.
        min_sharpness: f64 = "min_sharpness", decimal(SHARPNESSES, "grey levels"), optional "off";
        /// A part farther from its place is a finding; per cent of the side. Needs a reference.
        max_shift_percent: f64 = "max_shift_percent", decimal(SHIFTS, "%"), optional "off";
    }
}

/// Why the checks cannot be set up.
#[derive(Debug, PartialEq, Error)]
pub enum SanityError {
    /// A limit is outside its range.
    #[error("sanity.{key} = {value} is outside {least} to {most}")]
    Limit {
        /// Name in the configuration.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Smallest value.
        least: f64,
        /// Largest value.
        most: f64,
    },
    /// The shift is limited, but there is no reference picture.
    #[error(
        "sanity.max_shift_percent needs a golden good image to compare with, and the product has none; leave it out"
    )]
    NoReference,
    /// The reference has no clear position even against itself.
    #[error(
        "sanity.max_shift_percent cannot be checked: the product's golden good image has no structure that shows where the part is (its correlation with itself at another place is {rival:.2}); leave it out"
    )]
    Placeless {
        /// Best correlation of the reference with itself at another position.
        rival: f32,
    },
}

/// What is wrong with a picture: the value and the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// Too dark, or black.
    Dark {
        /// Mean luma, grey levels.
        mean: f64,
        /// Smallest allowed.
        limit: f64,
    },
    /// Too many points at the sensor's maximum.
    Saturated {
        /// Saturated points, per cent.
        percent: f64,
        /// Most allowed.
        limit: f64,
    },
    /// Out of focus or moving.
    Blurred {
        /// Mean absolute Laplacian, grey levels.
        sharpness: f64,
        /// Smallest allowed.
        limit: f64,
    },
    /// The part is not at its place.
    Shifted {
        /// To the right, per cent of the width.
        dx: f64,
        /// Downwards, per cent of the height.
        dy: f64,
        /// Most allowed, either way.
        limit: f64,
    },
    /// The part's position is unknown: it is another part, far off, or nothing is visible.
    Placeless {
        /// Best correlation with the reference at any position, -1 to 1.
        correlation: f64,
    },
    /// Identical to an earlier picture in every byte: no camera takes such a picture of another part.
    Repeated {
        /// That picture was inspected this many pictures before.
        ago: usize,
    },
}

impl Finding {
    /// Name in logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Finding::Dark { .. } => "dark",
            Finding::Saturated { .. } => "saturated",
            Finding::Blurred { .. } => "blurred",
            Finding::Shifted { .. } => "shifted",
            Finding::Placeless { .. } => "placeless",
            Finding::Repeated { .. } => "repeated",
        }
    }

    /// Key of the limit in the configuration's `[sanity]`.
    pub const fn key(&self) -> &'static str {
        match self {
            Finding::Dark { .. } => "min_mean",
            Finding::Saturated { .. } => "max_saturated_percent",
            Finding::Blurred { .. } => "min_sharpness",
            Finding::Shifted { .. } | Finding::Placeless { .. } => "max_shift_percent",
            Finding::Repeated { .. } => "allow_identical",
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Finding::Dark { mean, limit } => write!(f, "dark: mean {mean:.1}, at least {limit}"),
            Finding::Saturated { percent, limit } => {
                write!(f, "saturated: {percent:.2} %, at most {limit} %")
            }
            Finding::Blurred { sharpness, limit } => {
                write!(f, "blurred: sharpness {sharpness:.2}, at least {limit}")
            }
            Finding::Shifted { dx, dy, limit } => {
                write!(f, "shifted by {dx:.1} % and {dy:.1} %, at most {limit} %")
            }
            Finding::Placeless { correlation } => write!(
                f,
                "its place is unknown: correlation with the golden image {correlation:.2}"
            ),
            Finding::Repeated { ago } => {
                write!(
                    f,
                    "the same bytes as {ago} pictures before: a frozen camera"
                )
            }
        }
    }
}

/// The values of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Mean luma, grey levels.
    pub mean: f64,
    /// Saturated points, per cent.
    pub saturated_percent: f64,
    /// Mean absolute Laplacian of the sharpest 2 % of the points, grey levels, 0 to 1020; 0 for
    /// pictures under 3 pixels per side.
    pub sharpness: f64,
    /// The part's position; None without a reference.
    pub shift: Option<Shift>,
    /// The first finding, in the order of [`Finding`]; None if all limits are kept.
    pub finding: Option<Finding>,
}

/// The checks, with their memory.
#[derive(Debug)]
pub struct Sanity {
    settings: SanitySettings,
    place: Option<Place>,
    points: Points,
}

impl Sanity {
    /// Checks by `settings`. `reference`, the product's golden good image, is needed for the shift;
    /// without a limit the shift is measured only.
    ///
    /// # Errors
    /// [`SanityError`] naming the key; with a limit on the shift, also if the reference has no clear
    /// position.
    pub fn new(settings: SanitySettings, reference: Option<&Frame>) -> Result<Self, SanityError> {
        for (key, value, range) in [
            ("min_mean", settings.min_mean, MEANS),
            (
                "max_saturated_percent",
                settings.max_saturated_percent,
                SHARES,
            ),
            ("min_sharpness", settings.min_sharpness, SHARPNESSES),
            ("max_shift_percent", settings.max_shift_percent, SHIFTS),
        ] {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                return Err(SanityError::Limit {
                    key,
                    value,
                    least: *range.start(),
                    most: *range.end(),
                });
            }
        }
        let mut points = Points::default();
        let place = reference.map(|frame| {
            points.sample(frame);
            Place::new(&points)
        });
        if settings.max_shift_percent.is_some() {
            let Some(place) = &place else {
                return Err(SanityError::NoReference);
            };
            if let Some(rival) = place.ambiguity() {
                return Err(SanityError::Placeless { rival });
            }
        }
        Ok(Self {
            settings,
            place,
            points,
        })
    }

    /// Measures `frame` and compares it with the limits.
    pub fn check(&mut self, frame: &Frame) -> Measured {
        let Sums {
            mean,
            saturated_percent,
            sharpness,
        } = self.points.sample(frame);
        let placement = self.place.as_mut().map(|place| place.find(&self.points));
        let limits = self.settings;
        let dark = || {
            let limit = limits.min_mean.filter(|&limit| mean < limit)?;
            Some(Finding::Dark { mean, limit })
        };
        let saturated = || {
            let percent = saturated_percent;
            let limit = limits.max_saturated_percent.filter(|&l| percent > l)?;
            Some(Finding::Saturated { percent, limit })
        };
        let blurred = || {
            let limit = limits.min_sharpness.filter(|&limit| sharpness < limit)?;
            Some(Finding::Blurred { sharpness, limit })
        };
        let misplaced = || {
            let limit = limits.max_shift_percent?;
            match placement? {
                Placement::Unclear { correlation } => Some(Finding::Placeless {
                    correlation: f64::from(correlation),
                }),
                Placement::At(Shift { dx, dy, .. }) => {
                    (dx.abs().max(dy.abs()) > limit).then_some(Finding::Shifted { dx, dy, limit })
                }
            }
        };
        Measured {
            mean,
            saturated_percent,
            sharpness,
            shift: match placement {
                Some(Placement::At(shift)) => Some(shift),
                _ => None,
            },
            finding: dark()
                .or_else(saturated)
                .or_else(blurred)
                .or_else(misplaced),
        }
    }
}

struct Sums {
    mean: f64,
    saturated_percent: f64,
    sharpness: f64,
}

/// Luma at the points of the grid.
#[derive(Debug, Default)]
struct Points {
    columns: usize,
    rows: usize,
    luma: Vec<i32>,
    /// Pixel columns of the points, for the width of the last frame.
    at: Vec<usize>,
    width: usize,
    /// How many points have each absolute Laplacian, in whole grey levels.
    steepness: Vec<u32>,
}

/// The middle of part `index` of `count` of a side of `length` pixels.
fn middle(index: usize, count: usize, length: usize) -> usize {
    ((2 * index + 1) * length / (2 * count)).min(length - 1)
}

/// Access to pixels for the checks.
trait Source {
    /// Luma in [`PARTS`] of a grey level.
    fn luma(&self, pixel: usize) -> i32;
    /// Whether a channel is saturated.
    fn saturated(&self, pixel: usize) -> bool;
}

struct Grey8<'a>(&'a [u8]);
struct Grey16<'a>(&'a [u16]);
struct Colour8<'a>(&'a [[u8; 3]]);
struct Colour16<'a>(&'a [[u16; 3]]);

/// Weights of BT.601 in 256ths.
fn luma([red, green, blue]: [i32; 3]) -> i32 {
    77 * red + 150 * green + 29 * blue
}

/// From 257 per 8-bit step to 256 per step.
fn parts(sample: u16) -> i32 {
    i32::from(sample - (sample >> 8))
}

const SATURATED_16: u16 = SATURATED as u16 * 257;

impl Source for Grey8<'_> {
    fn luma(&self, pixel: usize) -> i32 {
        i32::from(self.0[pixel]) * PARTS
    }
    fn saturated(&self, pixel: usize) -> bool {
        self.0[pixel] >= SATURATED
    }
}

impl Source for Grey16<'_> {
    fn luma(&self, pixel: usize) -> i32 {
        parts(self.0[pixel])
    }
    fn saturated(&self, pixel: usize) -> bool {
        self.0[pixel] >= SATURATED_16
    }
}

impl Source for Colour8<'_> {
    fn luma(&self, pixel: usize) -> i32 {
        luma(self.0[pixel].map(i32::from))
    }
    fn saturated(&self, pixel: usize) -> bool {
        self.0[pixel].iter().any(|&sample| sample >= SATURATED)
    }
}

impl Source for Colour16<'_> {
    fn luma(&self, pixel: usize) -> i32 {
        luma(self.0[pixel].map(parts)) / PARTS
    }
    fn saturated(&self, pixel: usize) -> bool {
        self.0[pixel].iter().any(|&sample| sample >= SATURATED_16)
    }
}

impl Points {
    fn sample(&mut self, frame: &Frame) -> Sums {
        let (width, height) = (frame.width(), frame.height());
        match frame.pixels() {
            Pixels::Gray8(v) => self.walk(&Grey8(v), width, height),
            Pixels::Gray16(v) => self.walk(&Grey16(v), width, height),
            Pixels::Rgb8(v) => self.walk(&Colour8(v.as_chunks().0), width, height),
            Pixels::Rgb16(v) => self.walk(&Colour16(v.as_chunks().0), width, height),
        }
    }

    fn walk<S: Source>(&mut self, pixels: &S, width: usize, height: usize) -> Sums {
        (self.columns, self.rows) = (width.min(POINTS), height.min(POINTS));
        if self.width != width {
            self.width = width;
            self.at.clear();
            let columns = self.columns;
            self.at
                .extend((0..columns).map(|i| middle(i, columns, width)));
        }
        self.luma.clear();
        self.steepness.clear();
        self.steepness.resize(STEEPEST + 1, 0);
        let (mut sum, mut saturated) = (0i64, 0u64);
        for row in 0..self.rows {
            let y = middle(row, self.rows, height);
            let inner_row = y > 0 && y + 1 < height;
            for &x in &self.at {
                let pixel = y * width + x;
                let centre = pixels.luma(pixel);
                self.luma.push(centre);
                sum += i64::from(centre);
                saturated += u64::from(pixels.saturated(pixel));
                if inner_row && x > 0 && x + 1 < width {
                    let around = pixels.luma(pixel - 1)
                        + pixels.luma(pixel + 1)
                        + pixels.luma(pixel - width)
                        + pixels.luma(pixel + width);
                    // Rounded to whole levels; the clamp keeps the index in range for the compiler.
                    let level = ((4 * centre - around).abs() + PARTS / 2) / PARTS;
                    self.steepness[(level as usize).min(STEEPEST)] += 1;
                }
            }
        }
        let points = (self.columns * self.rows) as f64;
        Sums {
            mean: sum as f64 / points / f64::from(PARTS),
            saturated_percent: 100.0 * saturated as f64 / points,
            sharpness: self.sharpness(),
        }
    }

    /// Mean of the largest 1 / [`SHARPEST`] of the Laplacians.
    fn sharpness(&self) -> f64 {
        let points: u64 = self.steepness.iter().map(|&n| u64::from(n)).sum();
        let wanted = points.div_ceil(SHARPEST);
        let (mut taken, mut sum) = (0, 0);
        for (level, &count) in self.steepness.iter().enumerate().rev() {
            let more = u64::from(count).min(wanted - taken);
            taken += more;
            sum += more * level as u64;
            if taken == wanted {
                break;
            }
        }
        sum as f64 / taken.max(1) as f64
    }
}
