//! Sums of products over channels: convolutions that are not depthwise, 1 x 1 among them.
//!
//! A tile is a few quads of pixels by a few groups of sixteen output channels, whose sums stay in
//! registers while all products of the sum go by.

use super::blocks::BLOCK;
use super::isa::{Addition, Isa, LANES, QUAD, Saturation};

/// Where the bytes of a sum are: `segments` runs (rows of the kernel, or groups of channels) of
/// `depth` steps of four bytes. All strides are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) segments: usize,
    pub(crate) segment_stride: usize,
    pub(crate) depth: usize,
    pub(crate) depth_stride: usize,
    pub(crate) pixel_stride: usize,
    pub(crate) quad_stride: usize,
}

impl Operand {
    /// Bytes from the first that is read to behind the last, for `quads` quads of pixels; `None`
    /// when that is more than memory has.
    pub(crate) fn extent(&self, quads: usize) -> Option<usize> {
        let reach = |count: usize, stride: usize| count.checked_sub(1)?.checked_mul(stride);
        reach(self.segments, self.segment_stride)?
            .checked_add(reach(self.depth, self.depth_stride)?)?
            .checked_add(reach(QUAD, self.pixel_stride)?)?
            .checked_add(reach(quads, self.quad_stride)?)?
            .checked_add(QUAD)
    }

    /// Steps of four bytes.
    pub(crate) fn steps(&self) -> usize {
        self.segments * self.depth
    }
}

/// Weights of `groups` groups of sixteen outputs: `steps` blocks a group, laid out for the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a> {
    pub(crate) groups: usize,
    pub(crate) steps: usize,
    pub(crate) weights: &'a [u8],
    pub(crate) bias: &'a [i32],
    pub(crate) factors: &'a [f32],
    pub(crate) saturation: Saturation,
}

impl<'a> Filter<'a> {
    /// `count` groups from `first` on, or as many as there are, of blocks of `bytes` bytes.
    pub(super) fn part(&self, first: usize, count: usize, bytes: usize) -> Filter<'a> {
        let groups = count.min(self.groups - first);
        Filter {
            groups,
            weights: &self.weights[first * self.steps * bytes..],
            bias: &self.bias[first * LANES..],
            factors: &self.factors[first * LANES..],
            ..*self
        }
    }

    /// Panics when a table is shorter than the groups want; blocks of weights have `bytes` bytes.
    pub(super) fn check(&self, bytes: usize) {
        assert!(
            self.weights.len() >= self.groups * self.steps * bytes,
            "weights"
        );
        assert!(self.bias.len() >= self.groups * LANES, "biases");
        assert!(self.factors.len() >= self.groups * LANES, "factors");
    }
}

/// Where finished pixels go.
pub(super) trait Sink {
    /// # Safety
    /// The processor has the set, `group` and `quad` are within what the sink was made for.
    unsafe fn put<I: Isa>(&self, group: usize, quad: usize, packed: I::Packed);
}

/// A row of an expanded tensor: by group, then by quad, in the order of columns.
pub(super) struct Columns {
    pub(super) to: *mut u8,
    pub(super) group_stride: usize,
}

impl Sink for Columns {
    #[inline(always)]
    unsafe fn put<I: Isa>(&self, group: usize, quad: usize, packed: I::Packed) {
        // SAFETY: whoever made the sink has `groups` times `group_stride` bytes behind `to`.
        unsafe {
            I::store_columns(
                packed,
                self.to.add(group * self.group_stride + quad * BLOCK),
            )
        }
    }
}

/// A row of a tensor outside a block, with what is added to it, if anything.
pub(super) struct Pixels<'a> {
    pub(super) to: *mut u8,
    pub(super) pixel_stride: usize,
    /// Pixels that exist; a quad may reach beyond.
    pub(super) columns: usize,
    pub(super) other: *const u8,
    pub(super) other_stride: usize,
    pub(super) addition: Option<&'a Addition>,
}

impl Pixels<'_> {
    /// The same row from `group` on.
    ///
    /// # Safety
    /// The row has the group, and so has what is added to it.
    pub(super) unsafe fn from(self, group: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            Self {
                to: self.to.add(group * LANES),
                other: self.other.wrapping_add(group * LANES),
                ..self
            }
        }
    }
}

impl Sink for Pixels<'_> {
    #[inline(always)]
    unsafe fn put<I: Isa>(&self, group: usize, quad: usize, packed: I::Packed) {
        let first = quad * QUAD;
        let mut packed = packed;
        // SAFETY: whoever made the sink has `columns` pixels of sixteen bytes a group behind `to`,
        // and behind `other` where there is an addition. A quad's pixels beyond the last read the
        // last, and go to a place of their own.
        unsafe {
            if let Some(addition) = self.addition {
                let at = |pixel: usize| {
                    let column = (first + pixel).min(self.columns - 1);
                    self.other.add(column * self.other_stride + group * LANES)
                };
                packed = I::added(packed, [at(0), at(1), at(2), at(3)], addition);
            }
            let to = self.to.add(first * self.pixel_stride + group * LANES);
            let mut beyond = [0u8; LANES];
            let beyond = beyond.as_mut_ptr();
            let at = |pixel: usize| {
                if first + pixel < self.columns {
                    to.wrapping_add(pixel * self.pixel_stride)
                } else {
                    beyond
                }
            };
            I::store_pixels(packed, [at(0), at(1), at(2), at(3)]);
        }
    }
}

