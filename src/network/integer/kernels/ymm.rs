//! What AVX2 and AVX-VNNI have in common: a vector is two registers of 256 bits, and all but the
//! dot product is the same.

use super::isa::QUAD;
use std::arch::x86_64::*;

/// Lanes 0..8 and 8..16.
pub(super) type Pair = [__m256i; 2];

/// Four pixels of sixteen bytes in the order of pixels, from the order of channels, and back.
///
/// # Safety
/// The processor has SSE2.
#[inline(always)]
pub(super) unsafe fn transposed(words: [__m128i; QUAD]) -> [__m128i; QUAD] {
    unsafe {
        let low = _mm_unpacklo_epi32(words[0], words[1]);
        let high = _mm_unpackhi_epi32(words[0], words[1]);
        let low2 = _mm_unpacklo_epi32(words[2], words[3]);
        let high2 = _mm_unpackhi_epi32(words[2], words[3]);
        [
            _mm_unpacklo_epi64(low, low2),
            _mm_unpackhi_epi64(low, low2),
            _mm_unpacklo_epi64(high, high2),
            _mm_unpackhi_epi64(high, high2),
        ]
    }
}

/// The quarters of a packed block.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn quarters(packed: Pair) -> [__m128i; QUAD] {
    unsafe {
        [
            _mm256_castsi256_si128(packed[0]),
            _mm256_extracti128_si256::<1>(packed[0]),
            _mm256_castsi256_si128(packed[1]),
            _mm256_extracti128_si256::<1>(packed[1]),
        ]
    }
}

/// Implements [`super::isa::Isa`] for `$set` with the dot product `$dot` of two `__m256i`. Blocks of weights
/// have `$bytes` bytes; `$load` reads one. `$own` is what the set does in its own way.
macro_rules! isa_of_ymm {
    ($set:ident, $weights:ty, $bytes:expr, $load:path, $dot:path) => {
        isa_of_ymm!($set, $weights, $bytes, $load, $dot, {});
    };
    ($set:ident, $weights:ty, $bytes:expr, $load:path, $dot:path, { $($own:item)* }) => {
        // SAFETY of the blocks below: the trait's contract gives the processor and the bytes
        // behind each pointer; every access is unaligned.
        impl Isa for $set {
            const WEIGHTS: usize = $bytes;
            $($own)*
            type Sums = Pair;
            type Bytes = Pair;
            type Weights = $weights;
            type Factors = [__m256; 2];
            /// In the order of channels.
            type Packed = Pair;

            #[inline(always)]
            unsafe fn sums(from: *const i32) -> Pair {
                unsafe { Self::bytes(from.cast()) }
            }

            #[inline(always)]
            unsafe fn factors(from: *const f32) -> [__m256; 2] {
                unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> $weights {
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> Pair {
                unsafe {
                    [
                        _mm256_loadu_si256(from.cast()),
                        _mm256_loadu_si256(from.add(32).cast()),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn spread(from: *const u8) -> Pair {
                unsafe { [_mm256_set1_epi32(from.cast::<i32>().read_unaligned()); 2] }
            }

            #[inline(always)]
            unsafe fn dot(sums: Pair, bytes: Pair, weights: $weights) -> Pair {
                unsafe {
                    [
                        $dot(sums[0], bytes[0], weights[0]),
                        $dot(sums[1], bytes[1], weights[1]),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn rounded(sums: Pair, factors: [__m256; 2]) -> Pair {
                unsafe {
                    [
                        _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), factors[0])),
                        _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), factors[1])),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn pack(values: [Pair; QUAD], saturation: &Saturation) -> Pair {
                unsafe {
                    let zero_point = _mm256_set1_epi16(i16::from(saturation.zero_point));
                    let low = _mm256_set1_epi8(saturation.low as i8);
                    let high = _mm256_set1_epi8(saturation.high as i8);
                    let mut packed = values[0];
                    for half in 0..2 {
                        let front = _mm256_packs_epi32(values[0][half], values[1][half]);
                        let back = _mm256_packs_epi32(values[2][half], values[3][half]);
                        let bytes = _mm256_packus_epi16(
                            _mm256_adds_epi16(front, zero_point),
                            _mm256_adds_epi16(back, zero_point),
                        );
                        packed[half] = _mm256_min_epu8(_mm256_max_epu8(bytes, low), high);
                    }
                    packed
                }
            }

            #[inline(always)]
            unsafe fn unpack(packed: Pair) -> [Pair; QUAD] {
                unsafe {
                    let pixels = transposed(quarters(packed));
                    let mut wide = [packed; QUAD];
                    for x in 0..QUAD {
                        wide[x] = [
                            _mm256_cvtepu8_epi32(pixels[x]),
                            _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(pixels[x])),
                        ];
                    }
                    wide
                }
            }

            #[inline(always)]
            unsafe fn widened(from: *const u8) -> Pair {
                unsafe {
                    let bytes = _mm_loadu_si128(from.cast());
                    [
                        _mm256_cvtepu8_epi32(bytes),
                        _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes)),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn weighted(mut l: Pair, r: Pair, addition: &Addition) -> Pair {
                unsafe {
                    for half in 0..2 {
                        let zero = _mm256_set1_epi32(addition.left_zero.into());
                        let left = _mm256_cvtepi32_ps(_mm256_sub_epi32(l[half], zero));
                        let zero = _mm256_set1_epi32(addition.right_zero.into());
                        let right = _mm256_cvtepi32_ps(_mm256_sub_epi32(r[half], zero));
                        let left = _mm256_mul_ps(left, _mm256_set1_ps(addition.left));
                        let right = _mm256_mul_ps(right, _mm256_set1_ps(addition.right));
                        l[half] = _mm256_cvtps_epi32(_mm256_add_ps(left, right));
                    }
                    l
                }
            }

            #[inline(always)]
            unsafe fn from_channels(from: *const u8) -> Pair {
                unsafe { Self::bytes(from) }
            }

            #[inline(always)]
            unsafe fn from_pixels(from: [*const u8; QUAD]) -> Pair {
                unsafe {
                    let words = transposed([
                        _mm_loadu_si128(from[0].cast()),
                        _mm_loadu_si128(from[1].cast()),
                        _mm_loadu_si128(from[2].cast()),
                        _mm_loadu_si128(from[3].cast()),
                    ]);
                    [
                        _mm256_set_m128i(words[1], words[0]),
                        _mm256_set_m128i(words[3], words[2]),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn store_channels(packed: Pair, to: *mut u8) {
                unsafe {
                    _mm256_storeu_si256(to.cast(), packed[0]);
                    _mm256_storeu_si256(to.add(32).cast(), packed[1]);
                }
            }

            #[inline(always)]
            unsafe fn store_columns(packed: Pair, to: *mut u8) {
                unsafe {
                    let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(
                        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
                    ));
                    let columns = [
                        _mm256_shuffle_epi8(packed[0], order),
                        _mm256_shuffle_epi8(packed[1], order),
                    ];
                    Self::store_channels(columns, to);
                }
            }

            #[inline(always)]
            unsafe fn store_pixels(packed: Pair, to: [*mut u8; QUAD]) {
                unsafe {
                    let pixels = transposed(quarters(packed));
                    for x in 0..QUAD {
                        _mm_storeu_si128(to[x].cast(), pixels[x]);
                    }
                }
            }
        }
    };
}
pub(super) use isa_of_ymm;
