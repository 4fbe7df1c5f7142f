//! A distribution at each place of the grid, made of those around it, and the smallest Mahalanobis
//! distance to those around a cell: N-pad (docs/method.md has the definition). A covariance per cell in
//! f32: for hosts that compare methods. [`super::Gaussians`] is what of it pays on a board.

use super::gaussian::triangle;
use crate::network::Threads;
use crate::size::Size;

/// A distribution per cell. Its covariance C is kept as the inverse W of its Cholesky factor, so that
/// the distance is `|W (f - mean)|`.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceDistributions {
    grid: Size,
    dimensions: usize,
    /// Side of the square of places that a cell is compared with.
    reach: usize,
    /// `[cells, dimensions]`.
    mean: Vec<f32>,
    /// `[cells]`, each W by columns: column k from its diagonal on.
    columns: Vec<f32>,
}

impl PlaceDistributions {
    /// `mean` is `[cells, dimensions]`, `factor` the lower triangles of W row by row, `[cells,
    /// triangle(dimensions)]`; `reach` is odd.
    ///
    /// # Panics
    /// If a length is another: a programming error, because bundles are checked.
    pub fn new(
        grid: Size,
        dimensions: usize,
        reach: usize,
        mean: Vec<f32>,
        factor: &[f32],
    ) -> Self {
        let d = dimensions;
        assert_eq!(mean.len(), grid.area() * d, "means");
        assert_eq!(factor.len(), grid.area() * triangle(d), "factors");
        let mut columns = Vec::with_capacity(factor.len());
        for factor in factor.chunks_exact(triangle(d)) {
            for k in 0..d {
                columns.extend((k..d).map(|row| factor[triangle(row) + k]));
            }
        }
        Self {
            grid,
            dimensions,
            reach,
            mean,
            columns,
        }
    }

    /// The feature grid, cells.
    pub fn grid(&self) -> Size {
        self.grid
    }

    /// Values of a feature vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Writes the distance of each cell of `features`, `[cells, dimensions]`, to `out`: the smallest of
    /// those to the distributions around it. Everything is f32 in a fixed order, never fused: the bits
    /// depend neither on the processor nor on the number of threads. A NaN among the features becomes
    /// one.
    ///
    /// # Panics
    /// If a buffer has another length: a programming error.
    pub fn run(&self, features: &[f32], threads: &Threads, out: &mut [f32]) {
        assert_eq!(features.len(), self.mean.len(), "feature vectors");
        assert_eq!(out.len(), self.grid.area(), "cells");
        threads.enter(|| self.rows(features, threads, 0, out));
    }

    /// Rows of cells from `first` on, which `out` holds.
    fn rows(&self, features: &[f32], threads: &Threads, first: usize, out: &mut [f32]) {
        let width = self.grid.width;
        let count = out.len() / width;
        if threads.count() == 1 || count <= self.grid.height.div_ceil(8) {
            let mut scratch = vec![0.0; self.dimensions];
            for (at, out) in out.iter_mut().enumerate() {
                *out = self.nearest(features, first * width + at, &mut scratch);
            }
            return;
        }
        let (left, right) = out.split_at_mut(count / 2 * width);
        threads.join(
            || self.rows(features, threads, first, left),
            || self.rows(features, threads, first + count / 2, right),
        );
    }

    fn nearest(&self, features: &[f32], cell: usize, scratch: &mut [f32]) -> f32 {
        let (d, half) = (self.dimensions, self.reach / 2);
        let vector = &features[cell * d..][..d];
        let mut least = f32::INFINITY;
        let mut broken = false;
        for place in around(cell, self.grid, half) {
            let squares = self.squares(vector, place, scratch);
            broken |= squares.is_nan();
            least = least.min(squares);
        }
        if broken { f32::NAN } else { least.sqrt() }
    }

