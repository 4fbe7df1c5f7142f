//! Every thread that matters is watched: if one hangs, READY goes off, HEARTBEAT stops, and the
//! watchdogs are not kicked for longer. Also: what may disarm the hardware watchdog.
//!
//! A real line in this process, with devices that this test makes hang.

#![allow(clippy::expect_used, clippy::panic)]

use partgate::capture::Exposure;
use partgate::clock;
use partgate::frame::RawFrame;
use partgate::line::controller::{Command, Controller, ControllerSettings};
use partgate::line::devices::{DeviceError, Edge, Holding, Input, Inputs, Outputs};
use partgate::line::gate::{Action, Ejector, Fault, Output, PartVerdict, Settings};
use partgate::line::pairing::PairingSettings;
use partgate::record::{ImageOptions, LogOptions, Metrics, ProductLabel, RecordOptions, Recorder};
use partgate::simulation::camera::{Production, RenderedSource};
use partgate::simulation::lines::{InputFeed, OutputView, SimulatedInputs, SimulatedOutputs};
use partgate::station::keepalive::Keepalive;
use partgate::station::{
    History, Inspected, InspectorError, LinkError, PartInspector, Station, StationError, Summary,
    TriggerSource, metrics,
};
use partgate::time::{Duration, Instant, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings() -> ControllerSettings {
    let ms = |ms| Span::Time(Duration::from_millis(ms));
    let pitch = Duration::from_millis(50);
    let gate = Settings {
        min_off: ms(10),
        late_output: Duration::from_millis(400),
        capacity: 64,
        max_waiting: 64,
        heartbeat: Duration::from_millis(50),
        fault_hold: Duration::from_millis(100),
        ..Settings::plain(ms(500), ms(40), Ejector::Pass, pitch)
    };
    let pairing = PairingSettings {
        exposure_min: Duration::ZERO,
        exposure_max: Duration::from_millis(20),
        delivery: Duration::from_millis(400),
    };
    ControllerSettings::plain(gate, pairing, Duration::from_millis(20_000))
}

/// Inputs whose driver hangs while the flag is set.
struct Hanging(SimulatedInputs, Arc<AtomicBool>);

impl Inputs for Hanging {
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError> {
        while self.1.load(Ordering::Relaxed) {
            clock::sleep(Duration::from_millis(5));
        }
        self.0.wait(at_most)
    }
}

/// Outputs that another process owns: 0 works, 1 gone, 2 it wants an orderly end.
struct Held(SimulatedOutputs, Arc<AtomicU8>);

impl Outputs for Held {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        self.0.set(output, on)
    }

    fn holding(&mut self, _: Instant) -> Result<Holding, DeviceError> {
        match self.1.load(Ordering::Relaxed) {
            1 => Err(LinkError::Gone.into()),
            printed => Ok(Holding {
                end: printed == 2,
                ..Holding::OWN
            }),
        }
    }
}

struct Rejects;

impl PartInspector for Rejects {
    fn inspect(&mut self, _: &RawFrame) -> Result<Inspected, InspectorError> {
        Ok(Inspected {
            verdict: PartVerdict::Ng,
            score: 1.0,
            finding: None,
        })
    }
}

/// A running line, and this test's ends of it.
struct Bench {
    folder: tempfile::TempDir,
    view: OutputView,
    feed: InputFeed,
    hang: Arc<AtomicBool>,
    recorder_hangs: Arc<AtomicBool>,
    holding: Arc<AtomicU8>,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
    line: JoinHandle<Result<Summary, StationError>>,
}

