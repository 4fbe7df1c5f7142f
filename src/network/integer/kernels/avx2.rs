//! AVX2: bytes and weights are widened to 16 bits and multiplied by `vpmaddwd`, because
//! `vpmaddubsw` saturates.

use super::isa::{Addition, Isa, QUAD, Saturation};
use super::ymm::{Pair, isa_of_ymm, quarters, transposed};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn dot(sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i {
    unsafe {
        let even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff));
        let odd = _mm256_srli_epi16::<8>(bytes);
        let even_weights = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
        let odd_weights = _mm256_srai_epi16::<8>(weights);
        let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, even_weights));
        _mm256_add_epi32(sums, _mm256_madd_epi16(odd, odd_weights))
    }
}

isa_of_ymm!(Avx2, dot);
