//! What a configuration may say, but perhaps should not.

use super::LineConfig;
use super::problem::Problem;
use crate::line::gate::{Nanos, Span};

fn ms(time: Nanos) -> f64 {
    time.0 as f64 / 1e6
}

impl LineConfig {
    /// What works, but leaves less protection than the line could have; sorted by line.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut note = |key: &str, message: String| {
            let (line, key) = (self.line_of(key).unwrap_or(1), key.to_string());
            found.push(Problem { line, key, message });
        };
        let (capture, pitch) = (&self.capture, self.trigger.min_pitch);
        let window = capture.exposure_max.since(capture.exposure_min);
        let reach = window.after(capture.delivery);
        if reach >= pitch {
            note(
                "capture.delivery_ms",
                format!(
                    "{} ms (capture.exposure_max_ms - capture.exposure_min_ms + capture.delivery_ms) is not shorter than trigger.min_pitch_ms = {} ms: a camera that stamps a frame wrongly could give a part the picture of another",
                    ms(reach),
                    ms(pitch)
                ),
            );
        }
        if let Span::Time(pulse) = self.gate.pulse
            && pulse >= pitch
        {
            note(
                "gate.pulse_ms",
                format!(
                    "{} ms is not shorter than trigger.min_pitch_ms = {} ms: the pulse of one part reaches the next",
                    ms(pulse),
                    ms(pitch)
                ),
            );
        }
        found.sort();
        found
    }
}
