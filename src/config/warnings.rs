//! What a configuration may say, but perhaps should not.

use super::LineConfig;
use super::problem::Problem;
use crate::line::gate::{Ejector, Nanos, Span};
use std::time::Duration;

/// Leaves the vision process a second to come up and say so.
const LONGEST_RESTART: Duration = Duration::from_millis(1000);

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
        if let Some(frame) = self.camera.interval()
            && window < frame
        {
            note(
                "capture.exposure_max_ms",
                format!(
                    "the window of {} ms from capture.exposure_min_ms is shorter than one frame interval of a camera that runs freely, {:.1} ms at camera.fps: some parts will have no frame",
                    ms(window),
                    ms(frame)
                ),
            );
        }
        if let Span::Time(after) = self.gate.after {
            let left = after.since(capture.exposure_max.after(capture.delivery));
            let alarmed = self.alarm.consecutive_rejects > 0;
            if !alarmed && crate::clock::nanos(self.inference.timeout) > left {
                note(
                    "inference.timeout_ms",
                    format!(
                        "{} ms is longer than the {} ms that a part's judging may take before its gate: a judge that is always too late rejects every part, and with alarm.consecutive_rejects = 0 nobody is told",
                        self.inference.timeout.as_secs_f64() * 1e3,
                        ms(left)
                    ),
                );
            }
        }
        if self.supervisor.restart > LONGEST_RESTART {
            note(
                "supervisor.restart_ms",
                format!(
                    "{} ms without a vision process, which is who kicks systemd's watchdog: the packaged unit (WatchdogSec=2s) starts the whole service anew meanwhile; up to {} ms it does not",
                    self.supervisor.restart.as_millis(),
                    LONGEST_RESTART.as_millis()
                ),
            );
        }
        let lease = crate::clock::nanos(self.supervisor.lease);
        if self.gate.ejector == Ejector::Reject && lease >= pitch {
            note(
                "supervisor.lease_ms",
                format!(
                    "{} ms is not shorter than trigger.min_pitch_ms = {} ms: with gate.ejector = \"reject\" the parts at the ejector pass until a hanging program is noticed",
                    ms(lease),
                    ms(pitch)
                ),
            );
        }
        found.sort();
        found
    }
}
