//! What an instruction set has to be able to do. The loops are written once over this, in
//! [`super::tiles`] and [`super::depthwise`].
//!
//! A vector has sixteen lanes of 32 bits. Four vectors, one for each of four neighbouring pixels
//! with sixteen channels each, become 64 bytes, a [`Isa::Packed`]. Its order in memory is one of
//! - *channels*: four channels by four channels, in each the four pixels, in each four channels.
//!   A dot product over channels finds its four bytes side by side: the projection reads this.
//! - *columns*: sixteen channels, in each the four pixels. A dot product over columns finds its
//!   bytes side by side: the depthwise convolution reads this.
//! - *pixels*: four times sixteen channels, apart from each other: tensors outside a block.

use super::blocks::BLOCK;

/// Channels of a block: lanes of a vector.
pub(crate) const LANES: usize = 16;
/// Pixels of a block, and bytes of a lane.
pub(crate) const QUAD: usize = 4;

/// How sums become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saturation {
    pub(crate) zero_point: u8,
    /// Least and most byte: what a Clip or a Relu before the rounding leaves of 0..=255.
    pub(crate) low: u8,
    pub(crate) high: u8,
}

/// How two bytes become the byte of their sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Addition {
    /// Scale of the left operand over that of the sum; `left` is what a step has just computed.
    pub(crate) left: f32,
    pub(crate) right: f32,
    pub(crate) left_zero: u8,
    pub(crate) right_zero: u8,
    pub(crate) saturation: Saturation,
}

/// Primitives of one instruction set.
///
/// # Safety
/// Of every function: the processor has the set, and each pointer can be read or written for the
/// bytes that its line names. No pointer needs an alignment.
#[allow(clippy::missing_safety_doc)] // said once, above
pub(crate) trait Isa: Copy {
    /// Bytes of a block of weights in the order in which the set reads them.
    const WEIGHTS: usize = BLOCK;
    /// Whether [`Isa::dot_two`] is faster than [`Isa::dot`] twice.
    const TWO_STEPS: bool = false;
    /// Sixteen i32.
    type Sums: Copy;
    /// Sixteen times four u8.
    type Bytes: Copy;
    /// Sixteen times four i8.
    type Weights: Copy;
    /// Sixteen f32.
    type Factors: Copy;
    /// Four pixels of sixteen u8.
    type Packed: Copy;

    /// 64 bytes.
    unsafe fn sums(from: *const i32) -> Self::Sums;
    /// 64 bytes.
    unsafe fn factors(from: *const f32) -> Self::Factors;
    /// [`Isa::WEIGHTS`] bytes.
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// 64 bytes.
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    /// 4 bytes, which every lane gets.
    unsafe fn spread(from: *const u8) -> Self::Bytes;
    /// Adds four products to each lane.
    unsafe fn dot(sums: Self::Sums, bytes: Self::Bytes, weights: Self::Weights) -> Self::Sums;
    /// Adds four products to each lane, and four more.
    #[inline(always)]
    unsafe fn dot_two(
        sums: Self::Sums,
        bytes: [Self::Bytes; 2],
        weights: [Self::Weights; 2],
    ) -> Self::Sums {
        // SAFETY: the caller's.
        unsafe { Self::dot(Self::dot(sums, bytes[0], weights[0]), bytes[1], weights[1]) }
    }
    /// Sums times factors, rounded to the nearest, halves to even.
    unsafe fn rounded(sums: Self::Sums, factors: Self::Factors) -> Self::Sums;
    /// Adds the zero point and saturates.
    unsafe fn pack(values: [Self::Sums; QUAD], saturation: &Saturation) -> Self::Packed;
    /// The pixels' bytes, widened.
    unsafe fn unpack(packed: Self::Packed) -> [Self::Sums; QUAD];
    /// 16 bytes, widened.
    unsafe fn widened(from: *const u8) -> Self::Sums;
    /// `(l - left_zero) * left + (r - right_zero) * right`, each operation rounded by itself, and
    /// the sum rounded as in [`Isa::rounded`].
    unsafe fn weighted(l: Self::Sums, r: Self::Sums, addition: &Addition) -> Self::Sums;
    /// 64 bytes in the order of channels.
    unsafe fn from_channels(from: *const u8) -> Self::Packed;
    /// Four times 16 bytes.
    unsafe fn from_pixels(from: [*const u8; QUAD]) -> Self::Packed;
    /// 64 bytes.
    unsafe fn store_channels(packed: Self::Packed, to: *mut u8);
    /// 64 bytes.
    unsafe fn store_columns(packed: Self::Packed, to: *mut u8);
    /// Four times 16 bytes.
    unsafe fn store_pixels(packed: Self::Packed, to: [*mut u8; QUAD]);

    /// Requantised sums of four pixels.
    #[inline(always)]
    unsafe fn requantise(
        sums: [Self::Sums; QUAD],
        factors: Self::Factors,
        saturation: &Saturation,
    ) -> Self::Packed {
        // SAFETY: no pointers; the caller vouches for the processor.
        unsafe {
            let values = [
                Self::rounded(sums[0], factors),
                Self::rounded(sums[1], factors),
                Self::rounded(sums[2], factors),
                Self::rounded(sums[3], factors),
            ];
            Self::pack(values, saturation)
        }
    }

    /// The sum with four pixels of another tensor, 16 bytes each.
    #[inline(always)]
    unsafe fn added(
        packed: Self::Packed,
        other: [*const u8; QUAD],
        addition: &Addition,
    ) -> Self::Packed {
        // SAFETY: the caller vouches for the processor and for 16 bytes behind each pointer.
        unsafe {
            let l = Self::unpack(packed);
            let values = [
                Self::weighted(l[0], Self::widened(other[0]), addition),
                Self::weighted(l[1], Self::widened(other[1]), addition),
                Self::weighted(l[2], Self::widened(other[2]), addition),
                Self::weighted(l[3], Self::widened(other[3]), addition),
            ];
            Self::pack(values, &addition.saturation)
        }
    }
}
