//! The reference: arrays, and what the compiler makes of them.

use super::isa::{Addition, Isa, LANES, QUAD, Saturation};

/// Added and taken away again: rounds to the nearest integer, halves to even; exact for
/// magnitudes below 2^22. A call of the library's function would be most of the time.
const ROUNDER: f32 = 12_582_912.0;

#[derive(Clone, Copy)]
pub(super) struct Portable;

/// The nearest integer. What lies outside of what any zero point can bring back into a byte may
/// become any other value outside.
#[inline(always)]
fn nearest(value: f32) -> i32 {
    ((value.clamp(-1024.0, 1024.0) + ROUNDER) - ROUNDER) as i32
}

// Calls, not copies, below: unrolled into the loops of every geometry, sixteen lanes at a time,
// these would be most of what the compiler has to do, and no faster.

#[inline(never)]
fn add_products(
    sums: &mut [i32; LANES],
    bytes: &[[u8; QUAD]; LANES],
    weights: &[[i8; QUAD]; LANES],
) {
    for lane in 0..LANES {
        let mut sum = sums[lane];
        for tap in 0..QUAD {
            let product = i32::from(bytes[lane][tap]) * i32::from(weights[lane][tap]);
            // On the way to a sum that fits, the parts need not.
            sum = sum.wrapping_add(product);
        }
        sums[lane] = sum;
    }
}

#[inline(never)]
fn multiply(sums: &mut [i32; LANES], factors: &[f32; LANES]) {
    for lane in 0..LANES {
        sums[lane] = nearest(sums[lane] as f32 * factors[lane]);
    }
}

#[inline(never)]
fn saturated(values: &[[i32; LANES]; QUAD], saturation: &Saturation) -> [[u8; LANES]; QUAD] {
    let (low, high) = (i32::from(saturation.low), i32::from(saturation.high));
    let zero_point = i32::from(saturation.zero_point);
    let mut packed = [[0; LANES]; QUAD];
    for pixel in 0..QUAD {
        for lane in 0..LANES {
            packed[pixel][lane] = (values[pixel][lane] + zero_point).max(low).min(high) as u8;
        }
    }
    packed
}

// SAFETY of the blocks below: reads and writes are of arrays as long as the trait says, through
// unaligned copies.
impl Isa for Portable {
    type Sums = [i32; LANES];
    type Bytes = [[u8; QUAD]; LANES];
    type Weights = [[i8; QUAD]; LANES];
    type Factors = [f32; LANES];
    type Packed = [[u8; LANES]; QUAD];

    #[inline(always)]
    unsafe fn sums(from: *const i32) -> Self::Sums {
        unsafe { from.cast::<Self::Sums>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn factors(from: *const f32) -> Self::Factors {
        unsafe { from.cast::<Self::Factors>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Weights {
        unsafe { from.cast::<Self::Weights>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Bytes {
        unsafe { from.cast::<Self::Bytes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn spread(from: *const u8) -> Self::Bytes {
        [unsafe { from.cast::<[u8; QUAD]>().read_unaligned() }; LANES]
    }

    #[inline(always)]
    unsafe fn dot(mut sums: Self::Sums, bytes: Self::Bytes, weights: Self::Weights) -> Self::Sums {
        add_products(&mut sums, &bytes, &weights);
        sums
    }

    #[inline(always)]
    unsafe fn rounded(mut sums: Self::Sums, factors: Self::Factors) -> Self::Sums {
        multiply(&mut sums, &factors);
        sums
    }

    #[inline(always)]
    unsafe fn pack(values: [Self::Sums; QUAD], saturation: &Saturation) -> Self::Packed {
        saturated(&values, saturation)
    }

    #[inline(always)]
    unsafe fn unpack(packed: Self::Packed) -> [Self::Sums; QUAD] {
        packed.map(|pixel| pixel.map(i32::from))
    }

    #[inline(always)]
    unsafe fn widened(from: *const u8) -> Self::Sums {
        unsafe { from.cast::<[u8; LANES]>().read_unaligned() }.map(i32::from)
    }

    #[inline(always)]
    unsafe fn weighted(mut l: Self::Sums, r: Self::Sums, addition: &Addition) -> Self::Sums {
        for lane in 0..LANES {
            let left = (l[lane] - i32::from(addition.left_zero)) as f32 * addition.left;
            let right = (r[lane] - i32::from(addition.right_zero)) as f32 * addition.right;
            l[lane] = nearest(left + right);
        }
        l
    }

    #[inline(always)]
    unsafe fn from_channels(from: *const u8) -> Self::Packed {
        let blocks = unsafe {
            from.cast::<[[[u8; QUAD]; QUAD]; LANES / QUAD]>()
                .read_unaligned()
        };
        let mut packed = [[0; LANES]; QUAD];
        for (four, pixels) in blocks.iter().enumerate() {
            for (pixel, channels) in pixels.iter().enumerate() {
                packed[pixel][QUAD * four..][..QUAD].copy_from_slice(channels);
            }
        }
        packed
    }

    #[inline(always)]
    unsafe fn from_pixels(from: [*const u8; QUAD]) -> Self::Packed {
        from.map(|pixel| unsafe { pixel.cast::<[u8; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store_channels(packed: Self::Packed, to: *mut u8) {
        let mut out = [[[0; QUAD]; QUAD]; LANES / QUAD];
        for (four, pixels) in out.iter_mut().enumerate() {
            for (pixel, channels) in pixels.iter_mut().enumerate() {
                channels.copy_from_slice(&packed[pixel][QUAD * four..][..QUAD]);
            }
        }
        unsafe {
            to.cast::<[[[u8; QUAD]; QUAD]; LANES / QUAD]>()
                .write_unaligned(out)
        }
    }

    #[inline(always)]
    unsafe fn store_columns(packed: Self::Packed, to: *mut u8) {
        let mut out = [[0; QUAD]; LANES];
        for (channel, pixels) in out.iter_mut().enumerate() {
            for (pixel, byte) in pixels.iter_mut().enumerate() {
                *byte = packed[pixel][channel];
            }
        }
        unsafe { to.cast::<[[u8; QUAD]; LANES]>().write_unaligned(out) }
    }

    #[inline(always)]
    unsafe fn store_pixels(packed: Self::Packed, to: [*mut u8; QUAD]) {
        for (pixel, to) in packed.into_iter().zip(to) {
            unsafe { to.cast::<[u8; LANES]>().write_unaligned(pixel) }
        }
    }
}

/// The byte of a sum of two bytes, as [`Isa::added`] has it.
pub(crate) fn sum_of_bytes(left: u8, right: u8, addition: &Addition) -> u8 {
    let l = (i32::from(left) - i32::from(addition.left_zero)) as f32 * addition.left;
    let r = (i32::from(right) - i32::from(addition.right_zero)) as f32 * addition.right;
    let s = &addition.saturation;
    let value = nearest(l + r) + i32::from(s.zero_point);
    value.max(i32::from(s.low)).min(i32::from(s.high)) as u8
}
