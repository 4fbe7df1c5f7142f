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
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_narrow;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod blocks;
mod choice;
mod depthwise;
#[cfg(target_arch = "aarch64")]
mod dotprod;
mod isa;
mod narrow;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_sets;
mod portable;
mod products;
mod rows;
#[cfg(target_arch = "x86_64")]
mod sse41;
#[cfg(target_arch = "x86_64")]
mod sse41_narrow;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod xmm;
#[cfg(target_arch = "x86_64")]
mod ymm;

pub(crate) use blocks::{BLOCK, Blocks};
pub use choice::{Kernel, KernelError};
pub(crate) use depthwise::{Taps, packed_blocks, places, read_quads, touched};
pub(crate) use isa::{Addition, LANES, QUAD, Saturation};
pub(crate) use narrow::Narrow;
pub(crate) use portable::sum_of_bytes;
pub(crate) use products::{MOST_SUMS, PANELS, Panels, Task, Tile};
pub(crate) use rows::{Block, Dense, Lines, Other, Source, Wide, Window};
pub(crate) use tiles::{Filter, Operand};

use std::ops::Range;

/// Compiles the loops for one instruction set: tiles of `$quads` quads by `$groups` groups, and
/// depthwise sums of `$taps` quads, which is what its registers hold.
macro_rules! compiled {
    ($name:ident, $set:ty, $features:literal, $quads:literal, $groups:literal, $taps:literal) => {
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn dense(d: &Dense<'_>, rows: Range<usize>, to: &mut [u8]) {
                // SAFETY: the caller's.
                unsafe { rows::dense::<$set, $quads, $groups>(d, rows, to) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn block(
                b: &Block<'_>,
                rows: Range<usize>,
                to: &mut [u8],
                scratch: &mut [u8],
            ) {
                // SAFETY: the caller's.
                unsafe { rows::block::<$set, $quads, $groups, $taps>(b, rows, to, scratch) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
compiled!(on_sse41, sse41::Sse41, "sse4.1", 1, 1, 1);
#[cfg(target_arch = "x86_64")]
compiled!(on_avx2, avx2::Avx2, "avx2", 1, 1, 1);
#[cfg(target_arch = "x86_64")]
compiled!(on_avxvnni, avxvnni::AvxVnni, "avx2,avxvnni", 1, 1, 1);
#[cfg(target_arch = "x86_64")]
compiled!(
    on_avx512vnni,
    avx512vnni::Avx512Vnni,
    "avx512f,avx512bw,avx512vnni",
    2,
    3,
    2
);
#[cfg(target_arch = "aarch64")]
compiled!(on_neon, neon::Neon, "neon", 1, 1, 1);
#[cfg(target_arch = "aarch64")]
compiled!(on_dotprod, dotprod::Dotprod, "neon,dotprod", 1, 1, 1);

impl Kernel {
    /// Output rows `rows` of a convolution, into `output`, which starts with the first of them.
    pub(crate) fn dense(self, dense: &Dense<'_>, rows: Range<usize>, output: &mut [u8]) {
        dense.check(self.weight_bytes(), &rows, output);
        // SAFETY: checked above, and a kernel is chosen only where it was detected.
        unsafe {
            match self {
                Kernel::Portable => rows::dense::<portable::Portable, 1, 1>(dense, rows, output),
                #[cfg(target_arch = "x86_64")]
                Kernel::Sse41 => on_sse41::dense(dense, rows, output),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => on_avx2::dense(dense, rows, output),
                #[cfg(target_arch = "x86_64")]
                Kernel::AvxVnni => on_avxvnni::dense(dense, rows, output),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni => on_avx512vnni::dense(dense, rows, output),
                #[cfg(target_arch = "aarch64")]
                Kernel::Neon => on_neon::dense(dense, rows, output),
                #[cfg(target_arch = "aarch64")]
                Kernel::Dotprod => on_dotprod::dense(dense, rows, output),
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
        block.check(self.weight_bytes(), &rows, output, scratch);
        // SAFETY: checked above, and a kernel is chosen only where it was detected.
        unsafe {
            match self {
                Kernel::Portable => {
                    rows::block::<portable::Portable, 1, 1, 1>(block, rows, output, scratch);
                }
                #[cfg(target_arch = "x86_64")]
                Kernel::Sse41 => on_sse41::block(block, rows, output, scratch),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => on_avx2::block(block, rows, output, scratch),
                #[cfg(target_arch = "x86_64")]
                Kernel::AvxVnni => on_avxvnni::block(block, rows, output, scratch),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni => on_avx512vnni::block(block, rows, output, scratch),
                #[cfg(target_arch = "aarch64")]
                Kernel::Neon => on_neon::block(block, rows, output, scratch),
                #[cfg(target_arch = "aarch64")]
                Kernel::Dotprod => on_dotprod::block(block, rows, output, scratch),
            }
        }
    }
}
