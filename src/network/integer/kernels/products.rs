//! Sums of products as they are, for what is not a network: vectors against the rows of a bank.

use super::Kernel;
use super::isa::{Isa, LANES, QUAD};
use super::narrow::Narrow;
use super::portable::Portable;
use std::marker::PhantomData;

/// Rows of a bank in panels of [`LANES`]: for each step of [`QUAD`] dimensions one block, which
/// has four bytes of each row, laid out for the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) steps: usize,
    pub(crate) weights: &'a [u8],
    /// What a row's sum starts with.
    pub(crate) bias: &'a [i32],
}

/// The products of a few vectors and a few panels at once: as many as the registers hold.
pub(crate) trait Tile {
    /// Vectors.
    const CELLS: usize;
    /// Panels.
    const PANELS: usize;
    /// Whether the set has a fused multiplication and addition of f32.
    const FUSED: bool;

    /// The sums of [`Tile::CELLS`] vectors, `stride` bytes apart, with [`Tile::PANELS`] panels
    /// from `panel` on: by vector, then by panel.
    ///
    /// Panics when a buffer is too short.
    fn products(
        rows: &Panels<'_>,
        panel: usize,
        bytes: &[u8],
        stride: usize,
        sums: &mut [[i32; LANES]],
    );
}

/// Work that is compiled for every instruction set. Mark `run` `#[inline(always)]`.
pub(crate) trait Task {
    type Output;
    fn run<T: Tile>(self) -> Self::Output;
}

/// A multiple of every tile's panels.
pub(crate) const PANELS: usize = 3;
/// Most sums of a tile's vectors and [`PANELS`] panels.
pub(crate) const MOST_SUMS: usize = 24;

struct Of<I, const C: usize, const P: usize, const FUSED: bool>(PhantomData<I>);

impl<I: Isa, const C: usize, const P: usize, const F: bool> Tile for Of<I, C, P, F> {
    const CELLS: usize = C;
    const PANELS: usize = P;
    const FUSED: bool = F;

    #[inline(always)]
    fn products(
        rows: &Panels<'_>,
        panel: usize,
        bytes: &[u8],
        stride: usize,
        sums: &mut [[i32; LANES]],
    ) {
        const {
            assert!(C * PANELS <= MOST_SUMS && PANELS.is_multiple_of(P));
            assert!(size_of::<I::Sums>() == size_of::<[i32; LANES]>());
        }
        assert!(
            rows.weights.len() >= (panel + P) * rows.steps * I::WEIGHTS,
            "weights"
        );
        assert!(rows.bias.len() >= (panel + P) * LANES, "biases");
        assert!(
            rows.steps * QUAD <= stride && bytes.len() >= C * stride,
            "bytes"
        );
        assert!(sums.len() >= C * P, "sums");
        // SAFETY: the set was detected before its task was started. Four bytes a step are read of
        // `C` vectors, a block a step of `P` panels from `panel` on, sixteen biases a panel, and
        // `C * P` times sixteen sums written: asserted above.
        unsafe {
            let bias = rows.bias.as_ptr().add(panel * LANES);
            let mut held = [[I::sums(bias); P]; C];
            for p in 1..P {
                let start = I::sums(bias.add(p * LANES));
                for c in 0..C {
                    held[c][p] = start;
                }
            }
            let panel_bytes = rows.steps * I::WEIGHTS;
            let mut weights = rows.weights.as_ptr().cast::<i8>().add(panel * panel_bytes);
            let mut from = bytes.as_ptr();
            let mut steps = rows.steps;
            while I::TWO_STEPS && steps >= 2 {
                let mut columns = [[I::weights(weights), I::weights(weights.add(I::WEIGHTS))]; P];
                for p in 1..P {
                    let weights = weights.add(p * panel_bytes);
                    columns[p] = [I::weights(weights), I::weights(weights.add(I::WEIGHTS))];
                }
                for c in 0..C {
                    let from = from.add(c * stride);
                    let spread = [I::spread(from), I::spread(from.add(QUAD))];
                    for p in 0..P {
                        held[c][p] = I::dot_two(held[c][p], spread, columns[p]);
                    }
                }
                weights = weights.add(2 * I::WEIGHTS);
                from = from.add(2 * QUAD);
                steps -= 2;
            }
            for _ in 0..steps {
                let mut columns = [I::weights(weights); P];
                for p in 1..P {
                    columns[p] = I::weights(weights.add(p * panel_bytes));
                }
                for c in 0..C {
                    let spread = I::spread(from.add(c * stride));
                    for p in 0..P {
                        held[c][p] = I::dot(held[c][p], spread, columns[p]);
                    }
                }
                weights = weights.add(I::WEIGHTS);
                from = from.add(QUAD);
            }
            let to = sums.as_mut_ptr();
            for c in 0..C {
                for p in 0..P {
                    to.add(c * P + p)
                        .cast::<I::Sums>()
                        .write_unaligned(held[c][p]);
                }
            }
        }
    }
}

