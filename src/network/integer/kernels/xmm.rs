//! What the sets of SSE4.1 have in common: a vector is four registers of 128 bits, and all but the dot
//! product is the same.

use super::isa::QUAD;
use std::arch::x86_64::*;

/// Lanes four by four.
pub(super) type Four = [__m128i; QUAD];

/// Sixteen bytes as sixteen i32.
///
/// # Safety
/// The processor has SSE4.1.
#[inline(always)]
pub(super) unsafe fn wide(bytes: __m128i) -> Four {
    unsafe {
        [
            _mm_cvtepu8_epi32(bytes),
            _mm_cvtepu8_epi32(_mm_srli_si128::<4>(bytes)),
            _mm_cvtepu8_epi32(_mm_srli_si128::<8>(bytes)),
            _mm_cvtepu8_epi32(_mm_srli_si128::<12>(bytes)),
        ]
    }
}

/// Implements [`super::isa::Isa`] for `$set` with the dot product `$dot` of two `__m128i`. Blocks of weights
/// have `$bytes` bytes; `$load` reads one. `$own` is what the set does in its own way.
macro_rules! isa_of_xmm {
    ($set:ident, $weights:ty, $bytes:expr, $load:path, $dot:path) => {
        isa_of_xmm!($set, $weights, $bytes, $load, $dot, {});
    };
    ($set:ident, $weights:ty, $bytes:expr, $load:path, $dot:path, { $($own:item)* }) => {
        // SAFETY of the blocks below: the trait's contract gives the processor and the bytes
        // behind each pointer; every access is unaligned.
        impl Isa for $set {
            const WEIGHTS: usize = $bytes;
            $($own)*
            type Sums = Four;
            type Bytes = Four;
            type Weights = $weights;
            type Factors = [__m128; QUAD];
            /// In the order of channels.
            type Packed = Four;

            #[inline(always)]
            unsafe fn sums(from: *const i32) -> Four {
                unsafe { Self::bytes(from.cast()) }
            }

            #[inline(always)]
            unsafe fn factors(from: *const f32) -> [__m128; QUAD] {
                unsafe {
                    [
                        _mm_loadu_ps(from),
                        _mm_loadu_ps(from.add(4)),
                        _mm_loadu_ps(from.add(8)),
                        _mm_loadu_ps(from.add(12)),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> $weights {
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> Four {
                unsafe {
                    [
                        _mm_loadu_si128(from.cast()),
                        _mm_loadu_si128(from.add(16).cast()),
                        _mm_loadu_si128(from.add(32).cast()),
                        _mm_loadu_si128(from.add(48).cast()),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn spread(from: *const u8) -> Four {
                unsafe { [_mm_set1_epi32(from.cast::<i32>().read_unaligned()); QUAD] }
            }

            #[inline(always)]
            unsafe fn dot(sums: Four, bytes: Four, weights: $weights) -> Four {
                unsafe {
                    [
                        $dot(sums[0], bytes[0], weights[0]),
                        $dot(sums[1], bytes[1], weights[1]),
                        $dot(sums[2], bytes[2], weights[2]),
                        $dot(sums[3], bytes[3], weights[3]),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn rounded(mut sums: Four, factors: [__m128; QUAD]) -> Four {
                unsafe {
                    for q in 0..QUAD {
                        let value = _mm_mul_ps(_mm_cvtepi32_ps(sums[q]), factors[q]);
                        sums[q] = _mm_cvtps_epi32(value);
                    }
                    sums
                }
            }

            #[inline(always)]
            unsafe fn pack(values: [Four; QUAD], saturation: &Saturation) -> Four {
                unsafe {
                    let zero_point = _mm_set1_epi16(i16::from(saturation.zero_point));
                    let low = _mm_set1_epi8(saturation.low as i8);
                    let high = _mm_set1_epi8(saturation.high as i8);
                    let mut packed = values[0];
                    for q in 0..QUAD {
                        let front = _mm_packs_epi32(values[0][q], values[1][q]);
                        let back = _mm_packs_epi32(values[2][q], values[3][q]);
                        let bytes = _mm_packus_epi16(
                            _mm_adds_epi16(front, zero_point),
                            _mm_adds_epi16(back, zero_point),
                        );
                        packed[q] = _mm_min_epu8(_mm_max_epu8(bytes, low), high);
                    }
                    packed
                }
            }

            #[inline(always)]
            unsafe fn unpack(packed: Four) -> [Four; QUAD] {
                unsafe {
                    let pixels = transposed(packed);
                    [
                        wide(pixels[0]),
                        wide(pixels[1]),
                        wide(pixels[2]),
                        wide(pixels[3]),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn widened(from: *const u8) -> Four {
                unsafe { wide(_mm_loadu_si128(from.cast())) }
            }

            #[inline(always)]
            unsafe fn weighted(mut l: Four, r: Four, addition: &Addition) -> Four {
                unsafe {
                    let left_zero = _mm_set1_epi32(addition.left_zero.into());
                    let right_zero = _mm_set1_epi32(addition.right_zero.into());
                    let (left, right) = (_mm_set1_ps(addition.left), _mm_set1_ps(addition.right));
                    for q in 0..QUAD {
                        let l_value = _mm_cvtepi32_ps(_mm_sub_epi32(l[q], left_zero));
                        let r_value = _mm_cvtepi32_ps(_mm_sub_epi32(r[q], right_zero));
                        let value = _mm_add_ps(_mm_mul_ps(l_value, left), _mm_mul_ps(r_value, right));
                        l[q] = _mm_cvtps_epi32(value);
                    }
                    l
                }
            }

            #[inline(always)]
            unsafe fn from_channels(from: *const u8) -> Four {
                unsafe { Self::bytes(from) }
            }

            #[inline(always)]
            unsafe fn from_pixels(from: [*const u8; QUAD]) -> Four {
                unsafe {
                    transposed([
                        _mm_loadu_si128(from[0].cast()),
                        _mm_loadu_si128(from[1].cast()),
                        _mm_loadu_si128(from[2].cast()),
                        _mm_loadu_si128(from[3].cast()),
                    ])
                }
            }

            #[inline(always)]
            unsafe fn store_channels(packed: Four, to: *mut u8) {
                unsafe {
                    for q in 0..QUAD {
                        _mm_storeu_si128(to.add(16 * q).cast(), packed[q]);
                    }
                }
            }

            #[inline(always)]
            unsafe fn store_columns(packed: Four, to: *mut u8) {
                unsafe {
                    let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                    let mut columns = packed;
                    for q in 0..QUAD {
                        columns[q] = _mm_shuffle_epi8(packed[q], order);
                    }
                    Self::store_channels(columns, to);
                }
            }

            #[inline(always)]
            unsafe fn store_pixels(packed: Four, to: [*mut u8; QUAD]) {
                unsafe {
                    let pixels = transposed(packed);
                    for x in 0..QUAD {
                        _mm_storeu_si128(to[x].cast(), pixels[x]);
                    }
                }
            }
        }
    };
}
pub(super) use isa_of_xmm;
