//! Pixels of any format as colours in 0..=1, and patches painted over them.

use partgate::frame::{Frame, FrameError, Pixels};

/// Red, green, blue in 0..=1; grey pictures have three equal ones.
pub(super) type Colour = [f32; 3];

/// Colours of a frame; their mean, for a colour donor in a grey picture.
#[derive(Clone, Copy)]
pub(super) struct Picture<'a> {
    frame: &'a Frame,
    grey: bool,
}

impl<'a> Picture<'a> {
    pub(super) fn new(frame: &'a Frame) -> Self {
        let grey = frame.pixels().channels() == 1;
        Self { frame, grey }
    }

    /// `donor` with the colours of this picture: grey where this one is grey.
    pub(super) fn donor<'b>(&self, donor: &'b Frame) -> Picture<'b> {
        Picture {
            frame: donor,
            grey: self.grey,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.frame.width()
    }

    pub(super) fn height(&self) -> usize {
        self.frame.height()
    }

    pub(super) fn is_grey(&self) -> bool {
        self.grey
    }

    /// The colour at column `x`, row `y`.
    pub(super) fn at(&self, x: usize, y: usize) -> Colour {
        let i = y * self.frame.width() + x;
        let colour = match self.frame.pixels() {
            Pixels::Gray8(v) => [f32::from(v[i]) / 255.0; 3],
            Pixels::Gray16(v) => [f32::from(v[i]) / 65535.0; 3],
            Pixels::Rgb8(v) => std::array::from_fn(|c| f32::from(v[3 * i + c]) / 255.0),
            Pixels::Rgb16(v) => std::array::from_fn(|c| f32::from(v[3 * i + c]) / 65535.0),
        };
        if self.grey && self.frame.pixels().channels() == 3 {
            [(colour[0] + colour[1] + colour[2]) / 3.0; 3]
        } else {
            colour
        }
    }

    /// The same, with the mirror image of the picture beyond its edges.
    pub(super) fn reflected(&self, x: i64, y: i64) -> Colour {
        self.at(reflect(x, self.width()), reflect(y, self.height()))
    }

    /// Bilinear interpolation; pixel centres lie at whole numbers.
    pub(super) fn between(&self, x: f32, y: f32) -> Colour {
        let (fx, fy) = (x.floor(), y.floor());
        let (ix, iy) = (fx as i64, fy as i64);
        let (tx, ty) = (x - fx, y - fy);
        let corners = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| self.reflected(ix + i, iy + j));
        std::array::from_fn(|c| {
            let top = corners[0][c] + tx * (corners[1][c] - corners[0][c]);
            let bottom = corners[2][c] + tx * (corners[3][c] - corners[2][c]);
            top + ty * (bottom - top)
        })
    }
}

fn reflect(i: i64, n: usize) -> usize {
    let n = n as i64;
    let period = i.rem_euclid(2 * n);
    (if period < n {
        period
    } else {
        2 * n - 1 - period
    }) as usize
}

/// A rectangle of pixels inside a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Window {
    pub(super) fn area(&self) -> usize {
        self.width * self.height
    }

    /// Whether the two overlap or lie less than `gap` apart.
    pub(super) fn touches(&self, other: &Window, gap: usize) -> bool {
        self.left < other.left + other.width + gap
            && other.left < self.left + self.width + gap
            && self.top < other.top + other.height + gap
            && other.top < self.top + self.height + gap
    }
}

/// Opacity of every pixel of a window, 0..=1, row by row.
#[derive(Clone, Debug)]
pub(super) struct AlphaMask {
    pub(super) window: Window,
    pub(super) alpha: Vec<f32>,
}

impl AlphaMask {
    /// Scales the mask by `opacity`, and clears it where `keep` is false.
    pub(super) fn limited(mut self, opacity: f32, keep: impl Fn(usize, usize) -> bool) -> Self {
        let w = self.window;
        for (i, alpha) in self.alpha.iter_mut().enumerate() {
            let inside = keep(w.left + i % w.width, w.top + i / w.width);
            *alpha *= if inside { opacity } else { 0.0 };
        }
        self
    }
}

/// New colours with an alpha mask. Where the mask is 0 the picture keeps its bits; where it is 1 a
/// copied sample arrives with its bits.
#[derive(Debug)]
pub(super) struct Patch {
    mask: AlphaMask,
    colours: Vec<Colour>,
}

/// Visible effect of a patch.
pub(super) struct Effect {
    /// The window's pixels that would differ by more than the threshold.
    pub(super) changed: Vec<bool>,
    /// Their number.
    pub(super) count: usize,
    /// Their mean difference, share of full scale.
    pub(super) mean: f32,
}

