//! NEON as every aarch64 has it: bytes and weights are widened to 16 bits, `smull` and `smlal` add
//! two products, and a pairwise addition the other two.

use super::isa::{Addition, Isa, QUAD, Saturation};
use super::neon_sets::{Bytes, Sums, Weights, isa_of_neon, transposed, wide};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(super) struct Neon;

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn dot(sums: int32x4_t, bytes: uint8x16_t, weights: int8x16_t) -> int32x4_t {
    unsafe {
        let bytes = vreinterpretq_u16_u8(bytes);
        let even = vreinterpretq_s16_u16(vandq_u16(bytes, vdupq_n_u16(0xff)));
        let odd = vreinterpretq_s16_u16(vshrq_n_u16::<8>(bytes));
        let weights = vreinterpretq_s16_s8(weights);
        let even_weights = vshrq_n_s16::<8>(vshlq_n_s16::<8>(weights));
        let odd_weights = vshrq_n_s16::<8>(weights);
        let low = vmull_s16(vget_low_s16(even), vget_low_s16(even_weights));
        let low = vmlal_s16(low, vget_low_s16(odd), vget_low_s16(odd_weights));
        let high = vmull_high_s16(even, even_weights);
        let high = vmlal_high_s16(high, odd, odd_weights);
        vaddq_s32(sums, vpaddq_s32(low, high))
    }
}

isa_of_neon!(Neon, std::convert::identity, dot);
