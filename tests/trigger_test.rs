//! `doctor --trigger-test`: what it finds with a known camera, and what it refuses.
//!
//! The outputs are those of the text plant. The camera is a model: every frame is as bright as the
//! lamp was on during its exposure, its stamp is late by a known time, and it arrives later still.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;
mod line;

use command::{Ran, program};
use line::Plant;
use partgate::capture::source::{CaptureError, FrameSource};
use partgate::clock;
use partgate::frame::RawFrame;
use partgate::line::gate::Output;
use partgate::simulation::lines::TextOutputs;
use partgate::station::{TriggerTest, TriggerTestError, trigger_test};
use partgate::time::{Duration, Instant};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

const MS: i64 = 1_000_000;
const PERIOD: u64 = 20_000_000;
const EXPOSURE: u64 = 5_000_000;
/// Time from the beginning of the exposure to its stamp.
const HIDDEN: u64 = 30_000_000;
/// Shortest time from the beginning of the exposure until the frame arrives.
const WAY: u64 = 45_000_000;

/// A camera that sees a lamp on output `busy`.
struct Camera {
    levels: PathBuf,
    next: u64,
    sequence: u64,
    sees_the_lamp: bool,
}

impl Camera {
    fn new(levels: &Path, sees_the_lamp: bool) -> Self {
        Self {
            levels: levels.into(),
            next: clock::now().0,
            sequence: 0,
            sees_the_lamp,
        }
    }

    /// Share of the exposure that begins at `from` with the lamp on.
    fn lit(&self, from: u64) -> f64 {
        let text = std::fs::read_to_string(&self.levels).expect("levels");
        let (mut on_since, mut lit) = (None, 0);
        let to = from + EXPOSURE;
        let changes = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [at, "busy", level] = words[..] else {
                return None;
            };
            Some((at.parse::<u64>().expect("a time"), level == "1"))
        });
        for (at, on) in changes.chain([(u64::MAX, false)]) {
            if let Some(since) = on_since.take() {
                lit += at.min(to).saturating_sub(from.max(since));
            }
            on_since = on.then_some(at);
        }
        lit as f64 / EXPOSURE as f64
    }
}

impl FrameSource for Camera {
    fn open(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let in_hand = Instant(self.next + WAY);
        let wait = clock::until(in_hand);
        if wait > at_most {
            clock::sleep(at_most);
            return Ok(false);
        }
        clock::sleep(wait);
        let lit = if self.sees_the_lamp {
            self.lit(self.next)
        } else {
            0.0
        };
        into.bytes.clear();
        into.bytes.resize(16 * 16, 20 + (100.0 * lit) as u8);
        (into.width, into.height, into.stride) = (16, 16, 16);
        into.time = Instant(self.next + HIDDEN);
        into.sequence = self.sequence;
        self.sequence += 1;
        self.next += PERIOD;
        Ok(true)
    }

    fn frame_bytes(&self) -> usize {
        16 * 16
    }

    fn describe(&self) -> String {
        "a camera that looks at a lamp".into()
    }
}

const ASKED: TriggerTest = TriggerTest {
    output: Output::Busy,
    rounds: 20,
    change: 10.0,
    patience: Duration::from_secs(20),
};

/// The last level of output `busy`.
fn last_level(levels: &Path) -> Option<bool> {
    let text = std::fs::read_to_string(levels).expect("levels");
    let last = text.lines().rfind(|line| line.contains(" busy "))?;
    Some(last.ends_with('1'))
}

