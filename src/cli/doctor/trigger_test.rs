//! `doctor --trigger-test`: after what time the light of an output is in a picture.

use crate::cli::failure::{Code, Failure};
use crate::cli::signals::stop_at_signals;
use crate::cli::terminal::Out;
use partgate::config::LineConfig;
use partgate::line::gate::Output;
use partgate::record::{RecordLock, RecordLockError};
use partgate::simulation::Devices;
use partgate::station::{
    Spread, Suggestion, TriggerTest, TriggerTestError, TriggerTested, ensure_alone, outputs,
    source, trigger_test,
};
use partgate::time::Duration;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use thiserror::Error;

/// Rounds of one test.
const ROUNDS: u32 = 20;
/// Longest wait until the lamp is seen, or not seen any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Outputs to which a lamp can be connected: nothing moves when they change.
const LAMPS: [Output; 7] = [
    Output::Busy,
    Output::Ok,
    Output::Fault,
    Output::Heartbeat,
    Output::TriggerAck,
    Output::ResultValid,
    Output::RecordLost,
];

#[derive(Debug, Error)]
enum Refusal {
    #[error("output `{name}` is not known; known are {}", LAMPS.map(Output::name).join(", "))]
    Unknown { name: String },
    #[error(
        "output `{name}` would move the line or let parts pass while nobody watches: connect the lamp to another output ({})",
        LAMPS.map(Output::name).join(", ")
    )]
    Moves { name: &'static str },
    #[error(
        "lines.{0} is not configured: connect a lamp to an output, configure it in [lines], and name it (--trigger-test=OUTPUT)"
    )]
    NotWired(&'static str),
    #[error(
        "this camera exposes only on its trigger (camera.on_trigger): make a copy of the configuration with on_trigger = false for the test"
    )]
    OnTrigger,
}

#[derive(Serialize)]
struct Milliseconds {
    min: f64,
    median: f64,
    max: f64,
}

impl From<Spread> for Milliseconds {
    fn from(spread: Spread) -> Self {
        let ms = |nanos: i64| (nanos as f64 / 1e3).round() / 1e3;
        Self {
            min: ms(spread.min),
            median: ms(spread.median),
            max: ms(spread.max),
        }
    }
}

#[derive(Serialize)]
struct Suggested {
    exposure_min_ms: u64,
    exposure_max_ms: u64,
    delivery_ms: u64,
}

#[derive(Serialize)]
struct Report {
    output: &'static str,
    camera: String,
    rounds: usize,
    period_ms: f64,
    first_stamp_ms: Milliseconds,
    first_in_hand_ms: Milliseconds,
    full_stamp_ms: Milliseconds,
    full_in_hand_ms: Milliseconds,
    delivery_max_ms: f64,
    suggested: Suggested,
}

impl Report {
    fn new(output: &'static str, camera: String, tested: &TriggerTested) -> Self {
        let Suggestion {
            exposure_min_ms,
            exposure_max_ms,
            delivery_ms,
        } = tested.suggestion();
        let ms = |nanos: u64| (nanos as f64 / 1e3).round() / 1e3;
        Self {
            output,
            camera,
            rounds: tested.rounds.len(),
            period_ms: ms(tested.period.0),
            first_stamp_ms: tested.spread(|r| r.first.stamp).into(),
            first_in_hand_ms: tested.spread(|r| r.first.in_hand).into(),
            full_stamp_ms: tested.spread(|r| r.full.stamp).into(),
            full_in_hand_ms: tested.spread(|r| r.full.in_hand).into(),
            delivery_max_ms: ms(tested.delivery.0),
            suggested: Suggested {
                exposure_min_ms,
                exposure_max_ms,
                delivery_ms,
            },
        }
    }

    fn print(&self, out: &mut Out) -> Result<(), Failure> {
        out.line(format_args!(
            "{}: output `{}` switched on {} times; a frame every {:.1} ms",
            self.camera, self.output, self.rounds, self.period_ms
        ))?;
        out.line(format_args!(
            "{:45} {:>9} {:>9} {:>9}",
            "milliseconds after the output", "min", "median", "max"
        ))?;
        for (what, spread) in [
            ("first frame that shows it: its stamp", &self.first_stamp_ms),
            ("first frame that shows it: in hand", &self.first_in_hand_ms),
            (
                "first frame that is fully lit: its stamp",
                &self.full_stamp_ms,
            ),
            (
                "first frame that is fully lit: in hand",
                &self.full_in_hand_ms,
            ),
        ] {
            out.line(format_args!(
                "{what:45} {:>9.1} {:>9.1} {:>9.1}",
                spread.min, spread.median, spread.max
            ))?;
        }
        out.line(format_args!(
            "a frame was under way for {:.1} ms at most, from its stamp until it was in hand",
            self.delivery_max_ms
        ))?;
        let suggested = &self.suggested;
        out.line(format_args!(
            "suggested, with the lamp's own delay in them:\n[capture]\nexposure_min_ms = {}\nexposure_max_ms = {}\ndelivery_ms = {}",
            suggested.exposure_min_ms, suggested.exposure_max_ms, suggested.delivery_ms
        ))
    }
}

/// Runs the test on the output called `name`.
pub(super) fn run(file: &Path, name: &str, change: f64, out: &mut Out) -> Result<Code, Failure> {
    let config = LineConfig::open(file).map_err(Failure::input)?;
    let named = Output::ALL.into_iter().find(|output| output.name() == name);
    let output = named.ok_or_else(|| {
        let name = name.into();
        Failure::input(Refusal::Unknown { name })
    })?;
    if !LAMPS.contains(&output) {
        let name = output.name();
        return Err(Failure::input(Refusal::Moves { name }));
    }
    if config.lines.named(output.name()).is_none() {
        return Err(Failure::input(Refusal::NotWired(output.name())));
    }
    if config.camera.on_trigger() {
        return Err(Failure::input(Refusal::OnTrigger));
    }
    // A running line holds these outputs, or will hold them soon.
    if let Some(control) = &config.control.socket {
        ensure_alone(control).map_err(Failure::input)?;
    }
    let _alone = match RecordLock::take(&config.record.folder) {
        Ok(lock) => Some(lock),
        Err(error @ RecordLockError::Held { .. }) => return Err(Failure::input(error)),
        Err(RecordLockError::Io { .. }) => None,
    };
    // A signal must not end the program before the outputs are set back.
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_signals(&stop)?;
    let mut source = source(&config, &Devices).map_err(Failure::input)?;
    source.open().map_err(Failure::unexpected)?;
    let mut outputs = outputs(&config, &Devices).map_err(Failure::unexpected)?;
    let asked = TriggerTest {
        output,
        rounds: ROUNDS,
        change,
        patience: PATIENCE,
    };
    let tested = trigger_test(asked, &mut *outputs, &mut *source, &stop).map_err(|error| {
        let code = match error {
            TriggerTestError::NothingChanges { .. }
            | TriggerTestError::Restless { .. }
            | TriggerTestError::Silent { .. } => Code::Unhealthy,
            _ => Code::Unexpected,
        };
        Failure::Error(code, error.into())
    })?;
    let report = Report::new(output.name(), source.describe(), &tested);
    if out.json() {
        out.json_page(&report)?;
    } else {
        report.print(out)?;
    }
    Ok(Code::Done)
}
