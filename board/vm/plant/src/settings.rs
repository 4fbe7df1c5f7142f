//! The settings of the line's configuration that the plant needs too.

/// Settings in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the trigger to the gate.
    pub after: u64,
    /// Length of a pulse.
    pub pulse: u64,
    /// An output that is set this much later than due is a fault.
    pub late: u64,
    /// Shortest time between two parts.
    pub pitch: u64,
    /// Latest exposure after a trigger that belongs to its part.
    pub exposure: u64,
    /// READY and PASS are switched off if the vision process is silent for this long.
    pub lease: u64,
    /// A camera without a frame for this long is lost.
    pub camera: u64,
}

fn value(text: &str, section: &str, key: &str) -> Option<u64> {
    let mut inside = false;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return value.trim().parse().ok();
        }
    }
    None
}

impl Settings {
    /// Reads only these settings. The program under test reads and checks all of them.
    pub fn of(text: &str) -> Result<Self, String> {
        let ms = |section: &str, key: &str| {
            value(text, section, key)
                .map(|ms| ms * 1000)
                .ok_or_else(|| format!("the configuration has no whole number {section}.{key}"))
        };
        Ok(Self {
            after: ms("gate", "after_ms")?,
            pulse: ms("gate", "pulse_ms")?,
            late: ms("gate", "late_output_ms")?,
            pitch: ms("trigger", "min_pitch_ms")?,
            exposure: ms("capture", "exposure_max_ms")?,
            lease: ms("supervisor", "lease_ms")?,
            camera: ms("camera", "timeout_ms")?,
        })
    }
}

/// The configuration with another time to the gate.
///
/// # Errors
/// If the configuration has no `after_ms`.
pub fn with_gate_after(text: &str, after_ms: u64) -> Result<String, String> {
    let line = text
        .lines()
        .find(|line| line.starts_with("after_ms ="))
        .ok_or("the configuration has no line `after_ms =`")?;
    Ok(text.replacen(line, &format!("after_ms = {after_ms}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_test_machines_own_configuration_is_read() {
        let text =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../line.toml")).unwrap();
        let settings = Settings::of(&text).unwrap();
        assert!(settings.after > settings.pulse && settings.pulse > settings.late);
        let text = with_gate_after(&text, 12_345).unwrap();
        assert_eq!(value(&text, "gate", "after_ms"), Some(12_345));
        assert!(with_gate_after("[gate]", 1).is_err());
        assert_eq!(value("[a]\nb = 1\n[c]\nb = 2 # three", "c", "b"), Some(2));
        assert_eq!(value("[a]\nb = 1", "c", "b"), None);
    }
}
