//! Sixteen f32 lanes in four NEON registers.

// Which of these intrinsics are safe where NEON is always there depends on the compiler's version.
#![allow(unused_unsafe)]

use super::{LANES, Lanes};
use std::arch::aarch64::*;

/// Registers of a vector, and lanes of a register.
const PARTS: usize = 4;
const EACH: usize = LANES / PARTS;

type Vector = [float32x4_t; PARTS];

// SAFETY of every block below: NEON is part of every aarch64 processor; pointers come from references to
// arrays of exactly the length that is read or written.

#[inline(always)]
fn parts(of: impl Fn(usize) -> float32x4_t) -> Vector {
    [of(0), of(1), of(2), of(3)]
}

impl Lanes for Vector {
    type Index = [uint32x4_t; PARTS];
    const FUSED: bool = true;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        unsafe { [vdupq_n_f32(value); PARTS] }
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        parts(|p| unsafe { vld1q_f32(from.as_ptr().add(EACH * p)) })
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        for (p, part) in self.into_iter().enumerate() {
            unsafe { vst1q_f32(to.as_mut_ptr().add(EACH * p), part) }
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        parts(|p| unsafe { vfmaq_f32(addend[p], self[p], factor[p]) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        parts(|p| unsafe { vaddq_f32(self[p], other[p]) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        parts(|p| unsafe { vsubq_f32(self[p], other[p]) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        parts(|p| unsafe { vmulq_f32(self[p], other[p]) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        parts(|p| unsafe { vdivq_f32(self[p], other[p]) })
    }

    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        // Both give a NaN if either operand is one.
        parts(|p| unsafe { vminq_f32(high[p], vmaxq_f32(low[p], self[p])) })
    }

    #[inline(always)]
    fn index() -> Self::Index {
        unsafe { [vdupq_n_u32(0); PARTS] }
    }

    #[inline(always)]
    fn improve(self, best: &mut Self, index: &mut Self::Index, allowed: u16, panel: u32) {
        const BITS: [u32; EACH] = [1, 2, 4, 8];
        unsafe {
            let (bits, panel) = (vld1q_u32(BITS.as_ptr()), vdupq_n_u32(panel));
            for p in 0..PARTS {
                let word = vdupq_n_u32(u32::from(allowed) >> (EACH * p));
                let better = vandq_u32(vtstq_u32(word, bits), vcgtq_f32(self[p], best[p]));
                best[p] = vbslq_f32(better, self[p], best[p]);
                index[p] = vbslq_u32(better, panel, index[p]);
            }
        }
    }

    #[inline(always)]
    fn store_index(index: Self::Index, to: &mut [u32; LANES]) {
        for (p, part) in index.into_iter().enumerate() {
            unsafe { vst1q_u32(to.as_mut_ptr().add(EACH * p), part) }
        }
    }
}
