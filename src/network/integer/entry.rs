//! The input's floats to bytes.

/// What happens to the input before it is rounded: `(x - shift) * gain`, limited.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The input is `[rows, columns, channels]` instead of `[channels, rows, columns]`.
    pub(crate) channels_last: bool,
    /// One per channel, or none at all.
    pub(crate) shift: Vec<f32>,
    /// As `shift`.
    pub(crate) gain: Vec<f32>,
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            channels_last: false,
            shift: Vec::new(),
            gain: Vec::new(),
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
        }
    }
}

impl Entry {
    /// Whether it changes no number.
    pub(super) fn is_plain(&self) -> bool {
        let same = Self {
            channels_last: self.channels_last,
            ..Self::default()
        };
        *self == same
    }

    /// With a shift and a gain for each of `channels` channels.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn whole(&self, channels: usize) -> Result<Self, String> {
        let mut whole = self.clone();
        for (list, neutral) in [(&mut whole.shift, 0.0), (&mut whole.gain, 1.0)] {
            if list.is_empty() {
                list.resize(channels, neutral);
            }
            if list.len() != channels {
                return Err(format!("{} numbers for {channels} channels", list.len()));
            }
        }
        if !self.channels_last && !self.is_plain() {
            return Err("changed before it is rounded, and its channels are not last".into());
        }
        Ok(whole)
    }

    /// The channels of a pixel, with a shift and a gain for each.
    pub(super) fn pixel(&self, values: &[f32], scale: f32, zero: f32, bytes: &mut [u8]) {
        let by = self.shift.iter().zip(&self.gain);
        for ((byte, value), (shift, gain)) in bytes.iter_mut().zip(values).zip(by) {
            let value = limited((value - shift) * gain, self.low, self.high);
            *byte = quantised(value, scale, zero);
        }
    }
}

/// `value` brought into `low..=high`. What is not a number stays so.
pub(super) fn limited(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// `value / scale` rounded, halves to even, plus the zero point, saturated.
pub(super) fn quantised(value: f32, scale: f32, zero: f32) -> u8 {
    // As in the kernels: rounds by an addition. What is not a number becomes 0, as a cast does.
    const ROUNDER: f32 = 12_582_912.0;
    let steps = (value / scale).clamp(-1024.0, 1024.0);
    ((steps + ROUNDER) - ROUNDER + zero) as u8
}
