//! Sixteen f32 lanes on the registers of the processor, and the selection of its instruction set.
//!
//! A [`Task`] is written once over [`Lanes`] and compiled for every instruction set; [`run`] selects
//! one that was detected. Compilers do not vectorise these register-blocked loops by themselves (tried:
//! 20 times slower), hence the explicit types. The `unsafe` in this module is that selection and the
//! intrinsics, each called only after its set was detected.

#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod neon;

use std::sync::OnceLock;

/// Lanes of a vector; bits of an allowed-rows word.
pub const LANES: usize = 16;

/// The instruction set a task runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// x86-64 with AVX-512 F: one register per vector.
    Avx512,
    /// x86-64 with AVX2 and FMA: two registers per vector.
    Avx2,
    /// aarch64, where NEON is always there: four registers per vector.
    Neon,
    /// Plain arrays, as the compiler translates them.
    Portable,
}

impl Kernel {
    /// Every kernel that this processor can run, fastest first.
    pub fn available() -> Vec<Kernel> {
        #[allow(unused_mut)]
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                found.push(Kernel::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Kernel::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        found.push(Kernel::Neon);
        found.push(Kernel::Portable);
        found
    }

    /// The fastest kernel that this processor can run.
    pub fn best() -> Kernel {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Kernel::available()[0])
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Avx512 => "f32 avx512",
            Kernel::Avx2 => "f32 avx2+fma",
            Kernel::Neon => "f32 neon",
            Kernel::Portable => "f32 portable",
        }
    }
}

/// Sixteen f32 lanes.
pub trait Lanes: Copy {
    /// The bank panel from which each lane's best value came.
    type Index: Copy;
    /// Whether [`Lanes::mul_add`] rounds once.
    const FUSED: bool;
    /// `value` in all lanes.
    fn splat(value: f32) -> Self;
    /// Lanes from memory.
    fn load(from: &[f32; LANES]) -> Self;
    /// Lanes to memory.
    fn store(self, to: &mut [f32; LANES]);
    /// `self * factor + addend`, fused if the set has it.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// At least `low`, at most `high`; a NaN stays a NaN.
    fn clamp(self, low: Self, high: Self) -> Self;
    /// `self * other + addend`, rounded twice on every set: the same bits everywhere.
    #[inline(always)]
    fn mul_then_add(self, other: Self, addend: Self) -> Self {
        self.mul(other).add(addend)
    }
    /// All indices 0.
    fn index() -> Self::Index;
    /// In every lane where `self > best` and the lane's bit in `allowed` is set: `best` becomes `self`
    /// and `index` becomes `panel`.
    fn improve(self, best: &mut Self, index: &mut Self::Index, allowed: u16, panel: u32);
    /// Indices to memory.
    fn store_index(index: Self::Index, to: &mut [u32; LANES]);
}

/// Work that is compiled for every instruction set. Mark `run` `#[inline(always)]`.
pub trait Task {
    /// The result.
    type Output;
    /// The work; `CELLS` is how many accumulators of one vector the register file holds.
    fn run<L: Lanes, const CELLS: usize>(self) -> Self::Output;
}

/// Accumulators that fit beside the operands: 12 of 32 registers, 6 x 2 of 16, 6 x 4 of 32.
const CELLS_AVX512: usize = 12;
const CELLS_AVX2: usize = 6;
const CELLS_NEON: usize = 6;
const CELLS_PORTABLE: usize = 4;

/// Most accumulators that any kernel uses.
pub(crate) const MOST_CELLS: usize = 12;

/// The number of accumulators that `kernel` uses.
pub fn cells(kernel: Kernel) -> usize {
    match kernel {
        Kernel::Avx512 => CELLS_AVX512,
        Kernel::Avx2 => CELLS_AVX2,
        Kernel::Neon => CELLS_NEON,
        Kernel::Portable => CELLS_PORTABLE,
    }
}