#[test]
fn the_trial_finds_the_time_that_a_cameras_stamps_hide() {
    let folder = tempfile::tempdir().expect("folder");
    let levels = folder.path().join("outputs");
    let mut outputs = TextOutputs::open(&levels, &[Output::Busy, Output::Ready]).expect("outputs");
    let mut camera = Camera::new(&levels, true);
    let stop = AtomicBool::new(false);
    let found = trigger_test(ASKED, &mut outputs, &mut camera, &stop).expect("a result");
    assert_eq!(found.rounds.len(), 20);
    assert_eq!(found.period, Duration(PERIOD));
    let (period, exposure, hidden) = (PERIOD as i64, EXPOSURE as i64, HIDDEN as i64);
    for round in &found.rounds {
        // An exposure that began before the lamp and was lit in part; or the next one, which is lit
        // completely.
        assert!(round.first.stamp > hidden - exposure, "{round:?}");
        // The exposure of a frame with nine tenths of the light began at most half a millisecond
        // before the lamp.
        assert!(round.full.stamp >= hidden - MS, "{round:?}");
        assert!(round.full.stamp >= round.first.stamp);
        assert!(round.first.in_hand >= round.first.stamp + (WAY - HIDDEN) as i64);
    }
    let full = found.spread(|round| round.full.stamp);
    assert!(full.min < hidden + period, "{full:?}");
    assert!(full.min <= full.median && full.median <= full.max);
    let suggested = found.suggestion();
    assert!(
        (29..50).contains(&suggested.exposure_min_ms),
        "{suggested:?}"
    );
    assert!(suggested.exposure_max_ms >= suggested.exposure_min_ms + 20);
    assert!(suggested.delivery_ms >= (WAY - HIDDEN) / 1_000_000);
    assert_eq!(last_level(&levels), Some(false), "the output is off again");
    // Only the lamp was switched.
    let text = std::fs::read_to_string(&levels).expect("levels");
    assert!(!text.contains("ready 1"));
}

#[test]
fn a_lamp_that_nobody_sees_is_reported_with_the_name_of_the_output_which_is_off_again() {
    let folder = tempfile::tempdir().expect("folder");
    let levels = folder.path().join("outputs");
    let mut outputs = TextOutputs::open(&levels, &[Output::Busy]).expect("outputs");
    let mut camera = Camera::new(&levels, false);
    let stop = AtomicBool::new(false);
    let asked = TriggerTest {
        patience: Duration::from_secs(1),
        ..ASKED
    };
    let error = trigger_test(asked, &mut outputs, &mut camera, &stop);
    let error = error.expect_err("nothing changes");
    assert!(
        matches!(error, TriggerTestError::NothingChanges { line: "busy", .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("is the lamp wired to this output")
    );
    assert_eq!(last_level(&levels), Some(false));
}

/// A line whose camera is rendered.
fn plant(camera: &str) -> Plant {
    let plant = Plant::new(&format!(
        "product = \"small.pgp\"\nboard = \"generic-x86\"\n[camera]\nsource = \"rendered\"\n{camera}\n\
         seed = 1\ndefective_percent = 0.0\n[trigger]\nkind = \"socket\"\nmin_pitch_ms = 100\n[capture]\n\
         exposure_max_ms = 60\ndelivery_ms = 200\n[gate]\nafter_ms = 2000\npulse_ms = 60\n\
         ejector = \"pass\"\n[inference]\nthreads = 1\ntimeout_ms = 10000\n"
    ));
    std::fs::write(plant.at("small.pgp"), bundle::small()).expect("bundle");
    plant
}

fn doctor(plant: &Plant, arguments: &[&str]) -> Ran {
    let mut command = program(&["doctor", "line.toml"]);
    let output = command
        .args(arguments)
        .current_dir(plant.folder.path())
        .output();
    output.expect("the program runs").into()
}

#[test]
fn the_trial_refuses_what_runs_what_moves_the_line_and_what_shows_nothing() {
    let waits = plant("on_trigger = true");
    doctor(&waits, &["--trigger-test=fault"])
        .exits(3)
        .tells("on_trigger");
    drop(waits);
    let plant = plant("on_trigger = false\nfps = 20.0");
    doctor(&plant, &["--trigger-test"])
        .exits(3)
        .tells("lines.busy");
    doctor(&plant, &["--trigger-test=pass"])
        .exits(3)
        .tells("would move the line");
    doctor(&plant, &["--trigger-test=siren"])
        .exits(3)
        .tells("known are");
    // Rendered parts differ by less than this, and no lamp lights them.
    doctor(&plant, &["--trigger-test=fault", "--change", "120"])
        .exits(7)
        .tells("is the lamp wired to this output");
    let running = plant.start();
    running.await_ready();
    doctor(&plant, &["--trigger-test=fault"])
        .exits(3)
        .tells("is `partgate run` running already?");
    running.stop();
}
