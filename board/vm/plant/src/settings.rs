//! What the line's configuration says that the plant must know too.

/// Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the trigger to the gate.
    pub after: u64,
    /// Length of a pulse.
    pub pulse: u64,
    /// An output this much later than due is a fault.
    pub late: u64,
    /// Parts are never closer.
    pub pitch: u64,
    /// The latest exposure that is a part's.
    pub exposure: u64,
    /// READY and PASS fall when the vision process is silent for so long.
    pub lease: u64,
    /// No frame for so long: the camera counts as lost.
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
    /// Reads the few that matter here; the program under test reads and checks all of them.
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

/// The configuration with another distance to the gate.
///
/// # Errors
/// When it has none.
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
