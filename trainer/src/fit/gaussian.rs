//! A Gaussian of good parts' features at each cell: the mean of the cell, and a covariance that is
//! half its block's own, half that of all cells, with a floor under every direction. A cell has too
//! few good images for a covariance of its own.

use super::features::Features;
use partgate::score::{BLOCK, Gaussians, blocks, triangle};
use partgate::size::Size;
use rayon::prelude::*;

/// Share of the block's own covariance; the rest is that of all cells.
const OWN: f64 = 0.5;
/// Variance added in every direction, as a share of the mean variance.
const FLOOR: f64 = 0.05;
/// Longest feature vectors that Gaussians are fitted for: the factors grow with the square.
pub(crate) const MOST_DIMENSIONS: usize = 512;

/// Gaussians as a bundle has them.
#[derive(Clone, Debug)]
pub(crate) struct GaussianModel {
    pub(crate) grid: Size,
    pub(crate) dimensions: usize,
    /// `[cells, dimensions]`.
    pub(crate) mean: Vec<f32>,
    /// `[blocks, triangle(dimensions)]`.
    pub(crate) factor: Vec<i8>,
    /// `[blocks, dimensions]`.
    pub(crate) scale: Vec<f32>,
}

impl GaussianModel {
    /// Ready to run.
    pub(crate) fn load(&self) -> Gaussians {
        Gaussians::new(
            self.grid,
            self.dimensions,
            self.mean.clone(),
            &self.factor,
            &self.scale,
        )
    }
}

/// Bytes of the sections for `cells` cells in `blocks` blocks.
pub(crate) fn section_bytes(grid: Size, dimensions: usize) -> u64 {
    let (blocks, d) = (blocks(grid) as u64, dimensions as u64);
    4 * d * grid.area() as u64 + blocks * (triangle(dimensions) as u64 + 4 * d)
}

/// Sums over the good images of a block's cells.
struct Scatter {
    /// Lower triangle of the sum of products of the deviations.
    products: Vec<f32>,
    cells: usize,
}

/// Features of good images, of which `ignored` cells do not count.
pub(crate) struct GoodCells<'a> {
    pub(crate) features: &'a Features,
    pub(crate) ignored: &'a [bool],
}

impl GoodCells<'_> {
    /// Gaussians of `images`.
    pub(crate) fn gaussians(&self, images: &[usize]) -> GaussianModel {
        let (grid, d) = (self.features.grid, self.features.dimensions);
        let mean = self.means(images);
        let scatters: Vec<Scatter> = (0..blocks(grid))
            .into_par_iter()
            .map(|block| self.scatter(images, &mean, block))
            .collect();
        let all = self.pooled(&scatters, images.len());
        let floor = FLOOR * (0..d).map(|i| all[triangle(i) + i]).sum::<f64>() / d as f64;
        let factors: Vec<(Vec<i8>, Vec<f32>)> = scatters
            .par_iter()
            .map(|scatter| {
                let count = (scatter.cells * images.len()) as f64;
                let mut covariance: Vec<f64> = scatter
                    .products
                    .iter()
                    .zip(&all)
                    .map(|(&own, all)| OWN * f64::from(own) / count + (1.0 - OWN) * all)
                    .collect();
                for i in 0..d {
                    // Good parts that are all alike still get a spread.
                    covariance[triangle(i) + i] += floor.max(1e-12);
                }
                in_bytes(&inverse_factor(covariance, d), d)
            })
            .collect();
        let (factor, scale): (Vec<_>, Vec<_>) = factors.into_iter().unzip();
        GaussianModel {
            grid,
            dimensions: d,
            mean,
            factor: factor.concat(),
            scale: scale.concat(),
        }
    }

    fn means(&self, images: &[usize]) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.features.image(0).len()];
        for &image in images {
            for (sum, &value) in sums.iter_mut().zip(self.features.image(image)) {
                *sum += f64::from(value);
            }
        }
        let n = images.len() as f64;
        sums.iter().map(|sum| (sum / n) as f32).collect()
    }

    fn cells_of(&self, block: usize) -> impl Iterator<Item = usize> + use<> {
        let Size { width, height } = self.features.grid;
        let across = width.div_ceil(BLOCK);
        let (row, column) = (block / across * BLOCK, block % across * BLOCK);
        (row..(row + BLOCK).min(height)).flat_map(move |y| {
            let columns = column..(column + BLOCK).min(width);
            columns.map(move |x| y * width + x)
        })
    }

    fn scatter(&self, images: &[usize], mean: &[f32], block: usize) -> Scatter {
        let d = self.features.dimensions;
        let cells: Vec<usize> = self.cells_of(block).collect();
        let mut products = vec![0.0; triangle(d)];
        // As many at a time as keep the triangle from being read and written for each.
        let mut deviations = vec![0.0; BLOCK * BLOCK * d];
        for &image in images {
            let features = self.features.image(image);
            deviations.fill(0.0);
            for (deviation, &cell) in deviations.chunks_exact_mut(d).zip(&cells) {
                let pairs = features[cell * d..].iter().zip(&mean[cell * d..]);
                for (out, (value, mean)) in deviation.iter_mut().zip(pairs) {
                    *out = value - mean;
                }
            }
            add_products(&mut products, &deviations, d);
        }
        Scatter {
            products,
            cells: cells.len(),
        }
    }

    /// The covariance of all inspected cells, lower triangle.
    fn pooled(&self, scatters: &[Scatter], images: usize) -> Vec<f64> {
        let mut all = vec![0.0f64; triangle(self.features.dimensions)];
        let mut cells = 0;
        for (block, scatter) in scatters.iter().enumerate() {
            if self.cells_of(block).all(|cell| self.ignored[cell]) {
                continue;
            }
            cells += scatter.cells;
            for (sum, &value) in all.iter_mut().zip(&scatter.products) {
                *sum += f64::from(value);
            }
        }
        let count = (cells * images).max(1) as f64;
        all.iter_mut().for_each(|sum| *sum /= count);
        all
    }
}

