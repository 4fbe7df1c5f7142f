//! Discrete Fourier transforms in plain code, behind the part of rustfft's interface that tract uses.
//!
//! tract has operators for spectra of sound (DFT, STFT), and with them the crate rustfft: code for
//! every instruction set, 1.2 MB of a program of 20 and a part of its first build. No network for
//! images has such an operator. One that has it still runs, more slowly: a transform of `n` values
//! takes `n` times the sum of the prime factors of `n` steps.

pub use num_complex;
pub use num_traits;

use num_complex::Complex;
use num_traits::{FromPrimitive, Signed};
use std::fmt::Debug;
use std::sync::Arc;

/// Numbers that can be transformed.
pub trait FftNum: Copy + FromPrimitive + Signed + Sync + Send + Debug + 'static {}

impl<T: Copy + FromPrimitive + Signed + Sync + Send + Debug + 'static> FftNum for T {}

/// The sign of the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FftDirection {
    /// Minus.
    Forward,
    /// Plus. Not divided by the length.
    Inverse,
}

/// A transform of a fixed length.
pub trait Fft<T: FftNum>: Send + Sync {
    /// Transforms each piece of [`Fft::len`] values of `buffer` in place.
    ///
    /// # Panics
    /// If the buffer's length is no multiple of it.
    fn process(&self, buffer: &mut [Complex<T>]);
    /// Values of a transform.
    fn len(&self) -> usize;
    /// Whether it has no values.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes transforms.
#[derive(Debug, Default)]
pub struct FftPlanner<T> {
    of: std::marker::PhantomData<T>,
}

impl<T: FftNum> FftPlanner<T> {
    /// Without any state.
    pub fn new() -> Self {
        Self {
            of: std::marker::PhantomData,
        }
    }

    /// A transform of `len` values.
    pub fn plan_fft(&mut self, len: usize, direction: FftDirection) -> Arc<dyn Fft<T>> {
        Arc::new(Plain::new(len, direction))
    }

    /// A forward transform of `len` values.
    pub fn plan_fft_forward(&mut self, len: usize) -> Arc<dyn Fft<T>> {
        self.plan_fft(len, FftDirection::Forward)
    }

    /// An inverse transform of `len` values.
    pub fn plan_fft_inverse(&mut self, len: usize) -> Arc<dyn Fft<T>> {
        self.plan_fft(len, FftDirection::Inverse)
    }
}

/// By the prime factors of the length (Cooley and Tukey, 1965).
struct Plain<T> {
    /// The roots of unity, `exp(-+ 2 pi i k / n)`.
    roots: Vec<Complex<T>>,
}

impl<T: FftNum> Plain<T> {
    fn new(len: usize, direction: FftDirection) -> Self {
        let sign = match direction {
            FftDirection::Forward => -1.0,
            FftDirection::Inverse => 1.0,
        };
        let number = |value: f64| T::from_f64(value).unwrap_or_else(T::zero);
        let root = |k: usize| {
            let angle = sign * std::f64::consts::TAU * k as f64 / len as f64;
            Complex::new(number(angle.cos()), number(angle.sin()))
        };
        Self {
            roots: (0..len).map(root).collect(),
        }
    }

    /// Transforms every `stride`-th value of `from` into `to`. `column` has room for a prime factor.
    fn transform(
        &self,
        from: &[Complex<T>],
        stride: usize,
        to: &mut [Complex<T>],
        column: &mut [Complex<T>],
    ) {
        let n = to.len();
        if n == 1 {
            to[0] = from[0];
            return;
        }
        let prime = smallest_factor(n);
        let part = n / prime;
        for r in 0..prime {
            let to = &mut to[r * part..][..part];
            self.transform(&from[r * stride..], stride * prime, to, column);
        }
        // The roots of `n` are every `stride`-th of those of the whole length.
        let root = |k: usize| self.roots[k % n * stride];
        let column = &mut column[..prime];
        for k in 0..part {
            for (r, value) in column.iter_mut().enumerate() {
                *value = to[r * part + k] * root(r * k);
            }
            for q in 0..prime {
                let terms = column.iter().enumerate();
                to[q * part + k] = terms.fold(zero(), |sum, (r, value)| {
                    sum + *value * root(r * q % prime * part)
                });
            }
        }
    }
}

fn zero<T: FftNum>() -> Complex<T> {
    Complex::new(T::zero(), T::zero())
}

fn smallest_factor(n: usize) -> usize {
    let mut factors = (2..).take_while(|f| f * f <= n);
    factors.find(|f| n.is_multiple_of(*f)).unwrap_or(n)
}

impl<T: FftNum> Fft<T> for Plain<T> {
    fn process(&self, buffer: &mut [Complex<T>]) {
        let n = self.len();
        if n == 0 {
            return;
        }
        assert!(
            buffer.len().is_multiple_of(n),
            "{} values for transforms of {n}",
            buffer.len()
        );
        let mut from = vec![zero(); n];
        let mut column = vec![zero(); n];
        for piece in buffer.chunks_exact_mut(n) {
            from.copy_from_slice(piece);
            self.transform(&from, 1, piece, &mut column);
        }
    }

    fn len(&self) -> usize {
        self.roots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<Complex<f64>> {
        let value = |k: usize| {
            let k = k as f64;
            Complex::new((1.3 * k).sin() + 0.1 * k, (0.7 * k * k).cos())
        };
        (0..n).map(value).collect()
    }

    /// The definition.
    fn definition(from: &[Complex<f64>], sign: f64) -> Vec<Complex<f64>> {
        let n = from.len();
        let value = |q: usize| {
            let term = |(k, x): (usize, &Complex<f64>)| {
                let angle = sign * std::f64::consts::TAU * (k * q % n) as f64 / n as f64;
                x * Complex::new(angle.cos(), angle.sin())
            };
            from.iter().enumerate().map(term).sum()
        };
        (0..n).map(value).collect()
    }

    fn near(found: &[Complex<f64>], wanted: &[Complex<f64>]) {
        for (found, wanted) in found.iter().zip(wanted) {
            let scale = 1.0 + wanted.norm_sqr().sqrt();
            let off = (found - wanted).norm_sqr().sqrt();
            assert!(off < 1e-11 * scale, "{found} for {wanted}");
        }
    }

    #[test]
    fn every_length_is_the_definition_both_ways() {
        for n in (1..=66).chain([97, 121, 128, 210, 256, 343]) {
            for (direction, sign) in [(FftDirection::Forward, -1.0), (FftDirection::Inverse, 1.0)] {
                let mut found = values(n);
                FftPlanner::new().plan_fft(n, direction).process(&mut found);
                near(&found, &definition(&values(n), sign));
            }
        }
    }

    #[test]
    fn pieces_are_transformed_one_by_one_and_come_back() {
        let (n, count) = (12, 3);
        let mut buffer = values(n * count);
        FftPlanner::new().plan_fft_forward(n).process(&mut buffer);
        near(
            &buffer[n..2 * n],
            &definition(&values(n * count)[n..2 * n], -1.0),
        );
        FftPlanner::new().plan_fft_inverse(n).process(&mut buffer);
        for value in &mut buffer {
            *value /= n as f64;
        }
        near(&buffer, &values(n * count));
    }

    #[test]
    fn nothing_is_nothing() {
        FftPlanner::<f32>::new()
            .plan_fft_forward(0)
            .process(&mut []);
    }
}
