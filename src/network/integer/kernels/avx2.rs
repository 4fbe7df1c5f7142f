//! AVX2: bytes are widened to 16 bits and multiplied by `vpmaddwd`, because `vpmaddubsw` saturates. The
//! weights are widened when they are packed.

use super::blocks::BLOCK;
use super::isa::{Addition, Isa, QUAD, Saturation};
use super::ymm::{Pair, isa_of_ymm, quarters, transposed};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// Bytes of a block of weights: for each half of the lanes, those of the even taps and of the odd taps in
/// 16 bits each.
pub(super) const WEIGHTS: usize = 2 * BLOCK;

/// Writes a block of weights as [`WEIGHTS`] bytes.
pub(super) fn lay_out(block: &[u8], to: &mut [u8]) {
    for (at, &weight) in block.iter().enumerate() {
        let (lane, tap) = (at / QUAD, at % QUAD);
        let (half, lane) = (lane / 8, lane % 8);
        let place = 64 * half + 32 * (tap % 2) + 4 * lane + 2 * (tap / 2);
        let wide = i16::from(weight as i8);
        to[place..place + 2].copy_from_slice(&wide.to_le_bytes());
    }
}

/// The weights of the even and of the odd taps of eight lanes.
type Wide = [__m256i; 2];

/// # Safety
/// The processor has AVX2, and [`WEIGHTS`] bytes can be read.
#[inline(always)]
unsafe fn wide(from: *const i8) -> [Wide; 2] {
    unsafe {
        let low = [
            _mm256_loadu_si256(from.cast()),
            _mm256_loadu_si256(from.add(32).cast()),
        ];
        let high = [
            _mm256_loadu_si256(from.add(64).cast()),
            _mm256_loadu_si256(from.add(96).cast()),
        ];
        [low, high]
    }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn dot(sums: __m256i, bytes: __m256i, weights: Wide) -> __m256i {
    unsafe {
        let even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff));
        let odd = _mm256_srli_epi16::<8>(bytes);
        let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, weights[0]));
        _mm256_add_epi32(sums, _mm256_madd_epi16(odd, weights[1]))
    }
}

isa_of_ymm!(Avx2, [Wide; 2], WEIGHTS, wide, dot);
