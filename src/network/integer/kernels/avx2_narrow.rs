//! AVX2 for numbers of fewer bits: `vpmaddubsw`, whose sums of two products have 16 bits and saturate,
//! where [`Narrow`] says that they cannot. Two steps are added before they are widened, which is twice
//! the products per instruction that [`super::avx2`] has.

use super::blocks::BLOCK;
use super::isa::{Addition, Isa, QUAD, Saturation};
use super::narrow::Narrow;
use super::ymm::{Pair, isa_of_ymm, quarters, transposed};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx2Narrow;

/// Bytes to 127, and 258 for the row's four that share a sum: 127 * 258 is below 2^15. A step alone has
/// two of the four.
pub(super) const NARROW: Narrow = Narrow {
    byte: 127,
    four: Some(258),
};

/// # Safety
/// The processor has AVX2, and a block of weights can be read.
#[inline(always)]
unsafe fn weights(from: *const i8) -> Pair {
    unsafe { Avx2Narrow::bytes(from.cast()) }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn dot(sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i {
    unsafe {
        let products = _mm256_maddubs_epi16(bytes, weights);
        let ones = _mm256_set1_epi16(1);
        _mm256_add_epi32(sums, _mm256_madd_epi16(products, ones))
    }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn dot_two(
    sums: __m256i,
    first: __m256i,
    second: __m256i,
    weights: [__m256i; 2],
) -> __m256i {
    unsafe {
        let first = _mm256_maddubs_epi16(first, weights[0]);
        let second = _mm256_maddubs_epi16(second, weights[1]);
        let ones = _mm256_set1_epi16(1);
        let products = _mm256_add_epi16(first, second);
        _mm256_add_epi32(sums, _mm256_madd_epi16(products, ones))
    }
}

isa_of_ymm!(Avx2Narrow, Pair, BLOCK, weights, dot, {
    const TWO_STEPS: bool = true;

    #[inline(always)]
    unsafe fn dot_two(sums: Pair, bytes: [Pair; 2], weights: [Pair; 2]) -> Pair {
        unsafe {
            let halves = [
                [weights[0][0], weights[1][0]],
                [weights[0][1], weights[1][1]],
            ];
            [
                dot_two(sums[0], bytes[0][0], bytes[1][0], halves[0]),
                dot_two(sums[1], bytes[0][1], bytes[1][1], halves[1]),
            ]
        }
    }
});
