//! Drift: do good parts score higher than they did when the product was fitted?
//!
//! Drift is an alarm and never a verdict. Lamps age, lenses get dusty, fixtures wear: scores rise
//! slowly, long before good parts are rejected.

use crate::settings::kind::{decimal, whole};
use crate::settings::section;
use thiserror::Error;

/// Most parts that a window can hold.
const LARGEST_WINDOW: usize = 65_536;

section! {
    /// `[drift]`: an alarm on slowly rising scores, never a verdict.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct DriftSettings, read as DriftRead in "drift" {
        /// Number of OK parts whose mean score is watched. There is no alarm before the window is
        /// full.
        window: usize = "window", whole(10..=LARGEST_WINDOW as u64, "parts"), default 200;
        /// Rise of that mean over the product's own mean at which the alarm is raised, per cent.
        /// The alarm is cleared below half of it.
        rise_percent: f64 = "rise_percent", decimal(0.1..=1000.0, "%"), default 20;
    }
}

/// Why drift cannot be watched.
#[derive(Debug, Error, PartialEq)]
pub enum DriftError {
    /// The window is empty or larger than the limit.
    #[error("drift.window is {found}; 1 to {LARGEST_WINDOW} parts can be watched")]
    Window {
        /// The given number of parts.
        found: usize,
    },
    /// The rise is not a number above 0.
    #[error("drift.rise_percent is {found}; it must be a number over 0")]
    Rise {
        /// The given rise, per cent.
        found: f64,
    },
    /// The product's mean score is not a number above 0.
    #[error(
        "the product's mean score of good parts is {found}, which nothing can be compared with; fit it again or leave [drift] out"
    )]
    Reference {
        /// The given mean score.
        found: f64,
    },
}

/// The alarm is raised or cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftChange {
    /// Scores have risen.
    Raised,
    /// Scores are low enough again.
    Cleared,
}

/// Mean score of the last parts with an OK verdict, compared with the product's own mean.
#[derive(Clone, Debug)]
pub struct Drift {
    settings: DriftSettings,
    reference: f64,
    ring: Box<[f32]>,
    next: usize,
    full: bool,
    sum: f64,
    raised: bool,
}

impl Drift {
    /// Allocates all memory that it will need. `reference` is the product's own mean score of good
    /// parts, above 0.
    ///
    /// # Errors
    /// [`DriftError`], which names the value.
    pub fn new(settings: DriftSettings, reference: f64) -> Result<Self, DriftError> {
        let DriftSettings {
            window,
            rise_percent,
        } = settings;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !(1..=LARGEST_WINDOW).contains(&window) {
            return Err(DriftError::Window { found: window });
        }
        if !positive(rise_percent) {
            return Err(DriftError::Rise {
                found: rise_percent,
            });
        }
        if !positive(reference) {
            return Err(DriftError::Reference { found: reference });
        }
        Ok(Self {
            settings,
            reference,
            ring: vec![0.0; window].into_boxed_slice(),
            next: 0,
            full: false,
            sum: 0.0,
            raised: false,
        })
    }

    /// Counts a part with an OK verdict and its score. A score that is not finite is not counted.
    /// Returns a change of the alarm.
    pub(crate) fn ok_part(&mut self, score: f32) -> Option<DriftChange> {
        if !score.is_finite() {
            return None;
        }
        let slot = &mut self.ring[self.next];
        self.sum += f64::from(score) - f64::from(*slot);
        *slot = score;
        self.next += 1;
        if self.next == self.ring.len() {
            self.next = 0;
            self.full = true;
            // Once per round the sum is computed anew, so rounding errors cannot add up over
            // months.
            self.sum = self.ring.iter().map(|&s| f64::from(s)).sum();
        }
        let rise = self.rise_percent()?;
        let limit = self.settings.rise_percent;
        if !self.raised && rise > limit {
            self.raised = true;
            Some(DriftChange::Raised)
        } else if self.raised && rise < limit / 2.0 {
            self.raised = false;
            Some(DriftChange::Cleared)
        } else {
            None
        }
    }

