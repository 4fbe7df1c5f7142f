//! What NEON with and without dot products has in common: a vector is four registers of 128 bits,
//! and all but the products is the same.

use super::isa::QUAD;
use std::arch::aarch64::*;

/// Lanes four by four.
pub(super) type Sums = [int32x4_t; QUAD];
pub(super) type Bytes = [uint8x16_t; QUAD];
pub(super) type Weights = [int8x16_t; QUAD];

/// The order of pixels from the order of channels, and back.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
pub(super) unsafe fn transposed(words: Bytes) -> Bytes {
    unsafe {
        let [a, b, c, d] = [
            vreinterpretq_u32_u8(words[0]),
            vreinterpretq_u32_u8(words[1]),
            vreinterpretq_u32_u8(words[2]),
            vreinterpretq_u32_u8(words[3]),
        ];
        let (ab, ab2) = (
            vreinterpretq_u64_u32(vtrn1q_u32(a, b)),
            vreinterpretq_u64_u32(vtrn2q_u32(a, b)),
        );
        let (cd, cd2) = (
            vreinterpretq_u64_u32(vtrn1q_u32(c, d)),
            vreinterpretq_u64_u32(vtrn2q_u32(c, d)),
        );
        [
            vreinterpretq_u8_u64(vtrn1q_u64(ab, cd)),
            vreinterpretq_u8_u64(vtrn1q_u64(ab2, cd2)),
            vreinterpretq_u8_u64(vtrn2q_u64(ab, cd)),
            vreinterpretq_u8_u64(vtrn2q_u64(ab2, cd2)),
        ]
    }
}

/// Sixteen bytes as sixteen i32.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
pub(super) unsafe fn wide(bytes: uint8x16_t) -> Sums {
    unsafe {
        let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
        [
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
            vreinterpretq_s32_u32(vmovl_high_u16(low)),
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
            vreinterpretq_s32_u32(vmovl_high_u16(high)),
        ]
    }
}

