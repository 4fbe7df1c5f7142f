//! Width and height of pictures, feature grids and maps, as one value: two numbers that are handed on
//! side by side get exchanged one day.

use serde::de::{Error as _, Unexpected};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use thiserror::Error;

/// Width and height, in pixels or in cells. What is stored row by row is `[height, width]`.
///
/// In text it is `384 x 256`. In JSON a square is the number of its side, another size an object with
/// `width` and `height`. In a bundle it is one u32: a square is its side, as in bundles from before
/// other sizes, another size is `height * 65536 + width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// One more than the longest side that a bundle can hold.
const BEYOND: u32 = 1 << 16;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no size; write one number for a square (256) or width x height (384x256)")]
pub struct SizeError {
    text: String,
}

impl Size {
    /// A size of `width` by `height`.
    pub const fn new(width: usize, height: usize) -> Self {
        Self { width, height }
    }

    /// The same width and height.
    pub const fn square(side: usize) -> Self {
        Self::new(side, side)
    }

    /// Whether both sides are equal.
    pub const fn is_square(self) -> bool {
        self.width == self.height
    }

    /// Pixels or cells in all.
    pub const fn area(self) -> usize {
        self.width * self.height
    }

    /// The longer side.
    pub fn longer(self) -> usize {
        self.width.max(self.height)
    }

    /// The shorter side.
    pub fn shorter(self) -> usize {
        self.width.min(self.height)
    }

    /// Side of the square of the same area: what lengths that belong to a size (blur, windows) go
    /// with. Exactly the side of a square.
    pub fn mean_side(self) -> f32 {
        (self.area() as f64).sqrt() as f32
    }

    /// Width and height exchanged.
    pub const fn transposed(self) -> Self {
        Self::new(self.height, self.width)
    }

    /// `op` of both sides.
    pub fn map(self, op: impl Fn(usize) -> usize) -> Self {
        Self::new(op(self.width), op(self.height))
    }

    /// As it is typed on a command line: `256` or `384x256`.
    pub fn typed(self) -> String {
        if self.is_square() {
            self.width.to_string()
        } else {
            format!("{}x{}", self.width, self.height)
        }
    }

    /// In text: a square by its side, another size by both.
    pub fn briefly(self) -> String {
        if self.is_square() {
            self.width.to_string()
        } else {
            self.to_string()
        }
    }

    /// Whether `self` and `other` have the same ratio of width to height, exactly.
    pub const fn same_aspect(self, other: Self) -> bool {
        self.width as u128 * other.height as u128 == self.height as u128 * other.width as u128
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.width, self.height)
    }
}

/// `256` is a square, `384x256` a width and a height.
impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let size = || -> Result<Self, ParseIntError> {
            Ok(match text.split_once(['x', 'X']) {
                None => Self::square(text.trim().parse()?),
                Some((width, height)) => Self::new(width.trim().parse()?, height.trim().parse()?),
            })
        };
        size().map_err(|_| SizeError { text: text.into() })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum InText {
    Square(u32),
    Sides { width: u32, height: u32 },
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let side = |side: usize| {
            let side = u32::try_from(side).ok().filter(|&side| side < BEYOND);
            side.ok_or_else(|| S::Error::custom(format!("a size of {self} is over the limit")))
        };
        let (width, height) = (side(self.width)?, side(self.height)?);
        match (to.is_human_readable(), width == height) {
            (true, true) => InText::Square(width).serialize(to),
            (true, false) => InText::Sides { width, height }.serialize(to),
            (false, true) => to.serialize_u32(width),
            (false, false) => to.serialize_u32(height * BEYOND + width),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (width, height) = if from.is_human_readable() {
            match InText::deserialize(from)? {
                InText::Square(side) => (side, side),
                InText::Sides { width, height } => (width, height),
            }
        } else {
            match u32::deserialize(from)? {
                side if side < BEYOND => (side, side),
                both if both % BEYOND == both / BEYOND => {
                    // One size has one form, so that a bundle is rewritten byte for byte.
                    let found = Unexpected::Unsigned(both.into());
                    return Err(D::Error::invalid_value(found, &"a square as its side"));
                }
                both => (both % BEYOND, both / BEYOND),
            }
        };
        Ok(Self::new(width as usize, height as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_stored_as_its_side_was() {
        for side in [0u32, 1, 64, 4096, 65_535] {
            let size = Size::square(side as usize);
            let old = postcard::to_stdvec(&side).expect("bytes");
            assert_eq!(postcard::to_stdvec(&size).expect("bytes"), old);
            assert_eq!(postcard::from_bytes::<Size>(&old).expect("a size"), size);
            let text = serde_json::to_string(&size).expect("JSON");
            assert_eq!(text, side.to_string());
            assert_eq!(serde_json::from_str::<Size>(&text).expect("a size"), size);
        }
    }

    #[test]
    fn both_sides_come_back() {
        for (width, height) in [(384, 256), (64, 1024), (65_535, 1), (1, 65_535), (0, 7)] {
            let size = Size::new(width, height);
            let bytes = postcard::to_stdvec(&size).expect("bytes");
            assert_eq!(postcard::from_bytes::<Size>(&bytes).expect("a size"), size);
            let text = serde_json::to_string(&size).expect("JSON");
            assert!(
                text.contains(&format!(r#""width":{width},"height":{height}"#)),
                "{text}"
            );
            assert_eq!(serde_json::from_str::<Size>(&text).expect("a size"), size);
        }
        assert!(postcard::to_stdvec(&Size::new(65_536, 1)).is_err());
        let square = postcard::to_stdvec(&(64u32 * 65_536 + 64)).expect("bytes");
        assert!(postcard::from_bytes::<Size>(&square).is_err());
    }

    #[test]
    fn a_size_is_read_from_a_command_line() {
        assert_eq!("256".parse(), Ok(Size::square(256)));
        assert_eq!("384x256".parse(), Ok(Size::new(384, 256)));
        for wrong in ["", "x", "384x", "384x256x3", "-1", "a", "1.5"] {
            let error = wrong.parse::<Size>().expect_err("accepted");
            assert!(error.to_string().contains("384x256"), "{error}");
        }
    }

    #[test]
    fn the_mean_side_of_a_square_is_its_side() {
        for side in 1..=4096 {
            assert_eq!(Size::square(side).mean_side(), side as f32);
        }
        assert_eq!(Size::new(64, 1024).mean_side(), 256.0);
    }
}