/// Runs `task` on `kernel`.
///
/// # Panics
/// If the processor lacks the kernel.
pub fn run<T: Task>(kernel: Kernel, task: T) -> T::Output {
    assert!(
        kernel == Kernel::best() || Kernel::available().contains(&kernel),
        "this processor has no {}",
        kernel.name()
    );
    match kernel {
        // SAFETY: `available` detected the set.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => unsafe { x86::avx512(task) },
        // SAFETY: `available` detected the set.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => unsafe { x86::avx2(task) },
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon => task.run::<[std::arch::aarch64::float32x4_t; 4], CELLS_NEON>(),
        _ => task.run::<[f32; LANES], CELLS_PORTABLE>(),
    }
}

impl Lanes for [f32; LANES] {
    type Index = [u32; LANES];
    const FUSED: bool = false;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        *from
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self;
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul_then_add(factor, addend)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] + other[l])
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] - other[l])
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] * other[l])
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] / other[l])
    }

    #[inline(always)]
    fn clamp(self, low: Self, high: Self) -> Self {
        std::array::from_fn(|l| self[l].clamp(low[l], high[l]))
    }

    #[inline(always)]
    fn index() -> Self::Index {
        [0; LANES]
    }

    #[inline(always)]
    fn improve(self, best: &mut Self, index: &mut Self::Index, allowed: u16, panel: u32) {
        for l in 0..LANES {
            let better = (self[l] > best[l]) & (allowed >> l & 1 == 1);
            best[l] = if better { self[l] } else { best[l] };
            index[l] = if better { panel } else { index[l] };
        }
    }

    #[inline(always)]
    fn store_index(index: Self::Index, to: &mut [u32; LANES]) {
        *to = index;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CELLS_AVX2, CELLS_AVX512, LANES, Lanes, Task};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512<T: Task>(task: T) -> T::Output {
        task.run::<__m512, CELLS_AVX512>()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<T: Task>(task: T) -> T::Output {
        task.run::<[__m256; 2], CELLS_AVX2>()
    }

    // SAFETY of every block below: the trait is only instantiated through the two functions
    // above, which run only where the set was detected; pointers come from references to arrays
    // of exactly the length that is read or written, and unaligned access is used throughout.

    impl Lanes for __m512 {
        type Index = __m512i;
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Self {
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; LANES]) {
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self) }
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, factor, addend) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            unsafe { _mm512_sub_ps(self, other) }
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            unsafe { _mm512_mul_ps(self, other) }
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            unsafe { _mm512_div_ps(self, other) }
        }

        #[inline(always)]
        fn clamp(self, low: Self, high: Self) -> Self {
            // These return their second operand if either is a NaN.
            unsafe { _mm512_min_ps(high, _mm512_max_ps(low, self)) }
        }

        #[inline(always)]
        fn index() -> Self::Index {
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        fn improve(self, best: &mut Self, index: &mut Self::Index, allowed: u16, panel: u32) {
            unsafe {
                let better = _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(allowed, self, *best);
                *best = _mm512_mask_mov_ps(*best, better, self);
                *index = _mm512_mask_mov_epi32(*index, better, _mm512_set1_epi32(panel as i32));
            }
        }

        #[inline(always)]
        fn store_index(index: Self::Index, to: &mut [u32; LANES]) {
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), index) }
        }
    }

    impl Lanes for [__m256; 2] {
        type Index = [__m256i; 2];
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            unsafe { [_mm256_set1_ps(value); 2] }
        }

        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Self {
            unsafe {
                [
                    _mm256_loadu_ps(from.as_ptr()),
                    _mm256_loadu_ps(from.as_ptr().add(8)),
                ]
            }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; LANES]) {
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), self[0]);
                _mm256_storeu_ps(to.as_mut_ptr().add(8), self[1]);
            }
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe {
                [
                    _mm256_fmadd_ps(self[0], factor[0], addend[0]),
                    _mm256_fmadd_ps(self[1], factor[1], addend[1]),
                ]
            }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe {
                [
                    _mm256_add_ps(self[0], other[0]),
                    _mm256_add_ps(self[1], other[1]),
                ]
            }
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            unsafe {
                [
                    _mm256_sub_ps(self[0], other[0]),
                    _mm256_sub_ps(self[1], other[1]),
                ]
            }
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            unsafe {
                [
                    _mm256_mul_ps(self[0], other[0]),
                    _mm256_mul_ps(self[1], other[1]),
                ]
            }
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            unsafe {
                [
                    _mm256_div_ps(self[0], other[0]),
                    _mm256_div_ps(self[1], other[1]),
                ]
            }
        }

        #[inline(always)]
        fn clamp(self, low: Self, high: Self) -> Self {
            // These return their second operand if either is a NaN.
            unsafe {
                [
                    _mm256_min_ps(high[0], _mm256_max_ps(low[0], self[0])),
                    _mm256_min_ps(high[1], _mm256_max_ps(low[1], self[1])),
                ]
            }
        }

        #[inline(always)]
        fn index() -> Self::Index {
            unsafe { [_mm256_setzero_si256(); 2] }
        }

        #[inline(always)]
        fn improve(self, best: &mut Self, index: &mut Self::Index, allowed: u16, panel: u32) {
            unsafe {
                let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                for half in 0..2 {
                    let word = _mm256_set1_epi32(i32::from(allowed >> (8 * half) & 0xff));
                    let lane_allowed = _mm256_cmpeq_epi32(_mm256_and_si256(word, bits), bits);
                    let higher = _mm256_cmp_ps::<_CMP_GT_OQ>(self[half], best[half]);
                    let better = _mm256_and_ps(higher, _mm256_castsi256_ps(lane_allowed));
                    best[half] = _mm256_blendv_ps(best[half], self[half], better);
                    index[half] = _mm256_castps_si256(_mm256_blendv_ps(
                        _mm256_castsi256_ps(index[half]),
                        _mm256_castsi256_ps(_mm256_set1_epi32(panel as i32)),
                        better,
                    ));
                }
            }
        }

        #[inline(always)]
        fn store_index(index: Self::Index, to: &mut [u32; LANES]) {
            unsafe {
                _mm256_storeu_si256(to.as_mut_ptr().cast(), index[0]);
                _mm256_storeu_si256(to.as_mut_ptr().add(8).cast(), index[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Everything {
        a: [f32; LANES],
        b: [f32; LANES],
        allowed: u16,
    }

    impl Task for Everything {
        type Output = ([f32; LANES], [f32; LANES], [u32; LANES]);

        #[inline(always)]
        fn run<L: Lanes, const CELLS: usize>(self) -> Self::Output {
            let (a, b) = (L::load(&self.a), L::load(&self.b));
            let mut sums = [0.0; LANES];
            let low = a.sub(b).mul_then_add(L::splat(3.0), b).div(b);
            low.clamp(L::splat(-2.0), L::splat(2.5))
                .add(b)
                .store(&mut sums);
            let (mut best, mut index) = (b, L::index());
            a.improve(&mut best, &mut index, self.allowed, 7);
            let (mut values, mut panels) = ([0.0; LANES], [0; LANES]);
            best.store(&mut values);
            L::store_index(index, &mut panels);
            (sums, values, panels)
        }
    }

    #[test]
    fn every_instruction_set_does_what_the_arrays_do() {
        let mut rng = crate::seed::Rng::new(12);
        for round in 0..200u16 {
            let mut draw = || std::array::from_fn(|_| rng.gaussian());
            let (mut a, b) = (draw(), draw());
            if round % 5 == 0 {
                a[usize::from(round) % LANES] = f32::NAN;
            }
            let allowed = round.wrapping_mul(40_503);
            let of = |kernel| run(kernel, Everything { a, b, allowed });
            let want = of(Kernel::Portable);
            for kernel in Kernel::available() {
                let got = of(kernel);
                let bits = |v: [f32; LANES]| v.map(f32::to_bits);
                assert!(
                    got.0
                        .iter()
                        .zip(&want.0)
                        .all(|(g, w)| g == w || g.is_nan() && w.is_nan())
                );
                assert_eq!((bits(got.1), got.2), (bits(want.1), want.2), "{kernel:?}");
            }
        }
    }
}
