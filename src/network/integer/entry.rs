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

/// The bytes that stand for numbers: `(byte - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bytes {
    /// Difference of two numbers whose bytes follow each other; above 0.
    pub scale: f32,
    /// The byte of 0.
    pub zero_point: u8,
}

impl Bytes {
    /// `value / scale` rounded, halves to even, plus the zero point, saturated. What is not a number
    /// becomes 0.
    #[inline]
    pub fn round(self, value: f32) -> u8 {
        self.round_steps(value / self.scale)
    }

    /// As [`Bytes::round`], of a value over the scale.
    #[inline]
    pub(crate) fn round_steps(self, steps: f32) -> u8 {
        rounded(steps, f32::from(self.zero_point))
    }

    /// One over the scale, if multiplying by it gives exactly what dividing by the scale gives: a
    /// power of two.
    pub fn inverse(self) -> Option<f32> {
        const FRACTION: u32 = (1 << 23) - 1;
        let exact = self.scale.to_bits() & FRACTION == 0 && self.scale.is_normal();
        let inverse = 1.0 / self.scale;
        (exact && inverse.is_normal()).then_some(inverse)
    }
}

/// As [`Bytes::round`].
#[inline]
pub(super) fn quantised(value: f32, scale: f32, zero: f32) -> u8 {
    rounded(value / scale, zero)
}

// `clamp` would keep what is not a number.
#[allow(clippy::manual_clamp)]
#[inline]
fn rounded(steps: f32, zero: f32) -> u8 {
    // Rounds by an addition, as the kernels do. The lowest byte of the significand is then the
    // integer: vectors of bytes come from that, and not from a cast.
    const ROUNDER: f32 = 12_582_912.0;
    let whole = (steps.clamp(-1024.0, 1024.0) + ROUNDER) - ROUNDER + zero;
    // What is not a number becomes 0.
    let bounded = whole.max(0.0).min(255.0);
    (bounded + ROUNDER).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_byte() {
        let bytes = Bytes {
            scale: 0.5,
            zero_point: 100,
        };
        for (value, byte) in [
            (f32::NAN, 0),
            (f32::NEG_INFINITY, 0),
            (f32::INFINITY, 255),
            (-1e30, 0),
            (1e30, 255),
            (-50.0, 0),
            (77.5, 255),
            (0.0, 100),
            (0.25, 100),
            (0.75, 102),
            (-0.25, 100),
            (1.0, 102),
        ] {
            assert_eq!(bytes.round(value), byte, "{value}");
        }
        assert_eq!(bytes.inverse(), Some(2.0));
        let other = Bytes {
            scale: 0.3,
            ..bytes
        };
        assert_eq!(other.inverse(), None);
    }
}