/// Adds the products of four vectors of `d` values with themselves to a lower triangle.
fn add_products(products: &mut [f32], deviations: &[f32], d: usize) {
    let [a, b, c, e] = [0, 1, 2, 3].map(|i| &deviations[i * d..][..d]);
    let mut rest = products;
    for i in 0..d {
        let (row, below) = rest.split_at_mut(i + 1);
        rest = below;
        let (p, q, r, s) = (a[i], b[i], c[i], e[i]);
        let columns = a.iter().zip(b).zip(c).zip(e);
        for (sum, (((a, b), c), e)) in row.iter_mut().zip(columns) {
            *sum += (p * a + q * b) + (r * c + s * e);
        }
    }
}

/// The Cholesky factor of a covariance; both are lower triangles, row by row.
pub(super) fn cholesky(covariance: Vec<f64>, d: usize) -> Vec<f64> {
    // In place.
    let mut factor = covariance;
    for i in 0..d {
        let (above, row) = factor.split_at_mut(triangle(i));
        for j in 0..i {
            let other = &above[triangle(j)..][..=j];
            let product: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - product) / other[j];
        }
        let squares: f64 = row[..i].iter().map(|v| v * v).sum();
        // The floor keeps it above 0; rounding must not take it away.
        row[i] = (row[i] - squares).max(1e-12).sqrt();
    }
    factor
}

/// The inverse of the Cholesky factor of a covariance; both are lower triangles, row by row.
pub(super) fn inverse_factor(covariance: Vec<f64>, d: usize) -> Vec<f64> {
    let factor = cholesky(covariance, d);
    let mut inverse = vec![0.0; triangle(d)];
    for i in 0..d {
        let row = &factor[triangle(i)..][..=i];
        let (above, out) = inverse.split_at_mut(triangle(i));
        for (k, &weight) in row[..i].iter().enumerate() {
            let other = &above[triangle(k)..][..=k];
            for (sum, value) in out.iter_mut().zip(other) {
                *sum -= weight * value;
            }
        }
        for value in &mut out[..i] {
            *value /= row[i];
        }
        out[i] = 1.0 / row[i];
    }
    inverse
}

/// A triangle in bytes, and the factor of each row.
fn in_bytes(triangle_of: &[f64], d: usize) -> (Vec<i8>, Vec<f32>) {
    let mut bytes = Vec::with_capacity(triangle(d));
    let mut scales = Vec::with_capacity(d);
    for i in 0..d {
        let row = &triangle_of[triangle(i)..][..=i];
        let largest = row.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        let scale = (largest / 127.0) as f32;
        bytes.extend(row.iter().enumerate().map(|(k, v)| {
            let rounded = (v / f64::from(scale)).round().clamp(-127.0, 127.0) as i8;
            // Without its own entry a row would see nothing of what it is for.
            if k == i { rounded.max(1) } else { rounded }
        }));
        scales.push(scale);
    }
    (bytes, scales)
}

#[cfg(test)]
mod tests {
    use super::super::features::ImageSet;
    use super::*;
    use partgate::network::Threads;
    use partgate::seed::Rng;

    #[test]
    fn the_inverse_factor_turns_the_covariance_into_ones() {
        let (d, mut rng) = (17, Rng::new(5));
        let samples: Vec<Vec<f64>> = (0..60)
            .map(|_| (0..d).map(|_| f64::from(rng.gaussian())).collect())
            .collect();
        let covariance: Vec<f64> = (0..d)
            .flat_map(|i| (0..=i).map(move |j| (i, j)))
            .map(|(i, j)| samples.iter().map(|s| s[i] * s[j]).sum::<f64>() / 60.0)
            .collect();
        let w = inverse_factor(covariance.clone(), d);
        let full = |i: usize, j: usize| covariance[triangle(i.max(j)) + i.min(j)];
        let at = |i: usize, k: usize| if k > i { 0.0 } else { w[triangle(i) + k] };
        for i in 0..d {
            for j in 0..d {
                let mut value = 0.0;
                for k in 0..d {
                    for l in 0..d {
                        value += at(i, k) * full(k, l) * at(j, l);
                    }
                }
                let right = f64::from(u8::from(i == j));
                assert!((value - right).abs() < 1e-9, "{i} {j}: {value}");
            }
        }
    }

