//! The integer engine's kernels: one portable reference, and one for each instruction set, which
//! give the same bytes.
//!
//! The loops are written once ([`tiles`], [`depthwise`], [`rows`]) over the primitives of
//! [`isa::Isa`] and compiled for every set. This folder is where the engine's `unsafe` is: vector
//! loads and stores in loops whose bounds are asserted once a band, before the first of them.

#![allow(unsafe_code)]
// Indices are lanes and taps, and loops over them are unrolled.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod blocks;
mod depthwise;
mod isa;
mod portable;
mod products;
mod rows;
mod tiles;

pub(crate) use blocks::{BLOCK, Blocks};
pub(crate) use depthwise::{MOST_TAPS, Taps, packed_blocks, places, read_quads, touched};
pub(crate) use isa::{Addition, LANES, QUAD, Saturation};
pub(crate) use portable::sum_of_bytes;
pub(crate) use products::{MOST_SUMS, PANELS, Panels, Task, Tile};
pub(crate) use rows::{Block, Dense, Lines, Other, Source, Wide, Window};
pub(crate) use tiles::{Filter, Operand};

use std::ops::Range;

/// The instruction set that integer networks run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Whatever the compiler makes of arrays.
    Portable,
    /// x86-64 with AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Kernel {
    /// Every kernel that this processor can run, fastest first.
    pub fn available() -> Vec<Kernel> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
            found.push(Kernel::Avx512Vnni);
        }
        found.push(Kernel::Portable);
        found
    }

    /// What is added to the bytes before they are multiplied, times minus one; the plan makes up
    /// for it in the biases.
    pub(crate) fn offset(self) -> i32 {
        0
    }

    /// Output rows `rows` of a convolution, into `output`, which starts with the first of them.
    pub(crate) fn dense(self, dense: &Dense<'_>, rows: Range<usize>, output: &mut [u8]) {
        dense.check(&rows, output);
        // SAFETY: checked above, and a kernel exists only where it was detected.
        unsafe {
            match self {
                Kernel::Portable => rows::dense::<portable::Portable, 1, 1>(dense, rows, output),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni => x86::dense_avx512vnni(dense, rows, output),
            }
        }
    }

    /// Output rows `rows` of a block, into `output`, which starts with the first of them.
    pub(crate) fn block(
        self,
        block: &Block<'_>,
        rows: Range<usize>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        block.check(&rows, output, scratch);
        // SAFETY: checked above, and a kernel exists only where it was detected.
        unsafe {
            match self {
                Kernel::Portable => {
                    rows::block::<portable::Portable, 1, 1, 1>(block, rows, output, scratch);
                }
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni => x86::block_avx512vnni(block, rows, output, scratch),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::avx512vnni::Avx512Vnni;
    use super::rows::{self, Block, Dense};
    use std::ops::Range;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn dense_avx512vnni(d: &Dense<'_>, rows: Range<usize>, to: &mut [u8]) {
        unsafe { rows::dense::<Avx512Vnni, 2, 3>(d, rows, to) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn block_avx512vnni(
        b: &Block<'_>,
        rows: Range<usize>,
        to: &mut [u8],
        scratch: &mut [u8],
    ) {
        unsafe { rows::block::<Avx512Vnni, 2, 3, 2>(b, rows, to, scratch) }
    }
}
