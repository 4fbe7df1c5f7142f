//! Sums of products as they are, for what is not a network: vectors against the rows of a bank.

use super::Kernel;
use super::isa::{Isa, LANES, QUAD};
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
            for _ in 0..rows.steps {
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
compiled!(on_avx2, super::avx2::Avx2, "avx2", 4, 1, false);
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
    /// Whether the set multiplies and adds bytes in one instruction.
    pub(crate) fn has_dot_products(self) -> bool {
        match self {
            Kernel::Portable => false,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => false,
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni | Kernel::Avx512Vnni => true,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => false,
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => true,
        }
    }

    /// Runs `task`.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: a kernel is chosen only where it was detected.
        unsafe {
            match self {
                Kernel::Portable => task.run::<Of<Portable, 4, 1, false>>(),
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
