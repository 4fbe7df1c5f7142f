//! Promise: from trigger to output a running line allocates no memory. All of its threads run;
//! every device records how much the thread that calls it has allocated so far.

#![allow(clippy::expect_used)]

mod counting;

use counting::so_far;
use partgate::capture::Exposure;
use partgate::capture::source::{CaptureError, Flash, FrameSource};
use partgate::clock;
use partgate::frame::Frame;
use partgate::frame::RawFrame;
use partgate::frame::decode;
use partgate::inspection::Inspector;
use partgate::line::controller::ControllerSettings;
use partgate::line::devices::{DeviceError, Edge, Input, Inputs, Outputs};
use partgate::line::gate::{Ejector, Output, Settings};
use partgate::line::pairing::PairingSettings;
use partgate::network::Threads;
use partgate::product::Product;
use partgate::record::{ImageOptions, LogOptions, ProductLabel, RecordOptions, Recorder};
use partgate::simulation::camera::{Production, RenderedSource};
use partgate::simulation::lines::{SimulatedInputs, SimulatedOutputs};
use partgate::station::keepalive::Keepalive;
use partgate::station::{
    Inspected, InspectorError, PartInspector, ProductInspector, Station, TriggerSource, metrics,
};
use partgate::time::{Duration, Span};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const WARM_UP: u64 = 20;
const MEASURED: u64 = 60;

/// Allocations of each thread of the line, as its device last saw them.
#[derive(Debug, Default)]
struct Taken {
    gate: AtomicU64,
    trigger: AtomicU64,
    camera: AtomicU64,
    /// The inspector's thread, without the inspector itself.
    around_the_inspector: AtomicU64,
    inspector: AtomicU64,
    inspected: AtomicU64,
}

impl Taken {
    fn note(counter: &AtomicU64) {
        counter.store(so_far(), Ordering::Release);
    }
}

struct WatchedOutputs(SimulatedOutputs, Arc<Taken>);

impl Outputs for WatchedOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        Taken::note(&self.1.gate);
        self.0.set(output, on)
    }

    fn alive(&mut self) -> Result<(), DeviceError> {
        Taken::note(&self.1.gate);
        self.0.alive()
    }
}

struct WatchedInputs(SimulatedInputs, Arc<Taken>);

impl Inputs for WatchedInputs {
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError> {
        Taken::note(&self.1.trigger);
        self.0.wait(at_most)
    }
}

struct WatchedSource(RenderedSource, Arc<Taken>);

impl FrameSource for WatchedSource {
    fn open(&mut self) -> Result<(), CaptureError> {
        self.0.open()
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        Taken::note(&self.1.camera);
        self.0.next(into, at_most)
    }

    fn frame_bytes(&self) -> usize {
        self.0.frame_bytes()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.0.flash()
    }
}

struct WatchedInspector(ProductInspector, Arc<Taken>);

impl PartInspector for WatchedInspector {
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError> {
        let taken = &self.1;
        let before = so_far();
        let inside = taken.inspector.load(Ordering::Relaxed);
        taken
            .around_the_inspector
            .store(before - inside, Ordering::Release);
        if taken.inspected.load(Ordering::Relaxed) == 0 {
            // Whether what this thread allocates is counted at all.
            std::hint::black_box(Box::new(0u8));
        }
        let inspected = self.0.inspect(raw);
        let inside = inside + so_far() - before;
        taken.inspector.store(inside, Ordering::Release);
        taken.inspected.fetch_add(1, Ordering::Release);
        inspected
    }
}

/// Formats log entries, as a real logger does, and keeps nothing.
struct Sink;

impl Write for Sink {
    fn write_str(&mut self, _: &str) -> std::fmt::Result {
        Ok(())
    }
}

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = write!(Sink, "{}", record.args());
    }

    fn flush(&self) {}
}

fn settings() -> ControllerSettings {
    let ms = |ms| Span::Time(Duration::from_millis(ms));
    let pitch = Duration::from_millis(50);
    let gate = Settings {
        min_off: ms(10),
        late_output: Duration::from_millis(500),
        capacity: 64,
        max_waiting: 64,
        heartbeat: Duration::from_millis(100),
        fault_hold: Duration::from_millis(100),
        ..Settings::plain(ms(2000), ms(40), Ejector::Pass, pitch)
    };
    let pairing = PairingSettings {
        exposure_min: Duration::ZERO,
        exposure_max: Duration::from_millis(20),
        delivery: Duration::from_millis(500),
    };
    ControllerSettings::plain(gate, pairing, Duration::from_millis(20_000))
}

fn recorder(folder: &Path, metrics: Arc<partgate::record::Metrics>) -> Recorder {
    let log = LogOptions {
        folder: folder.to_owned(),
        max_bytes: 1 << 20,
        keep: 2,
    };
    let images = ImageOptions {
        folder: folder.join("images"),
        quota_bytes: 16 << 20,
        ok_sample_percent: 10.0,
        min_free_bytes: 0,
        seed: 0,
    };
    let pixels = |raw: &RawFrame| {
        let mut frame = Frame::blank();
        decode(raw, &mut frame)?;
        Ok(frame)
    };
    let options = RecordOptions { log, images };
    Recorder::new(options, Box::new(pixels), None, metrics)
}