impl Patch {
    /// A patch with `colour` of every pixel under the mask.
    pub(super) fn new(mask: AlphaMask, mut colour: impl FnMut(usize, usize) -> Colour) -> Self {
        let w = mask.window;
        let colours = mask
            .alpha
            .iter()
            .enumerate()
            .map(|(i, &alpha)| {
                if alpha > 0.0 {
                    colour(w.left + i % w.width, w.top + i / w.width)
                } else {
                    [0.0; 3]
                }
            })
            .collect();
        Self { mask, colours }
    }

    pub(super) fn window(&self) -> Window {
        self.mask.window
    }

    /// By the channel with the largest difference: a change may be visible in blue alone.
    pub(super) fn effect(&self, picture: Picture<'_>, threshold: f32) -> Effect {
        let full = full_scale(picture.frame);
        let w = self.mask.window;
        let mut effect = Effect {
            changed: vec![false; w.area()],
            count: 0,
            mean: 0.0,
        };
        for (i, &alpha) in self.mask.alpha.iter().enumerate() {
            if alpha <= 0.0 {
                continue;
            }
            let old = picture.at(w.left + i % w.width, w.top + i / w.width);
            let mut most = 0.0f32;
            for (&from, &to) in old.iter().zip(&self.colours[i]) {
                let new = quantised(from, to, alpha, full).floor() / full;
                most = most.max((new - from).abs());
            }
            if most > threshold {
                effect.changed[i] = true;
                effect.count += 1;
                effect.mean += most;
            }
        }
        effect.mean /= effect.count.max(1) as f32;
        effect
    }
}

fn full_scale(frame: &Frame) -> f32 {
    match frame.pixels() {
        Pixels::Gray8(_) | Pixels::Rgb8(_) => 255.0,
        Pixels::Gray16(_) | Pixels::Rgb16(_) => 65535.0,
    }
}

/// The blended sample before the fraction is cut off.
fn quantised(from: f32, to: f32, alpha: f32, full: f32) -> f32 {
    (from + alpha * (to - from)).clamp(0.0, 1.0) * full + 0.5
}

/// A copy of `frame` with `patches` painted over it, one after the other.
pub(super) fn painted(frame: &Frame, patches: &[Patch]) -> Result<Frame, FrameError> {
    let width = frame.width();
    macro_rules! paint {
        ($samples:expr, $channels:expr, $full:expr, $kind:ty) => {{
            let mut out = $samples.clone();
            for patch in patches {
                let w = patch.mask.window;
                for (i, &alpha) in patch.mask.alpha.iter().enumerate() {
                    if alpha <= 0.0 {
                        continue;
                    }
                    let at = ((w.top + i / w.width) * width + w.left + i % w.width) * $channels;
                    for (s, &to) in out[at..at + $channels].iter_mut().zip(&patch.colours[i]) {
                        *s = quantised(f32::from(*s) / $full, to, alpha, $full) as $kind;
                    }
                }
            }
            out
        }};
    }
    let pixels = match frame.pixels() {
        Pixels::Gray8(v) => Pixels::Gray8(paint!(v, 1, 255.0, u8)),
        Pixels::Rgb8(v) => Pixels::Rgb8(paint!(v, 3, 255.0, u8)),
        Pixels::Gray16(v) => Pixels::Gray16(paint!(v, 1, 65535.0, u16)),
        Pixels::Rgb16(v) => Pixels::Rgb16(paint!(v, 3, 65535.0, u16)),
    };
    let mut out = Frame::new(width, frame.height(), pixels)?;
    out.kernel_time_ns = frame.kernel_time_ns;
    out.sequence = frame.sequence;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_cover_copies_every_sample_to_the_bit() {
        let values: Vec<u16> = (0..=u16::MAX).collect();
        let source = Frame::new(256, 256, Pixels::Gray16(values)).expect("frame");
        for start in [0, 65535, 12345] {
            let target = Frame::new(256, 256, Pixels::Gray16(vec![start; 65536])).expect("frame");
            let mask = AlphaMask {
                window: Window {
                    left: 0,
                    top: 0,
                    width: 256,
                    height: 256,
                },
                alpha: vec![1.0; 65536],
            };
            let from = Picture::new(&source);
            let patch = Patch::new(mask, |x, y| from.at(x, y));
            assert_eq!(painted(&target, &[patch]).expect("frame"), source);
        }
    }

    #[test]
    fn pictures_continue_as_their_mirror_image() {
        assert_eq!(
            (-4..8).map(|i| reflect(i, 3)).collect::<Vec<_>>(),
            [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]
        );
        assert_eq!(reflect(i64::from(i32::MIN), 1), 0);
        let frame = Frame::new(2, 1, Pixels::Gray8(vec![0, 255])).expect("frame");
        assert_eq!(Picture::new(&frame).between(0.25, 0.0), [0.25; 3]);
    }
}
