//! Varied copies of good images in the bank, for products of few: what a person says that good parts
//! may do (move, turn, be brighter or darker) need not be in the pictures.
//!
//! Copies go into the bank only. Held-out scores, and so the thresholds and what they prove, are of
//! the pictures themselves.

use partgate::frame::{Frame, FrameError, Pixels};
use partgate::seed::Rng;
use std::fmt;
use std::str::FromStr;

/// About as many pictures as a bank of varied copies is made from.
const PICTURES: usize = 120;
/// Copies of one picture at most.
const MOST_COPIES: usize = 16;

/// By how much good parts may vary, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Variation {
    /// Per cent of width and height.
    shift: f32,
    /// Degrees.
    turn: f32,
    /// Per cent of the brightness.
    light: f32,
}

impl Variation {
    /// Copies of each of `images` pictures.
    pub(crate) fn copies(images: usize) -> usize {
        (PICTURES / images.max(1)).clamp(1, MOST_COPIES)
    }

    /// A copy of `frame`, varied as `rng` draws.
    ///
    /// # Errors
    /// [`FrameError`] where the frame has no pixels.
    pub(crate) fn copy(&self, frame: &Frame, rng: &mut Rng) -> Result<Frame, FrameError> {
        let mut within = |most: f32| most * (2.0 * rng.unit() - 1.0);
        let (w, h) = (frame.width(), frame.height());
        let view = View {
            right: within(self.shift) / 100.0 * w as f32,
            down: within(self.shift) / 100.0 * h as f32,
            turn: within(self.turn).to_radians(),
            gain: 1.0 + within(self.light) / 100.0,
        };
        let pixels = match frame.pixels() {
            Pixels::Gray8(s) => Pixels::Gray8(view.of(s, [w, h, 1])),
            Pixels::Rgb8(s) => Pixels::Rgb8(view.of(s, [w, h, 3])),
            Pixels::Gray16(s) => Pixels::Gray16(view.of(s, [w, h, 1])),
            Pixels::Rgb16(s) => Pixels::Rgb16(view.of(s, [w, h, 3])),
        };
        Frame::new(w, h, pixels)
    }
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("shift", self.shift, "% of the side"),
            ("turn", self.turn, "degrees"),
            ("light", self.light, "% of the brightness"),
        ];
        let stated = parts.iter().filter(|(_, most, _)| *most > 0.0);
        let stated: Vec<String> = stated
            .map(|(name, most, unit)| format!("{name} to {most} {unit}"))
            .collect();
        f.write_str(&stated.join(", "))
    }
}

impl FromStr for Variation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for part in text.split(',') {
            let expected = || {
                format!(
                    "`{part}`: shift=PERCENT, turn=DEGREES or light=PERCENT is expected, as in shift=2,turn=3,light=10"
                )
            };
            let (name, value) = part.split_once('=').ok_or_else(expected)?;
            let most: f32 = value.trim().parse().map_err(|_| expected())?;
            let (slot, limit) = match name.trim() {
                "shift" => (&mut found.shift, 20.0),
                "turn" => (&mut found.turn, 180.0),
                "light" => (&mut found.light, 50.0),
                _ => return Err(expected()),
            };
            if *slot > 0.0 {
                return Err(format!("`{part}`: named twice"));
            }
            if !(most > 0.0 && most <= limit) {
                return Err(format!("`{part}`: above 0, at most {limit}"));
            }
            *slot = most;
        }
        Ok(found)
    }
}

/// How a copy looks at its picture.
struct View {
    right: f32,
    down: f32,
    turn: f32,
    gain: f32,
}

/// A sample of a picture.
trait Sample: Copy + Into<f32> {
    const MOST: f32;
    fn rounded(value: f32) -> Self;
}

