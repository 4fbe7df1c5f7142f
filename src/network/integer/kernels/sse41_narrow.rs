//! SSE4.1 for numbers of fewer bits, as [`super::avx2_narrow`].

use super::blocks::BLOCK;
use super::isa::{Addition, Isa, QUAD, Saturation};
use super::xmm::{Four, isa_of_xmm, wide};
use super::ymm::transposed;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Sse41Narrow;

/// # Safety
/// The processor has SSE4.1, and a block of weights can be read.
#[inline(always)]
unsafe fn load(from: *const i8) -> Four {
    unsafe { Sse41Narrow::bytes(from.cast()) }
}

/// # Safety
/// The processor has SSE4.1.
#[inline(always)]
unsafe fn dot(sums: __m128i, bytes: __m128i, weights: __m128i) -> __m128i {
    unsafe {
        let products = _mm_maddubs_epi16(bytes, weights);
        _mm_add_epi32(sums, _mm_madd_epi16(products, _mm_set1_epi16(1)))
    }
}

/// # Safety
/// The processor has SSE4.1.
#[inline(always)]
unsafe fn dot_two(sums: __m128i, bytes: [__m128i; 2], weights: [__m128i; 2]) -> __m128i {
    unsafe {
        let first = _mm_maddubs_epi16(bytes[0], weights[0]);
        let second = _mm_maddubs_epi16(bytes[1], weights[1]);
        let products = _mm_add_epi16(first, second);
        _mm_add_epi32(sums, _mm_madd_epi16(products, _mm_set1_epi16(1)))
    }
}

isa_of_xmm!(Sse41Narrow, Four, BLOCK, load, dot, {
    const TWO_STEPS: bool = true;

    #[inline(always)]
    unsafe fn dot_two(mut sums: Four, bytes: [Four; 2], weights: [Four; 2]) -> Four {
        unsafe {
            for q in 0..QUAD {
                let (bytes, weights) = ([bytes[0][q], bytes[1][q]], [weights[0][q], weights[1][q]]);
                sums[q] = dot_two(sums[q], bytes, weights);
            }
            sums
        }
    }
});
