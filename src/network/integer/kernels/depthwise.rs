//! Depthwise convolutions over rows in the order of columns: a lane is a channel, and a dot
//! product takes up to four taps of a kernel row at once.
//!
//! The taps of an output seldom start where a quad starts. Nothing is shifted: there is one copy
//! of the weights for each place in a quad where they can start, with zeros around them.

use super::blocks::BLOCK;
use super::isa::{Isa, LANES, QUAD, Saturation};

/// Rows of the largest kernel.
pub(crate) const MOST_TAPS: usize = 5;

/// What the plan knows of a depthwise step.
#[derive(Clone, Copy)]
pub(crate) struct Taps<'a> {
    /// Side of the kernel: 3 or 5.
    pub(crate) side: usize,
    /// 1 or 2.
    pub(crate) stride: usize,
    /// Column of a row's first quad at which the taps of output 0 start: 0..=3.
    pub(crate) start: usize,
    pub(crate) groups: usize,
    /// [`packed_blocks`] blocks a group.
    pub(crate) weights: &'a [u8],
    pub(crate) bias: &'a [i32],
    pub(crate) factors: &'a [f32],
    pub(crate) saturation: Saturation,
}

/// Places in a quad at which taps can start: the outputs of a quad share these.
pub(crate) const fn places(stride: usize) -> usize {
    if stride == 1 { QUAD } else { QUAD / 2 }
}

/// Quads that the taps of output `place` touch.
pub(crate) const fn touched(side: usize, stride: usize, start: usize, place: usize) -> usize {
    ((start + stride * place) % QUAD + side).div_ceil(QUAD)
}

/// Blocks of weights a group.
pub(crate) const fn packed_blocks(side: usize, stride: usize, start: usize) -> usize {
    let (mut blocks, mut place) = (0, 0);
    while place < places(stride) {
        blocks += side * touched(side, stride, start, place);
        place += 1;
    }
    blocks
}

/// Quads of an input row that `quads` quads of outputs read.
pub(crate) const fn read_quads(side: usize, stride: usize, start: usize, quads: usize) -> usize {
    let last = start + stride * (QUAD * quads - 1) + side - 1;
    last / QUAD + 1
}

impl Taps<'_> {
    /// Panics when a table is shorter than the groups want, with `bytes` bytes a block of weights, or the
    /// geometry is none of those that [`row`] knows.
    pub(super) fn check(&self, bytes: usize) {
        assert!(matches!((self.side, self.stride), (3 | 5, 1 | 2)) && self.start < QUAD);
        // Padding is narrower than the kernel, so no three taps start at column 1.
        assert!((self.side, self.start) != (3, 1), "start");
        let blocks = packed_blocks(self.side, self.stride, self.start);
        assert!(
            self.weights.len() >= self.groups * blocks * bytes,
            "weights"
        );
        assert!(self.bias.len() >= self.groups * LANES, "biases");
        assert!(self.factors.len() >= self.groups * LANES, "factors");
    }
}

/// One row of outputs, in the order of channels: by group, then by quad.
///
/// # Safety
/// The processor has the set; `taps` was checked; each of the first `side` of `rows` has `groups`
/// times `row_stride` bytes behind it, which is at least [`read_quads`] blocks; `to` has `groups`
/// times `quads` blocks.
#[inline(always)]
pub(super) unsafe fn row<I: Isa, const QUADS: usize>(
    rows: &[*const u8; MOST_TAPS],
    row_stride: usize,
    quads: usize,
    taps: &Taps<'_>,
    to: *mut u8,
) {
    macro_rules! run {
        ($side:literal, $stride:literal, $start:literal) => {
            geometry::<I, $side, $stride, $start, QUADS>(rows, row_stride, quads, taps, to)
        };
    }
    // SAFETY: the geometry is the one that `taps` was checked for.
    unsafe {
        match (taps.side, taps.stride, taps.start) {
            (3, 1, 0) => run!(3, 1, 0),
            (3, 1, 2) => run!(3, 1, 2),
            (3, 1, 3) => run!(3, 1, 3),
            (3, 2, 0) => run!(3, 2, 0),
            (3, 2, 2) => run!(3, 2, 2),
            (3, 2, 3) => run!(3, 2, 3),
            (5, 1, 0) => run!(5, 1, 0),
            (5, 1, 1) => run!(5, 1, 1),
            (5, 1, 2) => run!(5, 1, 2),
            (5, 1, 3) => run!(5, 1, 3),
            (5, 2, 0) => run!(5, 2, 0),
            (5, 2, 1) => run!(5, 2, 1),
            (5, 2, 2) => run!(5, 2, 2),
            _ => run!(5, 2, 3),
        }
    }
}

