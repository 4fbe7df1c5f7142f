//! A belt that carries parts past the sensor of a running line, and the truth about each of them.
//!
//! What a part shows follows only from the time of its trigger. So afterwards the same camera and
//! the same product give the parts that were allowed to pass. The rate of parts follows from the
//! time of one inspection on this machine, which is measured first.

// Each test crate uses only some of this.
#![allow(dead_code)]

use super::bundle;
use super::line::{MS, PATIENCE, Plant};
use partgate::config::LineConfig;
use partgate::frame::RawFrame;
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::seed::Rng;
use partgate::simulation::Devices;
use partgate::station::{Inspected, PartInspector, ProductInspector, source};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A killed process sends nothing, so READY and PASS are off one lease after a kill, however busy
/// the machine is: that is the bound. They go off sooner, as soon as the kernel has ended the last
/// of its threads. On a busy machine that takes a while.
pub(crate) const LEASE_MS: f64 = 200.0;
pub(crate) const SEED: u64 = 20;

/// How long a part is at the ejector.
pub(crate) const PULSE: u64 = 40 * MS;

/// The belt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Belt {
    /// Time from sensor to ejector.
    pub(crate) after: u64,
    /// Shortest time between two parts; the longest is half as much again.
    pub(crate) pitch: u64,
    /// Longest life of a ready line before it is killed.
    pub(crate) life: u64,
}

impl Belt {
    /// A belt for a machine that inspects one part in `inspection`.
    pub(crate) fn for_inspection(inspection: Duration) -> Self {
        let inspection = inspection.as_nanos() as u64;
        let pitch = (2 * inspection).clamp(100 * MS, 1000 * MS);
        let after = (4 * inspection).clamp(300 * MS, 3000 * MS);
        Self {
            after,
            pitch,
            // Half of it on average; then parts that came in time are at the ejector.
            life: 2 * after + 5 * pitch,
        }
    }

    /// For tests in which almost no part comes.
    pub(crate) const SLOW: Self = Self {
        after: 500 * MS,
        pitch: 100 * MS,
        life: 0,
    };

    pub(crate) fn config(self, product: &Path) -> String {
        self.wired(product, "pass")
    }

    /// The same; `ejector` is the output that is wired to the ejector.
    pub(crate) fn wired(self, product: &Path, ejector: &str) -> String {
        format!(
            r#"product = "{}"
board = "generic-x86"
[camera]
source = "rendered"
on_trigger = true
seed = 1
defective_percent = 30.0
[trigger]
kind = "gpio"
min_pitch_ms = {}
[capture]
exposure_max_ms = 40
delivery_ms = 60
[gate]
after_ms = {}
pulse_ms = {}
ejector = "{ejector}"
late_output_ms = 10
capacity = 64
[alarm]
consecutive_rejects = 0
restarts_per_hour = 0
stop_line = false
[inference]
threads = 1
timeout_ms = 3000
max_waiting = 16
[supervisor]
lease_ms = {LEASE_MS:.1}
restart_ms = 20
"#,
            product.display(),
            self.pitch * 9 / 10 / MS,
            self.after / MS,
            PULSE / MS,
        )
    }
}

/// A plant whose line has the small product.
pub(crate) fn small_line() -> Plant {
    let plant = Plant::new(&Belt::SLOW.config(Path::new("small.pgp")));
    std::fs::write(plant.at("small.pgp"), bundle::small()).expect("bundle");
    plant
}

/// The sections that complete the belt's configuration.
pub(crate) const ANY_LINES: &str = r#"
[trust]
allow_unsigned = true
[lines]
trigger = "line trigger"
ready = "line ready"
pass = "line pass"
[record]
folder = "record"
[plant]
outputs = "outputs"
inputs = "inputs"
"#;

/// Decides which parts may pass.
pub(crate) struct Truth {
    camera: Box<dyn partgate::capture::source::FrameSource>,
    flash: Box<dyn partgate::capture::source::Flash>,
    frame: RawFrame,
    inspector: ProductInspector,
    known: HashMap<Vec<u8>, Inspected>,
}