/// Compiles a task for one instruction set: tiles of `$cells` vectors by `$panels` panels, which
/// is what its registers hold.
macro_rules! compiled {
    ($name:ident, $set:ty, $features:literal, $cells:literal, $panels:literal, $fused:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<T: Task>(task: T) -> T::Output {
            task.run::<Of<$set, $cells, $panels, $fused>>()
        }
    };
}

#[cfg(target_arch = "x86_64")]
compiled!(on_sse41, super::sse41::Sse41, "sse4.1", 2, 1, false);
#[cfg(target_arch = "x86_64")]
compiled!(
    on_sse41_narrow,
    super::sse41_narrow::Sse41Narrow,
    "sse4.1",
    2,
    1,
    false
);
#[cfg(target_arch = "x86_64")]
compiled!(on_avx2, super::avx2::Avx2, "avx2", 4, 1, false);
#[cfg(target_arch = "x86_64")]
compiled!(
    on_avx2_narrow,
    super::avx2_narrow::Avx2Narrow,
    "avx2,fma",
    4,
    1,
    true
);
#[cfg(target_arch = "x86_64")]
compiled!(
    on_avxvnni,
    super::avxvnni::AvxVnni,
    "avx2,avxvnni",
    4,
    1,
    false
);
#[cfg(target_arch = "x86_64")]
compiled!(
    on_avx512vnni,
    super::avx512vnni::Avx512Vnni,
    "avx512f,avx512bw,avx512vnni",
    8,
    3,
    true
);
#[cfg(target_arch = "aarch64")]
compiled!(on_neon, super::neon::Neon, "neon", 4, 1, true);
#[cfg(target_arch = "aarch64")]
compiled!(
    on_dotprod,
    super::dotprod::Dotprod,
    "neon,dotprod",
    4,
    1,
    true
);

impl Kernel {
    /// Whether a search is faster in bytes than in f32: arrays lose, and so far it was not measured
    /// on NEON without dot products.
    pub(crate) fn searches_in_bytes(self) -> bool {
        match self {
            Kernel::Portable => false,
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse41 | Kernel::Avx2 | Kernel::AvxVnni | Kernel::Avx512Vnni => true,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => false,
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => true,
        }
    }