/// # Safety
/// As for [`row`].
#[inline(always)]
unsafe fn geometry<
    I: Isa,
    const SIDE: usize,
    const STRIDE: usize,
    const START: usize,
    const QUADS: usize,
>(
    rows: &[*const u8; MOST_TAPS],
    row_stride: usize,
    quads: usize,
    taps: &Taps<'_>,
    to: *mut u8,
) {
    let blocks = const { packed_blocks(SIDE, STRIDE, START) };
    // SAFETY: groups below `taps.groups`, quads below `quads`: within what the caller has.
    unsafe {
        for group in 0..taps.groups {
            let weights = taps
                .weights
                .as_ptr()
                .cast::<i8>()
                .add(group * blocks * I::WEIGHTS);
            let mut from = *rows;
            for row in from.iter_mut().take(SIDE) {
                *row = row.add(group * row_stride);
            }
            let bias = I::sums(taps.bias.as_ptr().add(group * LANES));
            let factors = I::factors(taps.factors.as_ptr().add(group * LANES));
            let to = to.add(group * quads * BLOCK);
            let mut quad = 0;
            while quad + QUADS <= quads {
                let sums = sums::<I, SIDE, STRIDE, START, QUADS>(&from, quad, weights, bias);
                for (q, sums) in sums.into_iter().enumerate() {
                    let packed = I::requantise(sums, factors, &taps.saturation);
                    I::store_channels(packed, to.add((quad + q) * BLOCK));
                }
                quad += QUADS;
            }
            while quad < quads {
                let [sums] = sums::<I, SIDE, STRIDE, START, 1>(&from, quad, weights, bias);
                let packed = I::requantise(sums, factors, &taps.saturation);
                I::store_channels(packed, to.add(quad * BLOCK));
                quad += 1;
            }
        }
    }
}

/// # Safety
/// As for [`row`], for `QUADS` quads from `quad` on of one group.
#[inline(always)]
unsafe fn sums<
    I: Isa,
    const SIDE: usize,
    const STRIDE: usize,
    const START: usize,
    const QUADS: usize,
>(
    rows: &[*const u8; MOST_TAPS],
    quad: usize,
    mut weights: *const i8,
    bias: I::Sums,
) -> [[I::Sums; QUAD]; QUADS] {
    // SAFETY: the last column read is the last tap of the last output, which `read_quads` counts.
    unsafe {
        let mut sums = [[bias; QUAD]; QUADS];
        for row in rows.iter().take(SIDE) {
            let from = row.add(quad * STRIDE * BLOCK);
            for place in 0..const { places(STRIDE) } {
                for k in 0..touched(SIDE, STRIDE, START, place) {
                    let block = I::weights(weights);
                    weights = weights.add(I::WEIGHTS);
                    for q in 0..QUADS {
                        for x in 0..QUAD {
                            if x % places(STRIDE) == place {
                                let at = STRIDE * q + (START + STRIDE * x) / QUAD + k;
                                let bytes = I::bytes(from.add(at * BLOCK));
                                sums[q][x] = I::dot(sums[q][x], bytes, block);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}
