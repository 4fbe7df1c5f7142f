//! Exits that are not rounded: a 1 x 1 convolution whose sums leave as f32.

use super::description::{Lattice, Unrounded};
use super::entry::limited;
use super::kernels::{Kernel, LANES, Lines, MOST_SUMS, PANELS, Panels, Task, Tile};
use super::pack::Packed;
use super::shapes::Shape;
use super::team::Team;

/// Pixels behind a tensor that a tile may read and nobody uses.
pub(super) const BEHIND: usize = LANES;

/// What the convolution takes.
#[derive(Clone, Copy)]
pub(super) struct Pixels<'a> {
    pub(super) shape: Shape,
    pub(super) lines: Lines,
    pub(super) bytes: &'a [u8],
}

/// A convolution at the end, ready to run.
pub(super) struct Sums {
    filter: Packed,
    outputs: usize,
    /// `input scale * weight scale`, one per channel.
    factors: Vec<f32>,
    bias: Vec<f32>,
    /// A channel of the network's input that is added.
    pub(super) added: Option<usize>,
    low: f32,
    high: f32,
    /// Multiplications per pixel.
    pub(super) weights: u64,
}

impl Sums {
    pub(super) fn new(exit: &Unrounded, from: Lattice, stride: usize, kernel: Kernel) -> Self {
        let c = &exit.convolution;
        Self {
            filter: Packed::sums(c, stride, from.zero_point, kernel),
            outputs: c.outputs,
            factors: c.scales.iter().map(|s| from.scale * s).collect(),
            bias: exit.bias.clone(),
            added: exit.added,
            low: exit.low,
            high: exit.high,
            weights: c.weights.len() as u64,
        }
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The sums of every pixel into `out`, `[channels, rows, columns]`. `input` is the
    /// network's, `[rows, columns, channels]`.
    pub(super) fn run(
        &self,
        kernel: Kernel,
        team: &impl Team,
        pixels: Pixels<'_>,
        input: &[f32],
        out: &mut [f32],
    ) {
        let part = Part { sums: self, pixels };
        part.share(kernel, team, team.count(), 0, out);
        let Some(added) = self.added else {
            for value in out {
                *value = limited(*value, self.low, self.high);
            }
            return;
        };
        let channels = input.len() / out.len();
        for (value, pixel) in out.iter_mut().zip(input.chunks_exact(channels)) {
            *value = limited(pixel[added] + *value, self.low, self.high);
        }
    }
}

#[derive(Clone, Copy)]
struct Part<'a> {
    sums: &'a Sums,
    pixels: Pixels<'a>,
}

impl Part<'_> {
    /// Channels from `first` on into `out`, by up to `threads` of `team`.
    fn share(
        self,
        kernel: Kernel,
        team: &impl Team,
        threads: usize,
        first: usize,
        out: &mut [f32],
    ) {
        let area = self.pixels.shape.rows * self.pixels.shape.columns;
        let together = PANELS * LANES;
        let tiles = (out.len() / area).div_ceil(together);
        let left = threads.min(tiles) / 2;
        if left == 0 {
            let leaving = Leaving {
                part: self,
                first,
                out,
            };
            return kernel.run(leaving);
        }
        let middle = tiles * left / threads.min(tiles) * together;
        let (ours, theirs) = out.split_at_mut(middle * area);
        team.join(
            || self.share(kernel, team, left, first, ours),
            || self.share(kernel, team, threads - left, first + middle, theirs),
        );
    }
}

struct Leaving<'a, 'o> {
    part: Part<'a>,
    /// A multiple of the channels of a tile.
    first: usize,
    out: &'o mut [f32],
}

impl Task for Leaving<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<T: Tile>(self) {
        let Part { sums, pixels } = self.part;
        let Pixels {
            shape,
            lines,
            bytes,
        } = pixels;
        let area = shape.rows * shape.columns;
        let channels = self.out.len() / area;
        let panels = sums.filter.panels();
        for group in (0..channels).step_by(PANELS * LANES) {
            for y in 0..shape.rows {
                let row = &bytes[lines.first + y * lines.row_stride..];
                for x in (0..shape.columns).step_by(LANES) {
                    let count = LANES.min(shape.columns - x);
                    let panel = (self.first + group) / LANES;
                    let pixels = &row[x * lines.pixel_stride..];
                    let block = block::<T>(&panels, panel, pixels, lines.pixel_stride, count);
                    let own = group..channels.min(group + PANELS * LANES);
                    for (channel, found) in own.zip(&block) {
                        let number = self.first + channel;
                        let (factor, bias) = (sums.factors[number], sums.bias[number]);
                        let to = &mut self.out[channel * area + y * shape.columns + x..][..count];
                        for (to, sum) in to.iter_mut().zip(found) {
                            *to = *sum as f32 * factor + bias;
                        }
                    }
                }
            }
        }
    }
}

/// The sums of `count` pixels, by channel: whole lines of memory are written at once.
#[inline(always)]
fn block<T: Tile>(
    panels: &Panels<'_>,
    panel: usize,
    pixels: &[u8],
    stride: usize,
    count: usize,
) -> [[i32; LANES]; PANELS * LANES] {
    let mut block = [[0; LANES]; PANELS * LANES];
    for x in (0..count).step_by(T::CELLS) {
        for p in (0..PANELS).step_by(T::PANELS) {
            let mut sums = [[0; LANES]; MOST_SUMS];
            T::products(panels, panel + p, &pixels[x * stride..], stride, &mut sums);
            for c in 0..T::CELLS {
                for q in 0..T::PANELS {
                    for l in 0..LANES {
                        block[(p + q) * LANES + l][x + c] = sums[c * T::PANELS + q][l];
                    }
                }
            }
        }
    }
    block
}