    #[test]
    fn products_are_those_of_nested_loops() {
        let (d, mut rng) = (13, Rng::new(6));
        let deviations: Vec<f32> = (0..4 * d).map(|_| rng.gaussian()).collect();
        let mut sums = vec![1.0; triangle(d)];
        add_products(&mut sums, &deviations, d);
        for i in 0..d {
            for j in 0..=i {
                let right: f32 = deviations.chunks_exact(d).map(|v| v[i] * v[j]).sum();
                assert!((sums[triangle(i) + j] - 1.0 - right).abs() < 1e-5);
            }
        }
    }

    /// Solves `a x = b` by elimination, for the test alone.
    fn solved(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
        let d = b.len();
        for i in 0..d {
            for row in 0..d {
                if row != i {
                    let factor = a[row][i] / a[i][i];
                    let pivot = a[i].clone();
                    let values = a[row].iter_mut().zip(&pivot);
                    values.for_each(|(v, p)| *v -= factor * p);
                    b[row] -= factor * b[i];
                }
            }
        }
        (0..d).map(|i| b[i] / a[i][i]).collect()
    }

    /// Features whose values depend on each other, another way at each place.
    fn drawn_features(grid: Size, d: usize, images: usize) -> Features {
        let mut rng = Rng::new(9);
        let mut values = Vec::new();
        for _ in 0..images {
            for cell in 0..grid.area() {
                let common = rng.gaussian();
                values.extend((0..d).map(|k| {
                    let place = (cell * 7 + k * 3) as f32 % 5.0;
                    place + common * (k as f32 / d as f32) + rng.gaussian() * (1.0 + place)
                }));
            }
        }
        Features {
            values,
            images,
            copies: 0,
            grid,
            dimensions: d,
            set: ImageSet {
                digest: [0; 32],
                smallest: [8; 2],
                largest: [8; 2],
                sizes: 1,
            },
            cached: 0,
        }
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let (grid, d, images) = (Size::new(4, 2), 9, 23);
        let features = drawn_features(grid, d, images);
        let mut ignored = vec![false; grid.area()];
        // A whole block, and a cell of another.
        for cell in [0, 1, 4, 5, 7] {
            ignored[cell] = true;
        }
        let cells = GoodCells {
            features: &features,
            ignored: &ignored,
        };
        let all: Vec<usize> = (0..images).collect();
        let model = cells.gaussians(&all).load();
        let mut found = vec![0.0; grid.area()];
        model.run(features.image(3), &Threads::default(), &mut found);

        let value =
            |image: usize, cell: usize, k: usize| f64::from(features.image(image)[cell * d + k]);
        let mean = |cell: usize, k: usize| {
            all.iter().map(|&image| value(image, cell, k)).sum::<f64>() / images as f64
        };
        let covariance = |cells: &[usize], i: usize, j: usize| {
            let sum: f64 = cells
                .iter()
                .flat_map(|&cell| {
                    let (mi, mj) = (mean(cell, i), mean(cell, j));
                    let of = move |&image: &usize| {
                        (value(image, cell, i) - mi) * (value(image, cell, j) - mj)
                    };
                    all.iter().map(of).collect::<Vec<f64>>()
                })
                .sum();
            sum / (cells.len() * images) as f64
        };
        // Blocks of which a cell is inspected.
        let pooled = [2, 3, 6, 7];
        for (block, own) in [[0, 1, 4, 5], [2, 3, 6, 7]].into_iter().enumerate() {
            let floor = (0..d).map(|i| covariance(&pooled, i, i)).sum::<f64>() / d as f64;
            let a: Vec<Vec<f64>> = (0..d)
                .map(|i| {
                    let entry = |j: usize| {
                        let floor = if i == j { 0.05 * floor } else { 0.0 };
                        0.5 * covariance(&own, i, j) + 0.5 * covariance(&pooled, i, j) + floor
                    };
                    (0..d).map(entry).collect()
                })
                .collect();
            for cell in own {
                let b: Vec<f64> = (0..d).map(|k| value(3, cell, k) - mean(cell, k)).collect();
                let x = solved(a.clone(), b.clone());
                let right = b.iter().zip(&x).map(|(b, x)| b * x).sum::<f64>().sqrt();
                let off = (f64::from(found[cell]) / right - 1.0).abs();
                assert!(
                    off < 0.01,
                    "block {block} cell {cell}: {} for {right}",
                    found[cell]
                );
            }
        }
    }

    #[test]
    fn bytes_keep_a_row_within_half_a_step() {
        let triangle_of = [0.5, -0.25, 2.0, 1e-6, -3.0, 1e-9];
        let (bytes, scales) = in_bytes(&triangle_of, 3);
        for (i, scale) in scales.iter().enumerate() {
            for k in 0..i {
                let at = triangle(i) + k;
                let off = f64::from(bytes[at]) * f64::from(*scale) - triangle_of[at];
                assert!(off.abs() <= f64::from(*scale) * 0.5 + 1e-9);
            }
            assert!(bytes[triangle(i) + i] > 0);
        }
    }
}