impl Bench {
    fn start(record_required: bool) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (inputs, feed) = SimulatedInputs::new(256).expect("inputs");
        let (outputs, view) = SimulatedOutputs::new(4096).expect("outputs");
        let hang = Arc::new(AtomicBool::new(false));
        let recorder_hangs = Arc::new(AtomicBool::new(false));
        let holding = Arc::new(AtomicU8::new(0));
        let metrics = Arc::new(metrics());
        let watchdog = folder.path().join("watchdog");
        std::fs::write(&watchdog, "").expect("file");
        let keepalive = Keepalive::with(|_| None, Some(&watchdog)).expect("keepalive");
        let delay = Duration::from_millis(1);
        let production = Production::new(1, 4, 0.0);
        let hangs = recorder_hangs.clone();
        let decode = move |_: &RawFrame| {
            while hangs.load(Ordering::Relaxed) {
                clock::sleep(Duration::from_millis(5));
            }
            Err("it hung".into())
        };
        let record = folder.path().join("record");
        let options = RecordOptions {
            log: LogOptions {
                folder: record.clone(),
                max_bytes: 1 << 20,
                keep: 2,
            },
            images: ImageOptions {
                folder: record.join("images"),
                quota_bytes: 16 << 20,
                ok_sample_percent: 0.0,
                min_free_bytes: 0,
                seed: 0,
            },
        };
        let recorder = Recorder::new(options, Box::new(decode), None, metrics.clone());
        let station = Station {
            settings: settings(),
            source: Box::new(RenderedSource::new(
                production,
                Exposure::OnTrigger { delay },
            )),
            camera_timeout: Duration::from_secs(1),
            camera_wired: false,
            triggers: TriggerSource::Inputs(Box::new(Hanging(inputs, hang.clone()))),
            outputs: Box::new(Held(outputs, holding.clone())),
            inspector: Box::new(Rejects),
            self_test_passed: true,
            recorder: Some(recorder),
            metrics: metrics.clone(),
            keepalive: Some(keepalive),
            sampler: None,
            ng_threshold: 1.0,
            socket_triggers: false,
            product: ProductLabel::NONE,
            alive_every: Duration::from_millis(20),
            // A machine that is busy with other tests runs late itself.
            late: Duration::from_millis(2_000),
            record_required,
            challenge_every: None,
            history: History::default(),
            control: None,
            latch: None,
            switch: None,
            asked: Default::default(),
            recipe: None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = stop.clone();
        let line = std::thread::spawn(move || station.run(&theirs));
        let bench = Self {
            folder,
            view,
            feed,
            hang,
            recorder_hangs,
            holding,
            metrics,
            stop,
            line,
        };
        bench.until("READY", |b| b.view.level(Output::Ready));
        bench
    }

    fn until(&self, what: &str, good: impl Fn(&Self) -> bool) -> Duration {
        let started = clock::now();
        while !good(self) {
            assert!(
                clock::now().since(started) < PATIENCE,
                "{what} does not come"
            );
            clock::sleep(Duration::from_millis(2));
        }
        clock::now().since(started)
    }

    fn watchdog(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("watchdog")).expect("file")
    }

    fn faults(&self) -> Vec<&'static str> {
        self.metrics.faults().collect()
    }

    /// Number of HEARTBEAT's changes within `time`.
    fn beats(&self, time: Duration) -> usize {
        let mut view = self.view.clone();
        view.by_ref().for_each(drop);
        clock::sleep(time);
        view.filter(|c| c.output == Output::Heartbeat).count()
    }

    fn end(self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        self.ended()
    }

    fn ended(self) -> Vec<u8> {
        let path = self.folder.path().join("watchdog");
        self.line.join().expect("no panic").expect("it ran");
        std::fs::read(path).expect("file")
    }
}

