//! Which rows can be the winner of the f32 search, from coarse products: the proof.
//!
//! **What the f32 search does.** Its value of row `c` for cell `x` is `s = x.c - ||c||^2 / 2` with
//! rounding, and the winner `w` has the greatest. The sum has `d` steps and a rounded start, each
//! step rounded once or twice, so (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1)
//! `|s - exact| <= rho = 1.01 (d + 3) u (||x|| C + C^2 / 2) + (d + 2) 2^-149`, where `u = 2^-24`,
//! `C` is the length of the longest row and the last term is for what underflows. Exactly,
//! `x.c - ||c||^2 / 2 = ||x||^2 / 2 - F` with `F = ||x - c||^2 / 2`. So for every allowed row `r`:
//!
//! > (1) `F_w <= F_r + 2 rho`.
//!
//! Rows with the same value as the winner satisfy it too: ties are settled among the candidates.
//!
//! **Coarse distances.** With the bank's mean `m`: `x - m = q + e`, where `q` is integers times the
//! cell's scale and `||e|| <= eq`; `c - m = b + f`, where `b` is integers times the row's scale and
//! `||f|| <= eb`. `h = ||q - b||` comes from an integer product, and by the triangle inequality
//!
//! > (2) `h - eq - eb <= sqrt(2 F) <= h + eq + eb`.
//!
//! **The scan.** Let row 0 be an allowed one, `g = ||q - (c - m)||`, so that `|g - h| <= eb` and
//! `|g - sqrt(2 F)| <= eq`. Then (1) gives `(g_w - eq)^2 <= (g_0 + eq)^2 + 4 rho` where `g_w > eq`:
//!
//! > (3) `g_w <= T = eq + sqrt((h_0 + EB + eq)^2 + 4 rho)`, `EB` being the largest `eb`,
//!
//! hence `h_w <= T + eb_w`, which is squared, halved and written with the product `q.b`:
//!
//! > (4) `(q.b_w - ||b_w||^2 / 2 + eb_w^2 / 2) + T eb_w >= ||q||^2 / 2 - T^2 / 2`.
//!
//! The bracket is a row's *score*: one number a row and cell. Row 0 is the one with the best score
//! so far. All is divided by the cell's scale, so that the product is an integer times the row's.
//!
//! **Rounding of the scores.** The product is exact, its conversion is rounded if it is above 2^24.
//! With `B` the largest `||b|| + eb`, a score is off by at most `6 u (||q|| B + B^2 / 2)`, and
//! adding `T eb` by as much again and `8 u T EB` (both terms are sums of few roundings; the
//! constants are generous). What is done once a cell is done in f64, whose rounding is
//! 2^29 times smaller and is covered by them, because a cell longer than [`LONGEST`] `B` has none.
//!
//! **The candidates** that the scan leaves have (2) each, and (1) then says
//!
//! > (5) `(h_w - eq - eb_w)^2 <= min_r (h_r + eq + eb_r)^2 + 4 rho`.
//!
//! One that is left alone is the winner. Otherwise the values of those left are computed as the
//! f32 search computes them.

/// Half a unit in the last place of 1.
const U: f64 = 1.0 / 16_777_216.0;

/// How far from the mean a cell may be, in units of the farthest row: see the module's text.
const LONGEST: f64 = 8192.0;

/// The bank's part of the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) dimensions: usize,
    /// Length of the mean.
    pub(super) mean: f64,
    /// `C`: length of the longest row.
    pub(super) longest: f64,
    /// `B`: most that a row's coarse vector and its error are long together.
    pub(super) reach: f64,
    /// `EB`: the largest error of a row.
    pub(super) error: f64,
}

/// Sums of squares of integers stay exact in f32 lanes.
pub(super) const MOST_DIMENSIONS: usize = 16_384;

impl Limits {
    /// Whether the bounds hold: nothing overflows, and what underflows is below every slack.
    pub(super) fn hold(&self) -> bool {
        let range = 1e-9..1e15;
        self.dimensions <= MOST_DIMENSIONS
            && range.contains(&self.reach)
            && range.contains(&self.longest)
            && self.mean < 1e15
    }
}

/// A cell's part of the bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bound {
    scale: f64,
    /// `||q||^2` in units of the scale's square.
    square: f64,
    /// `eq`.
    error: f64,
    /// `4 rho`.
    reference: f64,
    /// How far a score may be off, in units of the scale.
    score: f64,
    row_error: f64,
}

impl Bound {
    /// For a cell of integers whose squares sum to `square`, exactly; `residual` is the sum of the
    /// squares of what they leave, in f32 with one rounding a dimension. `None` when the bounds
    /// would not hold, as with a NaN.
    pub(super) fn new(limits: &Limits, scale: f32, square: f64, residual: f32) -> Option<Self> {
        let d = limits.dimensions as f64;
        let scale = f64::from(scale);
        let length = scale * square.sqrt();
        // The residuals come from two rounded operations on numbers as long as the cell, and a sum
        // with a rounding a dimension; squares that underflow are below a thousandth of the scale.
        let error = f64::from(residual).sqrt() * (1.0 + (d + 8.0) * U);
        let error = (error + 4.0 * U * length) * (1.0 + 8.0 * U) + 1e-3 * scale;
        // A NaN is not.
        let near = length + error <= LONGEST * limits.reach;
        if !near {
            return None;
        }
        let x = limits.mean + length + error;
        let c = limits.longest;
        let rho = 1.01 * (d + 3.0) * U * (x * c + 0.5 * c * c) + (d + 2.0) * 2f64.powi(-149);
        let score = 6.0 * U * (length * limits.reach + 0.5 * limits.reach * limits.reach) / scale;
        Some(Self {
            scale,
            square,
            error,
            reference: 4.0 * rho,
            score,
            row_error: limits.error,
        })
    }

    /// `h^2`, off by at most [`Bound::slack`].
    fn square_of(&self, score: f32, error: f64) -> f64 {
        let length = self.scale * self.scale * self.square;
        length - 2.0 * self.scale * f64::from(score) + error * error
    }

    fn slack(&self) -> f64 {
        2.0 * self.scale * self.score
    }

    /// The factor of a row's error and the least sum that (4) asks for, when `best` is the best
    /// score of an allowed row so far.
    pub(super) fn scan(&self, best: f32) -> (f32, f32) {
        let nearest = (self.square_of(best, self.row_error) + self.slack())
            .max(0.0)
            .sqrt();
        let first = nearest + self.row_error + self.error;
        let most = self.error + (first * first + self.reference).sqrt();
        let factor = most / self.scale * (1.0 + 4.0 * U);
        let (own, other) = (
            0.5 * self.scale * self.square,
            0.5 * self.scale * factor * factor,
        );
        let slack = 2.0 * self.score + 8.0 * U * factor * self.row_error + 4.0 * U * (own + other);
        (factor as f32, (own - other - slack) as f32)
    }

    /// Least and most that the row's exact distance can be, squared.
    pub(super) fn of(&self, score: f32, row_error: f32) -> (f64, f64) {
        let row_error = f64::from(row_error);
        let square = self.square_of(score, row_error);
        let error = self.error + row_error;
        let least = ((square - self.slack()).max(0.0).sqrt() - error).max(0.0);
        let most = (square + self.slack()).max(0.0).sqrt() + error;
        (least * least, most * most)
    }

    /// What (5) compares with, when `most` is the least of what [`Bound::of`] gives second.
    pub(super) fn limit(&self, most: f64) -> f64 {
        most + self.reference
    }
}
