//! Squared distances between vectors in bulk, for the coreset.
//!
//! One side is packed in panels of [`LANES`] vectors, dimension-major, so that lanes are vectors
//! and each lane sums its own differences in order, without fused operations: the same bits
//! whatever the register width.

pub(crate) use partgate::lanes::LANES;

use partgate::lanes::{Kernel, Lanes, Task, run};

/// Vectors in panels.
#[derive(Default)]
pub(crate) struct Panels {
    dimensions: usize,
    count: usize,
    values: Vec<f32>,
}

impl Panels {
    pub(crate) fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            count: 0,
            values: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Panels in use, the last maybe not full.
    pub(crate) fn panels(&self) -> usize {
        self.count.div_ceil(LANES)
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.values.clear();
    }

    pub(crate) fn push(&mut self, vector: &[f32]) {
        let lane = self.count % LANES;
        if lane == 0 {
            let length = self.values.len() + self.dimensions * LANES;
            self.values.resize(length, 0.0);
        }
        let start = self.values.len() - self.dimensions * LANES + lane;
        for (k, &v) in vector.iter().enumerate() {
            self.values[start + k * LANES] = v;
        }
        self.count += 1;
    }

    fn panel(&self, index: usize) -> &[f32] {
        let length = self.dimensions * LANES;
        &self.values[index * length..][..length]
    }
}

/// Distances of four vectors to panel `index`. Lanes beyond the last vector hold distances to
/// zeros, which the caller must leave out.
pub(crate) fn four_to_panel(
    vectors: [&[f32]; 4],
    panels: &Panels,
    index: usize,
) -> [[f32; LANES]; 4] {
    run(
        Kernel::best(),
        FourToPanel {
            vectors,
            panel: panels.panel(index),
        },
    )
}

/// Distances of one vector to the panels from `index` on, up to four of them.
pub(crate) fn one_to_panels(vector: &[f32], panels: &Panels, index: usize) -> [[f32; LANES]; 4] {
    // A missing panel repeats the last one, which is cheaper than a second kernel.
    let last = panels.panels() - 1;
    run(
        Kernel::best(),
        OneToPanels {
            vector,
            panels: std::array::from_fn(|i| panels.panel((index + i).min(last))),
        },
    )
}

struct FourToPanel<'a> {
    vectors: [&'a [f32]; 4],
    panel: &'a [f32],
}

impl Task for FourToPanel<'_> {
    type Output = [[f32; LANES]; 4];

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) -> Self::Output {
        let rows = self.panel.as_chunks::<LANES>().0;
        let vectors = self.vectors.map(|v| &v[..rows.len()]);
        let mut sums = [L::splat(0.0); 4];
        for (k, packed) in rows.iter().enumerate() {
            let packed = L::load(packed);
            for i in 0..4 {
                let difference = L::splat(vectors[i][k]).sub(packed);
                sums[i] = difference.mul_then_add(difference, sums[i]);
            }
        }
        stored(sums)
    }
}

struct OneToPanels<'a> {
    vector: &'a [f32],
    panels: [&'a [f32]; 4],
}

impl Task for OneToPanels<'_> {
    type Output = [[f32; LANES]; 4];

    #[inline(always)]
    fn run<L: Lanes, const CELLS: usize>(self) -> Self::Output {
        let panels = self
            .panels
            .map(|p| &p.as_chunks::<LANES>().0[..self.vector.len()]);
        let mut sums = [L::splat(0.0); 4];
        for (k, &x) in self.vector.iter().enumerate() {
            let x = L::splat(x);
            for i in 0..4 {
                let difference = x.sub(L::load(&panels[i][k]));
                sums[i] = difference.mul_then_add(difference, sums[i]);
            }
        }
        stored(sums)
    }
}

#[inline(always)]
fn stored<L: Lanes>(sums: [L; 4]) -> [[f32; LANES]; 4] {
    let mut out = [[0.0; LANES]; 4];
    for (sum, out) in sums.iter().zip(&mut out) {
        sum.store(out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::seed::Rng;

    /// The definition, one pair at a time.
    pub(crate) fn plain(a: &[f32], b: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (x, y) in a.iter().zip(b) {
            sum += (x - y) * (x - y);
        }
        sum
    }

    #[test]
    fn kernels_give_the_bits_of_the_definition() {
        let mut rng = Rng::new(1);
        let d = 37;
        let vectors: Vec<Vec<f32>> = (0..70)
            .map(|_| (0..d).map(|_| rng.gaussian()).collect())
            .collect();
        let mut panels = Panels::new(d);
        for v in &vectors {
            panels.push(v);
        }
        assert_eq!((panels.len(), panels.panels()), (70, 5));
        let four: [&[f32]; 4] = std::array::from_fn(|i| &vectors[i * 9][..]);
        for p in 0..5 {
            let got = four_to_panel(four, &panels, p);
            for (i, row) in got.iter().enumerate() {
                for (l, &value) in row.iter().enumerate().take(70 - p * LANES) {
                    assert_eq!(value, plain(four[i], &vectors[p * LANES + l]));
                }
            }
        }
        let got = one_to_panels(&vectors[3], &panels, 3);
        for l in 0..6 {
            assert_eq!(got[1][l], plain(&vectors[3], &vectors[64 + l]));
        }
    }
}