#[test]
fn a_trigger_thread_that_hangs_drops_ready_stops_the_heartbeat_and_at_last_the_watchdog() {
    let mut bench = Bench::start(false);
    assert!(bench.beats(Duration::from_millis(500)) > 2);
    bench.hang.store(true, Ordering::Relaxed);
    // It can be in a wait of 50 ms; then come 500 ms of silence.
    let took = bench.until("READY off", |b| !b.view.level(Output::Ready));
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    bench.until("the fault", |b| b.faults() == ["inputs"]);
    assert!(bench.view.level(Output::Fault));
    assert_eq!(bench.beats(Duration::from_millis(500)), 0, "HEARTBEAT");
    // Nobody sees a part in this time; after ten seconds the watchdog is no longer kicked.
    clock::sleep(Duration::from_secs(10));
    let kicks = bench.watchdog().len();
    assert!(kicks > 5, "kicked at first: {kicks}");
    assert_eq!(bench.beats(Duration::from_millis(2500)), 0, "HEARTBEAT");
    assert_eq!(bench.watchdog().len(), kicks, "the watchdog");
    bench.hang.store(false, Ordering::Relaxed);
    bench.until("READY", |b| b.view.level(Output::Ready));
    assert!(bench.beats(Duration::from_millis(500)) > 2);
    bench.feed.edge_now(Input::Trigger);
    bench.until("a part", |b| b.metrics.parts.get() == 1);
    bench.end();
}

#[test]
fn a_recorder_that_hangs_loses_the_record_and_stops_a_line_that_needs_it() {
    for required in [false, true] {
        let mut bench = Bench::start(required);
        bench.recorder_hangs.store(true, Ordering::Relaxed);
        bench.feed.edge_now(Input::Trigger);
        bench.until("RECORD_LOST", |b| b.view.level(Output::RecordLost));
        assert!(bench.metrics.is_record_lost());
        if required {
            bench.until("READY off", |b| !b.view.level(Output::Ready));
            assert_eq!(bench.faults(), ["record"]);
        } else {
            assert!(bench.view.level(Output::Ready));
        }
        bench.recorder_hangs.store(false, Ordering::Relaxed);
        bench.until("RECORD_LOST off", |b| !b.view.level(Output::RecordLost));
        bench.until("READY", |b| b.view.level(Output::Ready));
        bench.end();
    }
}

#[test]
fn only_an_end_that_somebody_asked_for_disarms_the_hardware_watchdog() {
    let disarmed = |letters: &[u8]| letters.contains(&b'V');
    let bench = Bench::start(false);
    assert!(!disarmed(&bench.watchdog()));
    assert!(disarmed(&bench.end()), "its own SIGTERM");
    let bench = Bench::start(false);
    bench.holding.store(2, Ordering::Relaxed);
    assert!(disarmed(&bench.ended()), "the supervisor ends it");
    let bench = Bench::start(false);
    bench.holding.store(1, Ordering::Relaxed);
    assert!(
        !disarmed(&bench.ended()),
        "no process owns the outputs any more"
    );
}

/// Number of HEARTBEAT's changes of `controller` within a second.
fn beats(controller: &mut Controller<()>, now: &mut Instant) -> usize {
    let mut beats = 0;
    for _ in 0..100 {
        *now = now.after(Duration::from_millis(10));
        controller.tick(*now, &mut |command| {
            if let Command::Gate(Action::Set {
                output: Output::Heartbeat,
                ..
            }) = command
            {
                beats += 1;
            }
        });
    }
    beats
}

#[test]
fn the_heartbeat_stands_still_under_every_fault_that_leaves_the_gate_blind() {
    let mut now = clock::now();
    let mut controller = Controller::<()>::new(settings(), now).expect("settings");
    assert_eq!(beats(&mut controller, &mut now), 0, "starting");
    controller.fault(Fault::Starting, false, now, &mut |_| {});
    assert!(beats(&mut controller, &mut now) >= 19);
    for fault in [
        Fault::Camera,
        Fault::Inference,
        Fault::Outputs,
        Fault::Starting,
    ] {
        controller.fault(fault, true, now, &mut |_| {});
        assert_eq!(beats(&mut controller, &mut now), 0, "{fault:?}");
        controller.fault(fault, false, now, &mut |_| {});
        assert!(beats(&mut controller, &mut now) >= 19, "{fault:?}");
    }
}
