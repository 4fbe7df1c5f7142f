//! AVX-512 with VNNI: a vector is a register, and `vpdpbusd` is the dot product.

use super::isa::{Addition, Isa, LANES, QUAD, Saturation};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni;

/// 128-bit lane by pixel becomes pixel by 128-bit lane, and back.
#[inline(always)]
unsafe fn transposed(words: __m512i) -> __m512i {
    unsafe {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, words)
    }
}

// SAFETY of the blocks below: the trait's contract gives the processor and the bytes behind each
// pointer; every access is unaligned.
impl Isa for Avx512Vnni {
    type Sums = __m512i;
    type Bytes = __m512i;
    type Weights = __m512i;
    type Factors = __m512;
    /// In the order of channels.
    type Packed = __m512i;

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn factors(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn spread(from: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sums: __m512i, bytes: __m512i, weights: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, bytes, weights) }
    }

    #[inline(always)]
    unsafe fn rounded(sums: __m512i, factors: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), factors)) }
    }

    #[inline(always)]
    unsafe fn pack(values: [__m512i; QUAD], saturation: &Saturation) -> __m512i {
        unsafe {
            let zero_point = _mm512_set1_epi16(i16::from(saturation.zero_point));
            let front = _mm512_packs_epi32(values[0], values[1]);
            let back = _mm512_packs_epi32(values[2], values[3]);
            let packed = _mm512_packus_epi16(
                _mm512_adds_epi16(front, zero_point),
                _mm512_adds_epi16(back, zero_point),
            );
            let packed = _mm512_max_epu8(packed, _mm512_set1_epi8(saturation.low as i8));
            _mm512_min_epu8(packed, _mm512_set1_epi8(saturation.high as i8))
        }
    }

    #[inline(always)]
    unsafe fn unpack(packed: __m512i) -> [__m512i; QUAD] {
        unsafe {
            let pixels = transposed(packed);
            [
                _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32::<0>(pixels)),
                _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32::<1>(pixels)),
                _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32::<2>(pixels)),
                _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32::<3>(pixels)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn widened(from: *const u8) -> __m512i {
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn weighted(l: __m512i, r: __m512i, addition: &Addition) -> __m512i {
        unsafe {
            let l = _mm512_sub_epi32(l, _mm512_set1_epi32(addition.left_zero.into()));
            let r = _mm512_sub_epi32(r, _mm512_set1_epi32(addition.right_zero.into()));
            let l = _mm512_mul_ps(_mm512_cvtepi32_ps(l), _mm512_set1_ps(addition.left));
            let r = _mm512_mul_ps(_mm512_cvtepi32_ps(r), _mm512_set1_ps(addition.right));
            _mm512_cvtps_epi32(_mm512_add_ps(l, r))
        }
    }

    #[inline(always)]
    unsafe fn from_channels(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn from_pixels(from: [*const u8; QUAD]) -> __m512i {
        unsafe {
            let pixels = _mm512_castsi128_si512(_mm_loadu_si128(from[0].cast()));
            let pixels = _mm512_inserti32x4::<1>(pixels, _mm_loadu_si128(from[1].cast()));
            let pixels = _mm512_inserti32x4::<2>(pixels, _mm_loadu_si128(from[2].cast()));
            let pixels = _mm512_inserti32x4::<3>(pixels, _mm_loadu_si128(from[3].cast()));
            transposed(pixels)
        }
    }

    #[inline(always)]
    unsafe fn store_channels(packed: __m512i, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), packed) }
    }

    #[inline(always)]
    unsafe fn store_columns(packed: __m512i, to: *mut u8) {
        unsafe {
            let order = _mm512_set4_epi32(0x0f0b_0703, 0x0e0a_0602, 0x0d09_0501, 0x0c08_0400);
            _mm512_storeu_si512(to.cast(), _mm512_shuffle_epi8(packed, order));
        }
    }

    #[inline(always)]
    unsafe fn store_pixels(packed: __m512i, to: [*mut u8; QUAD]) {
        const { assert!(LANES == 16) };
        unsafe {
            let pixels = transposed(packed);
            _mm_storeu_si128(to[0].cast(), _mm512_extracti32x4_epi32::<0>(pixels));
            _mm_storeu_si128(to[1].cast(), _mm512_extracti32x4_epi32::<1>(pixels));
            _mm_storeu_si128(to[2].cast(), _mm512_extracti32x4_epi32::<2>(pixels));
            _mm_storeu_si128(to[3].cast(), _mm512_extracti32x4_epi32::<3>(pixels));
        }
    }
}
