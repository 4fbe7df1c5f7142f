//! Valid settings that protect less than they could.

use super::agreement::slowest_count;
use super::{LineConfig, Problem, TriggerKind};
use crate::line::devices::Input;
use crate::line::gate::{Ejector, Output};
use crate::settings::kind::in_ms as ms;
use crate::time::Counts;
use std::time::Duration;

/// Leaves the vision process one second to start and report.
const LONGEST_RESTART: Duration = Duration::from_millis(1000);

impl LineConfig {
    /// Settings that work, but protect less than the line could; sorted by line number.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut note = |key: &str, message: String| {
            let (line, key) = (self.line_of(key).unwrap_or(1), key.to_string());
            found.push(Problem { line, key, message });
        };
        let (capture, pitch) = (&self.capture, self.trigger.min_pitch);
        let window = capture.exposure_max.saturating_sub(capture.exposure_min);
        let reach = window + capture.delivery;
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
        if self.recipe_rules().is_some_and(|rules| !rules.wires.parity) {
            note(
                "lines.recipe_1",
                "without lines.recipe_parity a broken or short-circuited wire can ask for another product of this line".into(),
            );
        }
        if let Some(left) = self.inspection_budget() {
            let alarmed = self.alarm.consecutive_rejects > 0;
            if !alarmed && self.inference.timeout > left {
                note(
                    "inference.timeout_ms",
                    format!(
                        "{} ms is longer than the {} ms that a part's inspection may take before its gate: an inspector that is always too late rejects every part, and with alarm.consecutive_rejects = 0 there is no alarm",
                        ms(self.inference.timeout),
                        ms(left)
                    ),
                );
            }
        }
        if self.supervisor.restart > LONGEST_RESTART {
            note(
                "supervisor.restart_ms",
                format!(
                    "{} ms without a vision process, which is what resets systemd's watchdog: the packaged unit (WatchdogSec=2s) starts the whole service anew meanwhile; up to {} ms it does not",
                    self.supervisor.restart.as_millis(),
                    LONGEST_RESTART.as_millis()
                ),
            );
        }
        let lease = self.supervisor.lease;
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
        self.wiring(&mut note);
        self.counting(&mut note);
        found.sort();
        found
    }

    /// Risks of the wiring.
    fn wiring(&self, note: &mut impl FnMut(&str, String)) {
        let lines = &self.lines;
        if lines.output(Output::Heartbeat).is_none() {
            note(
                "lines",
                "no lines.heartbeat: when the supervisor itself is killed, or the kernel hangs, most chips keep READY and PASS at their last level, and nothing else reports it to the PLC".into(),
            );
        }
        for (output, what) in [
            (Output::Ready, "runs the line"),
            (Output::Pass, "spares every part"),
        ] {
            if lines.output(output).is_some_and(|pin| pin.active_low) {
                let name = output.name();
                let message = format!(
                    "{name:?} is on at the low level: a board without power, in reset or booting has its pins low or floating, which then {what}; choose a driver that is energised by the high level"
                );
                note("lines.active_low", message);
            }
        }
    }

    /// Risks of counting by an encoder.
    fn counting(&self, note: &mut impl FnMut(&str, String)) {
        let gate = &self.gate;
        let of_another = match gate.ejector {
            Ejector::Pass => "a part gets the PASS of another",
            Ejector::Reject => "the REJECT of a part meets another, and the part passes",
        };
        if gate.after_counts.is_some() {
            if gate.encoder_silence.is_none_or(|silence| silence.is_zero()) {
                let message = format!(
                    "0: an encoder that dies while the belt goes on, and comes back, leaves every part in another's place: {of_another}"
                );
                note("gate.encoder_silence_ms", message);
            }
            if gate.count_min.is_none() && self.lines.input(Input::EncoderB).is_none() {
                let message = format!(
                    "an encoder that gains counts by noise moves every part on the belt: {of_another}; give gate.count_min_us, or a second channel as lines.encoder_b"
                );
                note("gate.after_counts", message);
            }
            if let (Some(pulse), Some(fastest)) = (gate.pulse_time, gate.count_min)
                && fastest > pulse / 4
            {
                let message = format!(
                    "{} ms is less than four counts of the fastest belt (gate.count_min_us = {}): a pulse by the clock lasts longer by the time that the belt stands, every time between two counts looks like that here, and REJECT stays on; give gate.pulse_counts instead",
                    ms(pulse),
                    fastest.as_micros()
                );
                note("gate.pulse_ms", message);
            }
        }
        let (Some(Counts(counts)), Ejector::Pass) = (gate.pulse_counts, gate.ejector) else {
            return;
        };
        let pitch = ms(self.trigger.min_pitch);
        let longest = counts as f64 * slowest_count(gate.encoder_silence, pitch);
        if self.trigger.kind != TriggerKind::Encoder && longest >= pitch {
            let message = format!(
                "on a belt slower than {:.0} counts per second PASS lasts longer than trigger.min_pitch_ms = {pitch} ms: it is over before the next part only where parts keep their distance on a slow belt, at least {counts} counts and a third",
                counts as f64 * 1000.0 / pitch
            );
            note("gate.pulse_counts", message);
        }
    }
}