impl Sample for u8 {
    const MOST: f32 = 255.0;
    fn rounded(value: f32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    const MOST: f32 = 65_535.0;
    fn rounded(value: f32) -> Self {
        value as u16
    }
}

impl View {
    /// The picture turned around its centre, moved and brightened. Its border is continued.
    fn of<T: Sample>(&self, samples: &[T], [w, h, channels]: [usize; 3]) -> Vec<T> {
        let (sin, cos) = self.turn.sin_cos();
        let (cx, cy) = ((w - 1) as f32 / 2.0, (h - 1) as f32 / 2.0);
        let mut out = Vec::with_capacity(samples.len());
        for y in 0..h {
            for x in 0..w {
                let (dx, dy) = (x as f32 - cx - self.right, y as f32 - cy - self.down);
                let from_x = (cos * dx + sin * dy + cx).clamp(0.0, (w - 1) as f32);
                let from_y = (cos * dy - sin * dx + cy).clamp(0.0, (h - 1) as f32);
                let (left, top) = (from_x as usize, from_y as usize);
                let (right, below) = ((left + 1).min(w - 1), (top + 1).min(h - 1));
                let (tx, ty) = (from_x - left as f32, from_y - top as f32);
                for channel in 0..channels {
                    let at = |x: usize, y: usize| -> f32 {
                        samples[(y * w + x) * channels + channel].into()
                    };
                    let upper = at(left, top) * (1.0 - tx) + at(right, top) * tx;
                    let lower = at(left, below) * (1.0 - tx) + at(right, below) * tx;
                    let value = (upper * (1.0 - ty) + lower * ty) * self.gain;
                    out.push(T::rounded((value + 0.5).clamp(0.0, T::MOST)));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(w: usize, h: usize, at: (usize, usize)) -> Vec<u8> {
        let mut samples = vec![10u8; w * h];
        samples[at.1 * w + at.0] = 200;
        samples
    }

    #[test]
    fn a_picture_is_moved_turned_and_brightened_as_stated() {
        let still = View {
            right: 0.0,
            down: 0.0,
            turn: 0.0,
            gain: 1.0,
        };
        let picture = spot(9, 7, (2, 3));
        assert_eq!(still.of(&picture, [9, 7, 1]), picture);
        let moved = View {
            right: 3.0,
            down: -1.0,
            ..still
        };
        assert_eq!(moved.of(&picture, [9, 7, 1]), spot(9, 7, (5, 2)));
        // A quarter turn clockwise about the centre (4, 4) takes the left to the top.
        let turned = View {
            turn: std::f32::consts::FRAC_PI_2,
            right: 0.0,
            down: 0.0,
            gain: 1.0,
        };
        assert_eq!(
            turned.of(&spot(9, 9, (2, 4)), [9, 9, 1]),
            spot(9, 9, (4, 2))
        );
        let bright = View {
            gain: 1.5,
            turn: 0.0,
            right: 0.0,
            down: 0.0,
        };
        let brighter = bright.of(&[100u16, 60_000], [2, 1, 1]);
        assert_eq!(brighter, [150, 65_535]);
    }

    #[test]
    fn copies_stay_within_what_was_stated_and_repeat_with_the_seed() {
        let variation: Variation = "light=10".parse().expect("a variation");
        let frame = Frame::new(2, 1, Pixels::Gray8(vec![100, 200])).expect("a frame");
        let mut rng = Rng::new(4);
        let mut seen = Vec::new();
        for _ in 0..200 {
            let copy = variation.copy(&frame, &mut rng).expect("a copy");
            let Pixels::Gray8(samples) = copy.pixels() else {
                panic!("another format");
            };
            assert!((90..=110).contains(&samples[0]) && (180..=220).contains(&samples[1]));
            seen.push(samples[0]);
        }
        assert!(seen.iter().min() < Some(&92) && seen.iter().max() > Some(&108));
        let again = variation.copy(&frame, &mut Rng::new(4)).expect("a copy");
        assert_eq!(
            again.pixels(),
            variation
                .copy(&frame, &mut Rng::new(4))
                .expect("a copy")
                .pixels()
        );
    }

    #[test]
    fn what_is_said_is_read_and_nonsense_is_refused() {
        let variation: Variation = "shift=2, turn=3,light=10".parse().expect("a variation");
        assert_eq!(
            variation.to_string(),
            "shift to 2 % of the side, turn to 3 degrees, light to 10 % of the brightness"
        );
        for wrong in [
            "",
            "shift",
            "shift=x",
            "zoom=2",
            "shift=0",
            "shift=21",
            "turn=nan",
            "shift=1,shift=2",
        ] {
            assert!(wrong.parse::<Variation>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn few_pictures_get_many_copies() {
        assert_eq!(
            [1, 4, 10, 20, 60, 500].map(Variation::copies),
            [16, 16, 12, 6, 2, 1]
        );
    }
}