#[test]
fn from_trigger_to_output_nothing_is_taken() {
    log::set_logger(&Sink).expect("the only logger");
    log::set_max_level(log::LevelFilter::Debug);
    let folder = tempfile::tempdir().expect("folder");
    let taken = Arc::new(Taken::default());
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("calibration/demo.pgp");
    let product = Product::open(&bundle).expect("the demo's product");
    let threads = Threads::new(1).expect("threads");
    let inspector = Inspector::new(&product, &threads).expect("inspector");
    let ng_threshold = product.manifest().thresholds.ng.threshold;
    let delay = Duration::from_millis(1);
    let production = Production::new(1, 20, 20.0);
    let source = RenderedSource::new(production, Exposure::OnTrigger { delay });
    let (inputs, mut feed) = SimulatedInputs::new(256).expect("inputs");
    let (outputs, view) = SimulatedOutputs::new(256).expect("outputs");
    let metrics = Arc::new(metrics());
    let station = Station {
        settings: settings(),
        source: Box::new(WatchedSource(source, Arc::clone(&taken))),
        camera_timeout: Duration::from_secs(1),
        camera_wired: false,
        triggers: TriggerSource::Inputs(Box::new(WatchedInputs(inputs, Arc::clone(&taken)))),
        outputs: Box::new(WatchedOutputs(outputs, Arc::clone(&taken))),
        inspector: Box::new(WatchedInspector(
            ProductInspector::new(product, inspector, None),
            Arc::clone(&taken),
        )),
        self_test_passed: true,
        recorder: Some(recorder(folder.path(), Arc::clone(&metrics))),
        metrics: Arc::clone(&metrics),
        keepalive: Some(Keepalive::new(None).expect("keepalive")),
        sampler: None,
        ng_threshold,
        socket_triggers: false,
        product: ProductLabel::new("demo", ""),
        alive_every: Duration::from_millis(20),
        late: Duration::from_millis(1_000),
        record_required: false,
        challenge_every: None,
        history: partgate::station::History::default(),
        control: None,
        latch: None,
        switch: None,
        asked: Default::default(),
        recipe: None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    let line = std::thread::spawn(move || station.run(&theirs));
    let patience = clock::now().after(Duration::from_secs(60));
    while !view.level(Output::Ready) {
        assert!(clock::now() < patience, "the line is not ready");
        clock::sleep(Duration::from_millis(5));
    }
    let mut parts = |from: u64, count: u64| {
        for number in from..from + count {
            let before = taken.inspected.load(Ordering::Acquire);
            feed.edge_now(Input::Trigger);
            // Each part is inspected before the next one comes, so a slow machine has a slow line.
            let patience = clock::now().after(Duration::from_secs(60));
            while taken.inspected.load(Ordering::Acquire) == before {
                assert!(clock::now() < patience, "part {number} is not inspected");
                clock::sleep(Duration::from_millis(5));
            }
            clock::sleep(Duration::from_millis(60));
        }
        // Until all parts have reached the ejector.
        let patience = clock::now().after(Duration::from_secs(60));
        while metrics.parts.get() < from + count {
            assert!(clock::now() < patience, "parts are not decided");
            clock::sleep(Duration::from_millis(10));
        }
        clock::sleep(Duration::from_millis(100));
        let counters = [
            &taken.gate,
            &taken.trigger,
            &taken.camera,
            &taken.around_the_inspector,
            &taken.inspector,
        ];
        counters.map(|c| c.load(Ordering::Acquire))
    };
    let before = parts(0, WARM_UP);
    let after = parts(WARM_UP, MEASURED);
    stop.store(true, Ordering::Relaxed);
    let summary = line.join().expect("no panic").expect("the line runs");

    let counters = summary.counters;
    assert_eq!(counters.parts, WARM_UP + MEASURED);
    // Both decisions occurred, and most of them came from a verdict.
    assert!(counters.passed >= MEASURED / 2, "{counters:?}");
    assert!(counters.rejected_in_all() >= MEASURED / 10, "{counters:?}");
    let names = [
        "gate",
        "trigger",
        "camera",
        "around the inspector",
        "inspector",
    ];
    let difference: Vec<(&str, u64)> = names
        .into_iter()
        .zip(before.iter().zip(after))
        .map(|(name, (before, after))| (name, after - before))
        .collect();
    // The allocations at the start were counted.
    assert!(
        before[0] > 0 && before[2] > 0 && before[4] > 0,
        "{before:?}"
    );
    println!("allocations in {MEASURED} parts: {difference:?}");
    for (name, count) in &difference {
        assert_eq!(*count, 0, "allocations of `{name}` in {MEASURED} parts");
    }
}