/// Implements [`super::isa::Isa`] for `$set`: `$dot` of four sums, sixteen bytes as `$ready` made
/// them when they were loaded, and sixteen weights.
macro_rules! isa_of_neon {
    ($set:ident, $ready:expr, $dot:expr) => {
        // SAFETY of the blocks below: the trait's contract gives the processor and the bytes
        // behind each pointer; no load or store wants an alignment above its element's, and the
        // elements of floats and sums are at whole multiples of theirs.
        impl Isa for $set {
            type Sums = Sums;
            type Bytes = Bytes;
            type Weights = Weights;
            type Factors = [float32x4_t; QUAD];
            /// In the order of channels.
            type Packed = Bytes;

            #[inline(always)]
            unsafe fn sums(from: *const i32) -> Sums {
                unsafe {
                    [
                        vld1q_s32(from),
                        vld1q_s32(from.add(4)),
                        vld1q_s32(from.add(8)),
                        vld1q_s32(from.add(12)),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn factors(from: *const f32) -> [float32x4_t; QUAD] {
                unsafe {
                    [
                        vld1q_f32(from),
                        vld1q_f32(from.add(4)),
                        vld1q_f32(from.add(8)),
                        vld1q_f32(from.add(12)),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> Weights {
                unsafe {
                    [
                        vld1q_s8(from),
                        vld1q_s8(from.add(16)),
                        vld1q_s8(from.add(32)),
                        vld1q_s8(from.add(48)),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> Bytes {
                unsafe {
                    [
                        $ready(vld1q_u8(from)),
                        $ready(vld1q_u8(from.add(16))),
                        $ready(vld1q_u8(from.add(32))),
                        $ready(vld1q_u8(from.add(48))),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn spread(from: *const u8) -> Bytes {
                unsafe {
                    let word = vdupq_n_u32(from.cast::<u32>().read_unaligned());
                    [$ready(vreinterpretq_u8_u32(word)); QUAD]
                }
            }

            #[inline(always)]
            unsafe fn dot(sums: Sums, bytes: Bytes, weights: Weights) -> Sums {
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
            unsafe fn rounded(mut sums: Sums, factors: [float32x4_t; QUAD]) -> Sums {
                unsafe {
                    for l in 0..QUAD {
                        sums[l] = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[l]), factors[l]));
                    }
                    sums
                }
            }

            #[inline(always)]
            unsafe fn pack(values: [Sums; QUAD], saturation: &Saturation) -> Bytes {
                unsafe {
                    let zero_point = vdupq_n_s16(i16::from(saturation.zero_point));
                    let low = vdupq_n_u8(saturation.low);
                    let high = vdupq_n_u8(saturation.high);
                    let mut packed = [low; QUAD];
                    for l in 0..QUAD {
                        let front = vqmovn_high_s32(vqmovn_s32(values[0][l]), values[1][l]);
                        let back = vqmovn_high_s32(vqmovn_s32(values[2][l]), values[3][l]);
                        let front = vqmovun_s16(vqaddq_s16(front, zero_point));
                        let bytes = vqmovun_high_s16(front, vqaddq_s16(back, zero_point));
                        packed[l] = vminq_u8(vmaxq_u8(bytes, low), high);
                    }
                    packed
                }
            }

            #[inline(always)]
            unsafe fn unpack(packed: Bytes) -> [Sums; QUAD] {
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
            unsafe fn widened(from: *const u8) -> Sums {
                unsafe { wide(vld1q_u8(from)) }
            }

            #[inline(always)]
            unsafe fn weighted(mut l: Sums, r: Sums, addition: &Addition) -> Sums {
                unsafe {
                    let left_zero = vdupq_n_s32(addition.left_zero.into());
                    let right_zero = vdupq_n_s32(addition.right_zero.into());
                    let (left, right) = (vdupq_n_f32(addition.left), vdupq_n_f32(addition.right));
                    for q in 0..QUAD {
                        let a = vmulq_f32(vcvtq_f32_s32(vsubq_s32(l[q], left_zero)), left);
                        let b = vmulq_f32(vcvtq_f32_s32(vsubq_s32(r[q], right_zero)), right);
                        l[q] = vcvtnq_s32_f32(vaddq_f32(a, b));
                    }
                    l
                }
            }

            #[inline(always)]
            unsafe fn from_channels(from: *const u8) -> Bytes {
                unsafe {
                    [
                        vld1q_u8(from),
                        vld1q_u8(from.add(16)),
                        vld1q_u8(from.add(32)),
                        vld1q_u8(from.add(48)),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn from_pixels(from: [*const u8; QUAD]) -> Bytes {
                unsafe {
                    transposed([
                        vld1q_u8(from[0]),
                        vld1q_u8(from[1]),
                        vld1q_u8(from[2]),
                        vld1q_u8(from[3]),
                    ])
                }
            }

            #[inline(always)]
            unsafe fn store_channels(packed: Bytes, to: *mut u8) {
                unsafe {
                    for l in 0..QUAD {
                        vst1q_u8(to.add(16 * l), packed[l]);
                    }
                }
            }

            #[inline(always)]
            unsafe fn store_columns(packed: Bytes, to: *mut u8) {
                const ORDER: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
                unsafe {
                    let order = vld1q_u8(ORDER.as_ptr());
                    for l in 0..QUAD {
                        vst1q_u8(to.add(16 * l), vqtbl1q_u8(packed[l], order));
                    }
                }
            }

            #[inline(always)]
            unsafe fn store_pixels(packed: Bytes, to: [*mut u8; QUAD]) {
                unsafe {
                    let pixels = transposed(packed);
                    for x in 0..QUAD {
                        vst1q_u8(to[x], pixels[x]);
                    }
                }
            }
        }
    };
}
pub(super) use isa_of_neon;