    /// Mean score of the window; None until it is full.
    pub fn mean(&self) -> Option<f64> {
        self.full.then(|| self.sum / self.ring.len() as f64)
    }

    /// Rise of the mean over the reference, per cent; None until the window is full.
    pub fn rise_percent(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((mean / self.reference - 1.0) * 100.0)
    }

    /// Whether the alarm is raised.
    pub fn raised(&self) -> bool {
        self.raised
    }

    /// The product's mean score of good parts, which is compared with.
    pub fn reference(&self) -> f64 {
        self.reference
    }

    /// Forgets all parts and clears the alarm. For a new product or after a cleaning of the lens.
    pub fn restart(&mut self) {
        self.ring.fill(0.0);
        (self.next, self.full, self.sum, self.raised) = (0, false, 0.0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: DriftSettings = DriftSettings {
        window: 4,
        rise_percent: 20.0,
    };

    fn feed(drift: &mut Drift, scores: &[f32]) -> Vec<Option<DriftChange>> {
        scores.iter().map(|&s| drift.ok_part(s)).collect()
    }

    #[test]
    fn the_alarm_comes_above_the_limit_and_goes_below_half_of_it() {
        let mut drift = Drift::new(SETTINGS, 1.0).expect("options");
        assert_eq!(feed(&mut drift, &[9.0, 9.0, 9.0]), [None; 3]);
        assert_eq!(drift.mean(), None);
        assert_eq!(drift.ok_part(9.0), Some(DriftChange::Raised));
        assert_eq!(feed(&mut drift, &[1.15; 4]), [None; 4]);
        assert!(drift.raised());
        let back = feed(&mut drift, &[1.0; 4]);
        assert_eq!(
            back,
            [None, Some(DriftChange::Cleared), None, None],
            "1.15, 1.15, 1, 1 is a rise of 7.5 %"
        );
        assert_eq!(feed(&mut drift, &[1.15; 8]), [None; 8], "hysteresis");
        drift.restart();
        assert_eq!(drift.mean(), None);
    }

    #[test]
    fn what_is_not_a_number_is_not_counted() {
        let mut drift = Drift::new(SETTINGS, 1.0).expect("options");
        feed(&mut drift, &[1.0; 4]);
        let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(feed(&mut drift, &strange), [None; 3]);
        assert_eq!(drift.mean(), Some(1.0));
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for window in [0, LARGEST_WINDOW + 1, usize::MAX] {
            let error = Drift::new(DriftSettings { window, ..SETTINGS }, 1.0).err();
            assert_eq!(error, Some(DriftError::Window { found: window }));
        }
        for found in [0.0, -1.0, f64::INFINITY] {
            let settings = DriftSettings {
                rise_percent: found,
                ..SETTINGS
            };
            let error = Drift::new(settings, 1.0);
            assert_eq!(error.err(), Some(DriftError::Rise { found }));
            let error = Drift::new(SETTINGS, found);
            assert_eq!(error.err(), Some(DriftError::Reference { found }));
        }
    }

    proptest! {
        #[test]
        fn the_mean_is_that_of_the_last_window(
            scores in prop::collection::vec(0.0f32..1e6, 1..200), window in 1usize..20,
        ) {
            let mut drift = Drift::new(DriftSettings { window, ..SETTINGS }, 1.0).expect("options");
            let mut raised = false;
            for end in 1..=scores.len() {
                match drift.ok_part(scores[end - 1]) {
                    Some(change) => {
                        prop_assert_eq!(change == DriftChange::Raised, !raised);
                        raised = !raised;
                    }
                    None => prop_assert_eq!(drift.raised(), raised),
                }
                let last = &scores[end.saturating_sub(window)..end];
                let mean = last.iter().map(|&s| f64::from(s)).sum::<f64>() / last.len() as f64;
                match drift.mean() {
                    Some(found) => prop_assert!((found - mean).abs() <= 1e-6 * (1.0 + mean)),
                    None => prop_assert!(end < window),
                }
            }
        }
    }
}