    /// What [`Kernel::run_narrow`] wants.
    pub(crate) fn narrow(self) -> Narrow {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse41 | Kernel::Avx2 => super::avx2_narrow::NARROW,
            _ => Narrow {
                byte: u8::MAX,
                four: None,
            },
        }
    }

    /// Runs `task` where all numbers are within [`Kernel::narrow`]; blocks of weights have
    /// `BLOCK` bytes, as they are.
    pub(crate) fn run_narrow<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel is chosen only where it was detected.
            Kernel::Sse41 => unsafe { on_sse41_narrow(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kernel::Avx2 => unsafe { on_avx2_narrow(task) },
            _ => self.run(task),
        }
    }

    /// Runs `task`.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: a kernel is chosen only where it was detected.
        unsafe {
            match self {
                Kernel::Portable => task.run::<Of<Portable, 4, 1, false>>(),
                #[cfg(target_arch = "x86_64")]
                Kernel::Sse41 => on_sse41(task),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx2 => on_avx2(task),
                #[cfg(target_arch = "x86_64")]
                Kernel::AvxVnni => on_avxvnni(task),
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512Vnni => on_avx512vnni(task),
                #[cfg(target_arch = "aarch64")]
                Kernel::Neon => on_neon(task),
                #[cfg(target_arch = "aarch64")]
                Kernel::Dotprod => on_dotprod(task),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BLOCK, Blocks};
    use super::*;
    use crate::seed::Rng;

    /// Rows, vectors and what their sums are.
    struct Case {
        steps: usize,
        weights: Blocks,
        bytes: Vec<u8>,
        want: Vec<[i32; LANES]>,
    }

    /// Numbers at the limits of `narrow`, where sums of 16 bits would saturate first.
    fn case(rng: &mut Rng, narrow: Narrow, offset: i32) -> Case {
        const CELLS: usize = 8;
        let d = 1 + rng.below(70);
        let steps = d.div_ceil(QUAD);
        let mut weights = Blocks::filled(PANELS * steps * BLOCK, 0);
        let bytes: Vec<u8> = (0..CELLS * steps * QUAD)
            .map(|_| match rng.below(4) {
                0 => rng.below(usize::from(narrow.byte) + 1) as u8,
                _ => narrow.byte,
            })
            .collect();
        let mut want = vec![[0; LANES]; CELLS * PANELS];
        for row in 0..PANELS * LANES {
            let mut left = vec![narrow.four.unwrap_or(4 * 127); Narrow::group(d) + 2];
            let sign = [1, -1][rng.below(2)];
            for k in 0..d {
                let most = left[Narrow::group(k)].min(127);
                let size = match rng.below(3) {
                    0 => rng.below(most as usize + 1) as i32,
                    _ => most,
                };
                left[Narrow::group(k)] -= size;
                let (panel, lane) = (row / LANES, row % LANES);
                let at = (panel * steps + k / QUAD) * BLOCK + lane * QUAD + k % QUAD;
                weights.bytes_mut()[at] = (sign * size) as u8;
                for cell in 0..CELLS {
                    let byte = i32::from(bytes[cell * steps * QUAD + k]) - offset;
                    want[cell * PANELS + panel][lane] += byte * sign * size;
                }
            }
        }
        Case {
            steps,
            weights,
            bytes,
            want,
        }
    }

    struct Products<'a>(&'a Case);

    impl Task for Products<'_> {
        type Output = ();

        #[inline(always)]
        fn run<T: Tile>(self) {
            let case = self.0;
            let stride = case.steps * QUAD;
            let rows = Panels {
                steps: case.steps,
                weights: case.weights.bytes(),
                bias: &[0; PANELS * LANES],
            };
            for panel in (0..PANELS).step_by(T::PANELS) {
                let mut sums = [[0; LANES]; MOST_SUMS];
                T::products(&rows, panel, &case.bytes, stride, &mut sums);
                for c in 0..T::CELLS {
                    for p in 0..T::PANELS {
                        let want = case.want[c * PANELS + panel + p];
                        assert_eq!(sums[c * T::PANELS + p], want, "{} steps", case.steps);
                    }
                }
            }
        }
    }

    #[test]
    fn narrow_sums_are_exact_at_their_limits() {
        let mut rng = Rng::new(9);
        for kernel in Kernel::available() {
            for _ in 0..200 {
                let case = case(&mut rng, kernel.narrow(), kernel.offset());
                kernel.run_narrow(Products(&case));
            }
        }
    }
}
