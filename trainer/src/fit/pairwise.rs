//! Squared distances between vectors in bulk, for the coreset.
//!
//! One side is packed in panels of [`LANES`] vectors, dimension-major, so that lanes are vectors
//! and each lane sums its own differences in order, without fused operations: the same bits
//! whatever the register width.

pub(crate) const LANES: usize = 16;

/// One vector against [`LANES`] packed ones, the definition that the kernels share.
#[inline(always)]
fn accumulate(x: f32, packed: &[f32; LANES], sums: &mut [f32; LANES]) {
    for l in 0..LANES {
        let d = x - packed[l];
        sums[l] += d * d;
    }
}

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
    simd::four_to_panel(vectors, panels.panel(index))
}

/// Distances of one vector to the panels from `index` on, up to four of them.
pub(crate) fn one_to_panels(
    vector: &[f32],
    panels: &Panels,
    index: usize,
) -> [[f32; LANES]; 4] {
    // A missing panel repeats the last one, which is cheaper than a second kernel.
    let last = panels.panels() - 1;
    let four = std::array::from_fn(|i| panels.panel((index + i).min(last)));
    simd::one_to_panels(vector, four)
}

/// `unsafe` only to call a function compiled for an instruction set after that set was detected;
/// the functions themselves are safe code that the compiler vectorises.
#[allow(unsafe_code)]
mod simd {
    use super::{LANES, accumulate};

    #[inline(always)]
    fn four_to_panel_body(vectors: [&[f32]; 4], panel: &[f32]) -> [[f32; LANES]; 4] {
        let mut sums = [[0.0; LANES]; 4];
        let rows = panel.as_chunks::<LANES>().0;
        let vectors = vectors.map(|v| &v[..rows.len()]);
        for (k, packed) in rows.iter().enumerate() {
            for (vector, sums) in vectors.iter().zip(&mut sums) {
                accumulate(vector[k], packed, sums);
            }
        }
        sums
    }

    #[inline(always)]
    fn one_to_panels_body(vector: &[f32], panels: [&[f32]; 4]) -> [[f32; LANES]; 4] {
        let mut sums = [[0.0; LANES]; 4];
        let panels = panels.map(|p| &p.as_chunks::<LANES>().0[..vector.len()]);
        for (k, &x) in vector.iter().enumerate() {
            for (panel, sums) in panels.iter().zip(&mut sums) {
                accumulate(x, &panel[k], sums);
            }
        }
        sums
    }

    macro_rules! dispatched {
        ($name:ident, $body:ident, $vectors:ty, $panels:ty) => {
            pub(super) fn $name(vectors: $vectors, panels: $panels) -> [[f32; LANES]; 4] {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f")]
                    fn wide(vectors: $vectors, panels: $panels) -> [[f32; LANES]; 4] {
                        $body(vectors, panels)
                    }
                    #[target_feature(enable = "avx2")]
                    fn medium(vectors: $vectors, panels: $panels) -> [[f32; LANES]; 4] {
                        $body(vectors, panels)
                    }
                    if is_x86_feature_detected!("avx512f") {
                        // SAFETY: the instruction set was just detected.
                        return unsafe { wide(vectors, panels) };
                    }
                    if is_x86_feature_detected!("avx2") {
                        // SAFETY: the instruction set was just detected.
                        return unsafe { medium(vectors, panels) };
                    }
                }
                $body(vectors, panels)
            }
        };
    }
    dispatched!(four_to_panel, four_to_panel_body, [&[f32]; 4], &[f32]);
    dispatched!(one_to_panels, one_to_panels_body, &[f32], [&[f32]; 4]);
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
