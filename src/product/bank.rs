//! Rows of a bank as bytes: a quarter of the file.

/// Rows of signed bytes with one scale per row. A row is its bytes times its scale, exactly: the scale
/// has 16 significant bits, so the products fit the 24 of an f32.
#[derive(Clone, Debug, PartialEq)]
pub struct BankBytes {
    /// `[rows, dimensions]`, -127 to 127.
    pub values: Vec<i8>,
    /// `[rows]`, 0 for a row of zeros.
    pub scales: Vec<f32>,
}

impl BankBytes {
    /// Rounds each row of `rows`, `[rows, dimensions]`, to the 255 steps between its largest magnitude
    /// and that with the other sign. Rows that come out of [`BankBytes::rows`] stay as they are.
    pub fn of(rows: &[f32], dimensions: usize) -> Self {
        let mut values = Vec::with_capacity(rows.len());
        let mut scales = Vec::with_capacity(rows.len() / dimensions.max(1));
        for row in rows.chunks_exact(dimensions.max(1)) {
            let largest = row.iter().fold(0f32, |most, v| most.max(v.abs()));
            let scale = short(largest / 127.0);
            let step = |v: &f32| (v / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
            match scale > 0.0 {
                true => values.extend(row.iter().map(step)),
                false => values.extend(row.iter().map(|_| 0)),
            }
            scales.push(scale);
        }
        Self { values, scales }
    }

    /// The rows as floats, `[rows, dimensions]`.
    pub fn rows(&self) -> Vec<f32> {
        let dimensions = self.values.len() / self.scales.len().max(1);
        let rows = self.values.chunks_exact(dimensions.max(1));
        rows.zip(&self.scales)
            .flat_map(|(row, &scale)| row.iter().map(move |&v| f32::from(v) * scale))
            .collect()
    }

    /// What is wrong with them, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let whole = |s: &f32| s.is_finite() && s.is_sign_positive();
        let sound = |s: &f32| whole(s) && short(*s).to_bits() == s.to_bits();
        self.scales
            .iter()
            .position(|scale| !sound(scale))
            .map(|at| format!("bank row {at} has the scale {}", self.scales[at]))
    }
}

/// The next number of 16 significant bits, upwards.
fn short(scale: f32) -> f32 {
    f32::from_bits((scale.to_bits() + 0xff) & !0xff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_within_half_a_step_and_happens_once(
            rows in proptest::collection::vec(-1e6f32..1e6, 1..40),
            dimensions in 1usize..8,
            exponent in -30i32..3,
        ) {
            let shrunk = rows.iter().map(|v| v * 10f32.powi(exponent));
            let mut rows: Vec<f32> = shrunk.collect();
            rows.truncate(rows.len() / dimensions * dimensions);
            let bytes = BankBytes::of(&rows, dimensions);
            prop_assert_eq!(bytes.problem(), None);
            let rounded = bytes.rows();
            for (at, (before, after)) in rows.iter().zip(&rounded).enumerate() {
                let step = bytes.scales[at / dimensions];
                prop_assert!((before - after).abs() <= step * 0.5001, "{before} {after} {step}");
            }
            prop_assert_eq!(&BankBytes::of(&rounded, dimensions), &bytes);
        }
    }

    #[test]
    fn a_row_of_zeros_stays_one() {
        let bytes = BankBytes::of(&[0.0, 0.0, 1.0, -2.0], 2);
        assert_eq!((bytes.scales[0], &bytes.values[..2]), (0.0, &[0, 0][..]));
        assert_eq!(bytes.values[3], -127);
        assert_eq!(bytes.rows()[..2], [0.0, 0.0]);
    }

    #[test]
    fn scales_that_no_fit_writes_are_refused() {
        for scale in [f32::NAN, f32::INFINITY, -1.0, -0.0, 0.1] {
            let bytes = BankBytes {
                values: vec![1],
                scales: vec![scale],
            };
            assert_eq!(bytes.problem().is_some(), scale.to_bits() != 0, "{scale}");
        }
    }
}