impl Truth {
    /// The truth for the lines that `config` configures.
    pub(crate) fn new(config: &Path) -> Self {
        let config = LineConfig::open(config).expect("configuration");
        let mut camera = source(&config, &Devices).expect("camera");
        camera.open().expect("camera");
        let flash = camera.flash().expect("exposes on command");
        let product = config.product.open().expect("product");
        let threads = Threads::new(1).expect("threads");
        let inspector = Inspector::new(&product, &threads).expect("inspector");
        Self {
            frame: RawFrame::with_capacity(camera.frame_bytes()),
            camera,
            flash,
            inspector: ProductInspector::new(product, inspector, None),
            known: HashMap::new(),
        }
    }

    fn show(&mut self, at: u64) {
        self.flash.fire(partgate::time::Instant(at));
        let frame = &mut self.frame;
        assert!(self.camera.next(frame, PATIENCE.into()).expect("frame"));
    }

    /// Digest of the picture of the part that was triggered at `at`.
    pub(crate) fn shown(&mut self, at: u64) -> blake3::Hash {
        self.show(at);
        blake3::hash(&self.frame.bytes)
    }

    /// The product's verdict on the part that was triggered at `at`.
    pub(crate) fn of(&mut self, at: u64) -> Inspected {
        self.show(at);
        let frame = &mut self.frame;
        if let Some(inspected) = self.known.get(&frame.bytes) {
            return inspected.clone();
        }
        let inspected = self.inspector.inspect(frame).expect("judged");
        self.known.insert(frame.bytes.clone(), inspected.clone());
        inspected
    }
}

/// Number of different parts of the camera that are inspected beforehand.
const SAMPLE: usize = 24;

/// Time of one inspection on this machine now: a slow one of a few.
pub(crate) fn inspection(truth: &mut Truth) -> Duration {
    let mut took = Vec::new();
    for us in 0.. {
        let (started, known) = (Instant::now(), truth.known.len());
        truth.of(us * 1000);
        if truth.known.len() > known {
            took.push(started.elapsed());
        }
        if took.len() == SAMPLE {
            break;
        }
    }
    took.sort();
    took[took.len() * 9 / 10]
}

/// The small product with thresholds in the middle of its scores for the parts of `truth`.
pub(crate) fn strict(truth: &mut Truth) -> Vec<u8> {
    inspection(truth);
    let mut scores: Vec<f32> = truth
        .known
        .values()
        .map(|inspected| inspected.score)
        .collect();
    scores.sort_by(f32::total_cmp);
    let (low, high) = (scores[scores.len() / 2 - 1], scores[scores.len() / 2]);
    assert!(low < high, "{scores:?}");
    let between = (low + high) / 2.0;
    bundle::with_thresholds(between, high.max(between))
}

/// Stops the belt when dropped, so that a test that fails ends.
pub(crate) struct Stops<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets parts pass the sensor until `stop`, whether the line sees them or not; returns their times.
pub(crate) fn run_belt(belt: Belt, plant: &Plant, stop: &AtomicBool) -> Vec<u64> {
    let mut rng = Rng::stream(SEED, 1);
    let mut parts = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        parts.push(plant.trigger());
        std::thread::sleep(share(belt.pitch, rng.between(1.0, 1.5)));
    }
    parts
}

pub(crate) fn share(of: u64, share: f32) -> Duration {
    Duration::from_nanos(of).mul_f32(share)
}

pub(crate) fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

/// A product that passes about half of the camera's parts, its verdict on each part, and a belt
/// that this machine can serve with it. `named` is another product than the small one.
pub(crate) fn measured(folder: &Path, named: Option<PathBuf>) -> (PathBuf, Truth, Belt) {
    let small = folder.join("small.pgp");
    std::fs::write(&small, bundle::small()).expect("bundle");
    let before = folder.join("before.toml");
    let of_product = |product: &Path| {
        let config = Belt::SLOW.config(product) + ANY_LINES;
        std::fs::write(&before, config).expect("configuration");
        Truth::new(&before)
    };
    let (product, mut truth) = match named {
        Some(named) => {
            let truth = of_product(&named);
            (named, truth)
        }
        None => {
            let lenient = &mut of_product(&small);
            std::fs::write(&small, strict(lenient)).expect("bundle");
            let truth = of_product(&small);
            (small, truth)
        }
    };
    let inspection = inspection(&mut truth);
    let belt = Belt::for_inspection(inspection);
    println!(
        "{}: inspected in {inspection:?}: {belt:?}",
        product.display()
    );
    (product, truth, belt)
}
