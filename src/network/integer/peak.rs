//! How fast this processor multiplies bytes at best: the yardstick for what a network reaches.

use super::kernels::{Blocks, Kernel, LANES, MOST_SUMS, PANELS, Panels, QUAD, Task, Tile};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Steps of [`QUAD`] products: with the panels' weights this stays in the smallest cache.
const STEPS: usize = 64;
const STRIDE: usize = STEPS * QUAD;
const MOST_CELLS: usize = 8;

/// Products per second of `kernel` on one thread, of a network or of a search: registers full, all data
/// in the first cache, the best of many short rounds within `time`.
pub(super) fn peak(kernel: Kernel, search: bool, time: Duration) -> f64 {
    let blocks = Blocks::filled(PANELS * LANES * STRIDE, 3);
    let weights = if search {
        blocks
    } else {
        kernel.laid_out(blocks)
    };
    let panels = Panels {
        steps: STEPS,
        weights: weights.bytes(),
        bias: &[0; PANELS * LANES],
    };
    let bytes = [5; MOST_CELLS * STRIDE];
    let until = Instant::now() + time;
    let mut best = 0.0f64;
    while Instant::now() < until {
        let round = Round {
            panels,
            bytes: &bytes,
        };
        best = best.max(if search {
            kernel.run_narrow(round)
        } else {
            kernel.run(round)
        });
    }
    best
}

struct Round<'a> {
    panels: Panels<'a>,
    bytes: &'a [u8],
}

impl Task for Round<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<T: Tile>(self) -> f64 {
        const TILES: usize = 500;
        let mut sums = [[0; LANES]; MOST_SUMS];
        let began = Instant::now();
        for tile in 0..TILES {
            let panel = tile % (PANELS / T::PANELS) * T::PANELS;
            T::products(
                black_box(&self.panels),
                panel,
                self.bytes,
                STRIDE,
                &mut sums,
            );
            black_box(&sums);
        }
        let products = TILES * T::CELLS * T::PANELS * LANES * STRIDE;
        products as f64 / began.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_peak() {
        for kernel in Kernel::available() {
            for search in [false, true] {
                let found = peak(kernel, search, Duration::from_millis(5));
                assert!(found.is_finite() && found > 1e6, "{kernel}: {found}");
            }
        }
    }
}
