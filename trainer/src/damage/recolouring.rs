//! Changes of colour and tone that leave the picture's structure standing.

use super::draws::{chance, one_of, turn};
use super::samples::Colour;
use partgate::seed::Rng;

/// A change of colour, the same for every pixel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recolouring {
    /// Channels exchanged: this one takes the value of that one.
    Permuted([usize; 3]),
    /// Turned about the grey axis.
    Hue { cosine: f32, sine: f32 },
    /// Channels scaled apart, as by dye.
    Dyed(Colour),
    /// Bright becomes dark and back, about a middle tone.
    Inverted(f32),
}

impl Recolouring {
    /// For a grey picture the change is always of the tone.
    pub(super) fn draw(rng: &mut Rng, grey: bool) -> Self {
        const EXCHANGES: [[usize; 3]; 5] = [[0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
        if grey || chance(rng, 0.15) {
            return Self::Inverted(rng.between(0.35, 0.65));
        }
        match rng.below(3) {
            0 => Self::Permuted(one_of(rng, &EXCHANGES)),
            1 => {
                // From about 50 degrees on; less is a change of the light.
                let sign = if chance(rng, 0.5) { 1.0 } else { -1.0 };
                let (cosine, sine) = turn(sign * rng.between(0.45, 3.0));
                Self::Hue { cosine, sine }
            }
            _ => Self::Dyed(std::array::from_fn(|_| rng.between(0.3, 1.4))),
        }
    }

    pub(super) fn apply(&self, [r, g, b]: Colour) -> Colour {
        let colour = match *self {
            Self::Permuted(from) => from.map(|c| [r, g, b][c]),
            Self::Hue { cosine, sine } => {
                // Rotation about (1, 1, 1): Rodrigues' formula.
                let grey = (r + g + b) / 3.0 * (1.0 - cosine);
                let cross = sine * 0.577_350_26;
                [
                    grey + cosine * r + cross * (b - g),
                    grey + cosine * g + cross * (r - b),
                    grey + cosine * b + cross * (g - r),
                ]
            }
            Self::Dyed(gains) => [r * gains[0], g * gains[1], b * gains[2]],
            Self::Inverted(middle) => [r, g, b].map(|v| 2.0 * middle - v),
        };
        colour.map(|v| v.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recolouring_keeps_what_it_should() {
        let full = Recolouring::Hue {
            cosine: 1.0,
            sine: 0.0,
        };
        for (a, b) in full.apply([0.2, 0.5, 0.7]).iter().zip([0.2, 0.5, 0.7]) {
            assert!((a - b).abs() < 1e-6);
        }
        let third = Recolouring::Hue {
            cosine: -0.5,
            sine: 0.866_025_4,
        };
        let turned = third.apply([0.9, 0.1, 0.2]);
        assert!((turned[1] - 0.9).abs() < 1e-5, "{turned:?}");
        let mut rng = Rng::new(1);
        for _ in 0..50 {
            let grey = Recolouring::draw(&mut rng, true).apply([0.3; 3]);
            assert!(grey[0] == grey[1] && grey[1] == grey[2]);
        }
    }
}
