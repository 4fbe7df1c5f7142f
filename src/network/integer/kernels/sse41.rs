//! SSE4.1, for processors without AVX2 (many of the small ones in industrial computers): as
//! [`super::avx2`] with four registers of 128 bits where that has two of 256.

use super::blocks::BLOCK;
use super::isa::{Addition, Isa, QUAD, Saturation};
use super::xmm::{Four, isa_of_xmm, wide};
use super::ymm::transposed;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Sse41;

/// Bytes of a block of weights: for each quarter of the lanes, those of the even taps and of the odd taps
/// in 16 bits each.
pub(super) const WEIGHTS: usize = 2 * BLOCK;

/// Writes a block of weights as [`WEIGHTS`] bytes.
pub(super) fn lay_out(block: &[u8], to: &mut [u8]) {
    for (at, &weight) in block.iter().enumerate() {
        let (lane, tap) = (at / QUAD, at % QUAD);
        let (quarter, lane) = (lane / QUAD, lane % QUAD);
        let place = 32 * quarter + 16 * (tap % 2) + 4 * lane + 2 * (tap / 2);
        let wide = i16::from(weight as i8);
        to[place..place + 2].copy_from_slice(&wide.to_le_bytes());
    }
}

/// The weights of the even and of the odd taps of four lanes.
type Wide = [__m128i; 2];

/// # Safety
/// The processor has SSE4.1, and [`WEIGHTS`] bytes can be read.
#[inline(always)]
unsafe fn load(from: *const i8) -> [Wide; QUAD] {
    unsafe {
        let of = |at: usize| {
            [
                _mm_loadu_si128(from.add(at).cast()),
                _mm_loadu_si128(from.add(at + 16).cast()),
            ]
        };
        [of(0), of(32), of(64), of(96)]
    }
}

/// # Safety
/// The processor has SSE4.1.
#[inline(always)]
unsafe fn dot(sums: __m128i, bytes: __m128i, weights: Wide) -> __m128i {
    unsafe {
        let even = _mm_and_si128(bytes, _mm_set1_epi16(0xff));
        let odd = _mm_srli_epi16::<8>(bytes);
        let sums = _mm_add_epi32(sums, _mm_madd_epi16(even, weights[0]));
        _mm_add_epi32(sums, _mm_madd_epi16(odd, weights[1]))
    }
}

isa_of_xmm!(Sse41, [Wide; QUAD], WEIGHTS, load, dot);
