//! Says on standard error when the line is ready, and otherwise what it waits for.

use partgate::config::{LineConfig, TriggerKind};
use partgate::record::Metrics;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Looks after which a state is said: a line that is not ready for a moment is not worth a line.
const SETTLED: u32 = 4;

/// What a fault waits for, by its name in logs.
fn awaited(fault: &str) -> &str {
    match fault {
        "starting" => "the parts of the program to report",
        "camera" => "the camera, which is gone or sends nothing",
        "inference" => "an inspection that takes too long",
        "overrun" => "the inspector, which has more parts than it can inspect in time",
        "overload" => "the belt to empty: more parts than can be tracked",
        "encoder" => "the encoder, which does not count while parts go by",
        "inputs" => "the digital inputs, which are gone",
        "outputs" => "the digital outputs, which are gone",
        "late_output" => "outputs that are set in time",
        "self_test" => {
            "a product that scores here as in the fit (`partgate selftest` shows the difference)"
        }
        "supervisor" => "the supervisor, which does not answer",
        "record" => "the event log, which cannot be written",
        "asked_product" => {
            "somebody who asks for the product that runs, or for another one that can start (`partgate choose`, or the recipe inputs)"
        }
        "confirm" => "a person: a part was not confirmed at the ejector",
        other => other,
    }
}

/// The words for one line.
pub(super) struct Announcer {
    line: String,
    parts: String,
    acknowledge: String,
}

impl Announcer {
    pub(super) fn new(config: &LineConfig) -> Self {
        let line = config.file.display().to_string();
        let parts = match config.trigger.kind {
            TriggerKind::Gpio => "an edge at the input `trigger`".to_owned(),
            TriggerKind::Socket => format!("`partgate tell {line} trigger`"),
            TriggerKind::Timer => "the clock".to_owned(),
            TriggerKind::Encoder => "counts of the encoder".to_owned(),
        };
        Self {
            acknowledge: format!("`partgate tell {line} acknowledge`"),
            line,
            parts,
        }
    }

    /// The state in words.
    fn words(&self, metrics: &Metrics) -> String {
        let Self {
            line,
            parts,
            acknowledge,
        } = self;
        if metrics.ready() {
            return format!("{line}: ready; the next part comes with {parts}");
        }
        let mut waits: Vec<String> = metrics.faults().map(|f| awaited(f).to_owned()).collect();
        // A confirmation is missed until a person acknowledges it, as an alarm is.
        let latched = metrics.alarms().any(|alarm| alarm != "drift");
        if latched || metrics.faults().any(|fault| fault == "confirm") {
            waits.push(format!("a person who looks and says {acknowledge}"));
        }
        if waits.is_empty() {
            waits.push("the belt to empty".into());
        }
        format!("{line}: not ready; waits for {}", waits.join("; "))
    }

    /// Says each new state until `stop`.
    pub(super) fn run(&self, metrics: &Metrics, stop: &AtomicBool) {
        let mut states = States::default();
        while !stop.load(Ordering::Relaxed) {
            if let Some(words) = states.see(self.words(metrics)) {
                // Nobody may read it; the line runs all the same.
                let _ = writeln!(std::io::stderr(), "{words}");
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// What was seen and said.
#[derive(Default)]
struct States {
    seen: String,
    looks: u32,
    said: String,
}

impl States {
    /// The state, if it is new and has lasted.
    fn see(&mut self, state: String) -> Option<&str> {
        if state == self.seen {
            self.looks += 1;
        } else {
            (self.seen, self.looks) = (state, 1);
        }
        if self.looks != SETTLED || self.seen == self.said {
            return None;
        }
        self.said.clone_from(&self.seen);
        Some(&self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::line::gate::Fault;

    fn announcer() -> Announcer {
        Announcer {
            line: "line.toml".into(),
            parts: "the clock".into(),
            acknowledge: "`partgate tell line.toml acknowledge`".into(),
        }
    }

    #[test]
    fn what_a_line_waits_for_is_said_in_words() {
        let metrics = partgate::station::metrics();
        let announcer = announcer();
        metrics.set_ready(true);
        assert_eq!(
            announcer.words(&metrics),
            "line.toml: ready; the next part comes with the clock"
        );
        metrics.set_ready(false);
        for fault in Fault::ALL {
            metrics.fault(fault.name(), true);
            let words = announcer.words(&metrics);
            let what = awaited(fault.name());
            assert_ne!(what, fault.name(), "no words for it");
            assert!(
                words.contains("not ready; waits for") && words.contains(what),
                "{words}"
            );
            metrics.fault(fault.name(), false);
        }
        metrics.alarm("unknown", true);
        let words = announcer.words(&metrics);
        assert!(
            words.ends_with("says `partgate tell line.toml acknowledge`"),
            "{words}"
        );
    }

    #[test]
    fn a_state_is_said_once_and_only_if_it_lasts() {
        let mut states = States::default();
        let mut said = Vec::new();
        let seen = ["a"; 3]
            .into_iter()
            .chain(["b"; 6])
            .chain(["a"; 2])
            .chain(["b"; 6]);
        for state in seen.chain(["c"; 5]) {
            said.extend(states.see(state.into()).map(str::to_owned));
        }
        assert_eq!(said, ["b", "c"]);
    }
}