    /// The squared distance of `vector` to the distribution of `place`.
    fn squares(&self, vector: &[f32], place: usize, scratch: &mut [f32]) -> f32 {
        let d = self.dimensions;
        let mean = &self.mean[place * d..][..d];
        let mut rest = &self.columns[place * triangle(d)..][..triangle(d)];
        scratch.fill(0.0);
        for (k, (value, mean)) in vector.iter().zip(mean).enumerate() {
            let (column, others) = rest.split_at(d - k);
            rest = others;
            let deviation = value - mean;
            for (sum, weight) in scratch[k..].iter_mut().zip(column) {
                *sum += weight * deviation;
            }
        }
        scratch.iter().map(|v| v * v).sum()
    }
}

/// The cells within `half` cells of `cell` to each side, row by row.
pub fn around(cell: usize, grid: Size, half: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (cell % grid.width, cell / grid.width);
    let rows = y.saturating_sub(half)..(y + half + 1).min(grid.height);
    rows.flat_map(move |row| {
        let columns = x.saturating_sub(half)..(x + half + 1).min(grid.width);
        columns.map(move |column| row * grid.width + column)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;

    struct Drawn {
        grid: Size,
        d: usize,
        mean: Vec<f32>,
        factor: Vec<f32>,
        features: Vec<f32>,
    }

    fn drawn(grid: Size, d: usize) -> Drawn {
        let mut rng = Rng::new(3);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.gaussian()).collect() };
        Drawn {
            grid,
            d,
            mean: draw(grid.area() * d),
            factor: draw(grid.area() * triangle(d)),
            features: draw(grid.area() * d),
        }
    }

    impl Drawn {
        fn places(&self, reach: usize) -> PlaceDistributions {
            let mean = self.mean.clone();
            PlaceDistributions::new(self.grid, self.d, reach, mean, &self.factor)
        }

        /// The distance of `cell` to the distribution of `place`, by nested loops in f64.
        fn distance(&self, cell: usize, place: usize) -> f64 {
            let d = self.d;
            let factor = &self.factor[place * triangle(d)..];
            let deviation = |k: usize| {
                f64::from(self.features[cell * d + k]) - f64::from(self.mean[place * d + k])
            };
            let row = |i: usize| -> f64 {
                let products = (0..=i).map(|k| f64::from(factor[triangle(i) + k]) * deviation(k));
                products.sum()
            };
            (0..d).map(|i| row(i).powi(2)).sum::<f64>().sqrt()
        }
    }

    #[test]
    fn the_distance_is_the_smallest_of_those_around() {
        let drawn = drawn(Size::new(7, 4), 9);
        for reach in [1, 3, 5] {
            let mut found = vec![0.0; 28];
            let places = drawn.places(reach);
            places.run(&drawn.features, &Threads::default(), &mut found);
            let mut shared = vec![0.0; 28];
            let threads = Threads::new(3).expect("threads");
            places.run(&drawn.features, &threads, &mut shared);
            assert_eq!(found, shared);
            for (cell, &found) in found.iter().enumerate() {
                let (x, y) = (cell % 7, cell / 7);
                let near = |place: &usize| {
                    (place % 7).abs_diff(x) <= reach / 2 && (place / 7).abs_diff(y) <= reach / 2
                };
                let distances = (0..28).filter(near).map(|p| drawn.distance(cell, p));
                let right = distances.fold(f64::INFINITY, f64::min);
                let off = (f64::from(found) / right - 1.0).abs();
                assert!(off < 1e-5, "{reach} {cell}: {found} for {right}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut drawn = drawn(Size::new(4, 4), 3);
        drawn.features[5 * 3 + 1] = f32::NAN;
        let mut found = vec![0.0; 16];
        let places = drawn.places(3);
        places.run(&drawn.features, &Threads::default(), &mut found);
        for (cell, found) in found.iter().enumerate() {
            assert_eq!(found.is_nan(), cell == 5, "{cell}");
        }
    }
}