/// A row of pixels: `quads` quads of `operand` behind `from`, all groups of `filter`.
///
/// # Safety
/// The processor has the set. `operand.extent(quads)` bytes can be read behind `from`; `filter`
/// was checked and has `operand.steps()` steps; `sink` takes its groups and `quads`.
#[inline(always)]
pub(super) unsafe fn row<I: Isa, const QUADS: usize, const GROUPS: usize>(
    from: *const u8,
    operand: &Operand,
    quads: usize,
    filter: &Filter<'_>,
    sink: &impl Sink,
) {
    let mut group = 0;
    while group < filter.groups {
        let left = filter.groups - group;
        // Four are two and two: a tile one group wide reads more than it computes.
        let wide = if left > GROUPS && left < 2 * GROUPS {
            left.div_ceil(2)
        } else {
            left
        };
        // SAFETY: `group + wide <= filter.groups` in every arm.
        unsafe {
            match wide.min(GROUPS) {
                1 => {
                    groups::<I, QUADS, 1>(from, operand, quads, filter, group, sink);
                    group += 1;
                }
                2 if GROUPS >= 2 => {
                    groups::<I, QUADS, 2>(from, operand, quads, filter, group, sink);
                    group += 2;
                }
                _ => {
                    groups::<I, QUADS, GROUPS>(from, operand, quads, filter, group, sink);
                    group += GROUPS;
                }
            }
        }
    }
}

/// All quads of `GROUPS` groups from `group` on: their weights stay in the nearest cache.
///
/// # Safety
/// As for [`row`], and the groups exist.
#[inline(always)]
unsafe fn groups<I: Isa, const QUADS: usize, const GROUPS: usize>(
    from: *const u8,
    operand: &Operand,
    quads: usize,
    filter: &Filter<'_>,
    group: usize,
    sink: &impl Sink,
) {
    let mut quad = 0;
    // SAFETY: quads up to `quads` only.
    unsafe {
        while quad + QUADS <= quads {
            tile::<I, QUADS, GROUPS>(from, operand, quad, filter, group, sink);
            quad += QUADS;
        }
        while quad < quads {
            tile::<I, 1, GROUPS>(from, operand, quad, filter, group, sink);
            quad += 1;
        }
    }
}

/// # Safety
/// As for [`row`], and the groups and quads exist.
#[inline(always)]
unsafe fn tile<I: Isa, const QUADS: usize, const GROUPS: usize>(
    from: *const u8,
    operand: &Operand,
    quad: usize,
    filter: &Filter<'_>,
    group: usize,
    sink: &impl Sink,
) {
    // SAFETY: the bytes read are within `operand.extent`, weights within `steps` blocks a group,
    // biases and factors within sixteen a group, all of which the caller has.
    unsafe {
        let weights_stride = filter.steps * I::WEIGHTS;
        let bias = filter.bias.as_ptr().add(group * LANES);
        let mut sums = [[[I::sums(bias); QUAD]; QUADS]; GROUPS];
        for g in 1..GROUPS {
            sums[g] = [[I::sums(bias.add(g * LANES)); QUAD]; QUADS];
        }
        let mut weights = filter
            .weights
            .as_ptr()
            .cast::<i8>()
            .add(group * weights_stride);
        let from = from.add(quad * operand.quad_stride);
        for segment in 0..operand.segments {
            let mut at = from.add(segment * operand.segment_stride);
            for _ in 0..operand.depth {
                let mut columns = [I::weights(weights); GROUPS];
                for g in 1..GROUPS {
                    columns[g] = I::weights(weights.add(g * weights_stride));
                }
                for q in 0..QUADS {
                    for x in 0..QUAD {
                        let offset = q * operand.quad_stride + x * operand.pixel_stride;
                        let bytes = I::spread(at.add(offset));
                        for g in 0..GROUPS {
                            sums[g][q][x] = I::dot(sums[g][q][x], bytes, columns[g]);
                        }
                    }
                }
                at = at.wrapping_add(operand.depth_stride);
                weights = weights.add(I::WEIGHTS);
            }
        }
        for g in 0..GROUPS {
            let factors = I::factors(filter.factors.as_ptr().add((group + g) * LANES));
            for q in 0..QUADS {
                let packed = I::requantise(sums[g][q], factors, &filter.saturation);
                sink.put::<I>(group + g, quad + q, packed);
            }
        }
    }
}
