//! NEON with dot products: `sdot` multiplies signed by signed, so bytes are shifted by 128 and the
//! plan makes up for it in the biases. By inline assembly, because the intrinsics are not stable.

use super::isa::{Addition, Isa, QUAD, Saturation};
use super::neon_sets::{Bytes, Sums, Weights, isa_of_neon, transposed, wide};
use std::arch::aarch64::*;
use std::arch::asm;

/// What is subtracted from each byte.
pub(super) const OFFSET: i32 = 128;

#[derive(Clone, Copy)]
pub(super) struct Dotprod;

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn shifted(bytes: uint8x16_t) -> uint8x16_t {
    unsafe { veorq_u8(bytes, vdupq_n_u8(0x80)) }
}

/// # Safety
/// The processor has dot products.
#[inline(always)]
unsafe fn dot(sums: int32x4_t, bytes: uint8x16_t, weights: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: registers only; the caller vouches for the processor.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {bytes:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            bytes = in(vreg) bytes,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

isa_of_neon!(Dotprod, shifted, dot);
