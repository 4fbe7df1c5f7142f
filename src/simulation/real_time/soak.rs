//! A line in real time with faults, for a given time.

use super::camera::{BeltCamera, Picture};
use super::devices::{EjectorOutputs, KeptInspector, ReportingInspector};
use super::injector::SharedInjector;
use super::ledger::Ledger;
use super::life::{DELIVERY, EXPOSURE, Pace, Running, SoakError};
use super::trial::inspection_times;
use crate::clock;
use crate::line::controller::FrameCounters;
use crate::line::devices::Input;
use crate::record::{Latency, Metrics, ProductLabel, Quantiles, Recorder};
use crate::seed::Rng;
use crate::simulation::faults::{
    FaultyInputs, FaultySource, FrameFaults, Injected, InputFaults, Kind, Shares,
};
use crate::simulation::lines::{InputFeed, OutputView, SimulatedInputs, SimulatedOutputs};
use crate::simulation::outcome::Outcome;
use crate::station::{self, PartInspector, Station, TriggerSource};
use crate::time::{Duration, Instant};
use std::sync::{Arc, Mutex};

/// Faults come this many times as often as in virtual time.
const OFTEN: usize = 4;
/// Edges that can wait for the program, and changes that can wait for the plant.
const ROOM: usize = 4096;
/// How often the caller gets the figures.
const NEWS: Duration = Duration::from_millis(1000);
/// Distance of the frame numbers of two lives: no number comes twice.
const LIFE: u64 = 1 << 40;

/// The settings of a soak.
pub struct Soak {
    /// How long it runs.
    pub duration: Duration,
    /// Seed of arrivals and faults.
    pub seed: u64,
    /// Injected faults; kinds that are not [`Kind::is_real`] are ignored.
    pub kinds: Vec<Kind>,
    /// Pictures of the parts, in turn.
    pub pictures: Vec<Picture>,
    /// The inspector of the line.
    pub inspector: Box<dyn PartInspector>,
    /// Score above which a part is NG; only for the metrics.
    pub ng_threshold: f32,
}

/// The results of a soak.
#[derive(Clone, Debug, Default)]
pub struct SoakOutcome {
    /// Parts, decisions, faults. Its virtual time and its own times stay zero.
    pub line: Outcome,
    /// Defective parts that passed the ejector: the product's own errors, and all that passed
    /// unverified.
    pub defective_passed: u64,
    /// Frames, the sum over all lives.
    pub frames: FrameCounters,
    /// How often the line was started.
    pub lives: u64,
    /// Time from sensor to ejector.
    pub gate: Duration,
    /// Median time of one part's inspection at the start.
    pub inspection: Duration,
    /// From the trigger to the verdict.
    pub trigger_to_verdict: Quantiles,
    /// From the trigger to the change of the ejector.
    pub trigger_to_output: Quantiles,
    /// How much later than scheduled the ejector was switched on.
    pub lateness: Quantiles,
    /// Real time since the start.
    pub elapsed: Duration,
}

/// The plant's ends of one life.
struct Life {
    running: Running,
    feed: InputFeed,
    view: OutputView,
    camera: Arc<Injected>,
    inputs: Arc<Injected>,
}

struct Plant<'a> {
    make_recorder: &'a mut dyn FnMut(Arc<Metrics>) -> Recorder,
    kinds: Vec<Kind>,
    seed: u64,
    ng_threshold: f32,
    pictures: Arc<[Picture]>,
    inspector: KeptInspector,
    pace: Pace,
    ledger: Arc<Ledger>,
    faults: Arc<SharedInjector>,
    metrics: Arc<Metrics>,
    outcome: SoakOutcome,
}

/// Runs a line for `soak.duration`, and gives `watch` the results so far once per second. Every
/// life of the line gets its recorder from `make_recorder`.
///
/// # Errors
/// [`SoakError`] if the line cannot run. A part that passes unverified is not an error; it is
/// counted.
pub fn soak(
    soak: Soak,
    make_recorder: &mut dyn FnMut(Arc<Metrics>) -> Recorder,
    watch: &mut dyn FnMut(&SoakOutcome),
) -> Result<SoakOutcome, SoakError> {
    if soak.pictures.is_empty() {
        return Err(SoakError::NoPicture);
    }
    let mut inspector = soak.inspector;
    let times = inspection_times(&mut *inspector, &soak.pictures, 20)?;
    let (median, longest) = (times.median, times.max);
    let ms = Duration::from_millis;
    let gate = (EXPOSURE + DELIVERY + longest * 3 + ms(100)).clamp(ms(400), ms(5_000));
    let pulse = ms(40);
    let pitch = (median * 6 / 5).max(ms(100));
    let pace = Pace {
        gate,
        pulse,
        min_pitch: ms(90),
        inspection: (longest * 4).clamp(ms(300), ms(1_500)),
        capacity: 64,
        max_waiting: 6,
    };
    let way = gate + pulse / 2;
    let mut plant = Plant {
        make_recorder,
        seed: soak.seed,
        ng_threshold: soak.ng_threshold,
        pictures: soak.pictures.into(),
        inspector: Arc::new(Mutex::new(inspector)),
        pace,
        ledger: Arc::new(Ledger::new(way)),
        faults: Arc::new(SharedInjector::new(&soak.kinds, soak.seed, OFTEN)),
        kinds: soak.kinds,
        metrics: Arc::new(station::metrics()),
        outcome: SoakOutcome {
            gate,
            inspection: median,
            ..SoakOutcome::default()
        },
    };
    plant.run(pitch, soak.duration, watch)?;
    Ok(plant.outcome)
}

impl Plant<'_> {
    fn run(
        &mut self,
        pitch: Duration,
        duration: Duration,
        watch: &mut dyn FnMut(&SoakOutcome),
    ) -> Result<(), SoakError> {
        let started = clock::now();
        let end = started.after(duration);
        let mut rng = Rng::stream(self.seed, 1);
        let mut life = self.start()?;
        let (mut arrival, mut news) = (started.after(pitch), started.after(NEWS));
        // The last arrival's own edge, if it is delivered late: its time, and when it is due.
        let mut edge: Option<(Instant, Instant)> = None;
        let mut outputs_back: Option<Instant> = None;
        loop {
            let now = clock::now();
            if let Some((at, when)) = edge.filter(|(_, when)| *when <= now) {
                edge = None;
                let _ = (life.feed.edge(Input::Trigger, at), when);
            }
            if arrival <= now && now < end {
                // If this thread was too late for a part, the part comes now: there is no other
                // record of it.
                self.ledger.arrive(now);
                let (late, next, outputs_away) = self.faults.with(|f| {
                    let late = f.strikes(Kind::SlowTrigger);
                    let late = if late {
                        f.between(1_000_000, 20_000_000)
                    } else {
                        0
                    };
                    let next = if f.strikes(Kind::Crowding) {
                        f.between(5_000_000, pitch.0 / 2)
                    } else {
                        pitch.0 + rng.below(2 * pitch.0 as usize) as u64
                    };
                    let away = outputs_back.is_none() && f.strikes(Kind::LostOutputs);
                    let away = away.then(|| f.between(100_000_000, 1_000_000_000));
                    (late, next, away)
                });
                // Edges of one input arrive in order.
                if let Some((at, _)) = edge.take() {
                    life.feed.edge(Input::Trigger, at);
                }
                if late > 0 {
                    edge = Some((now, now.after(Duration(late))));
                } else {
                    life.feed.edge(Input::Trigger, now);
                }
                arrival = now.after(Duration(next));
                if let Some(away) = outputs_away {
                    life.view.unplug(true);
                    // Wired so that an output that nobody drives lets no part pass.
                    self.ledger.pass(clock::now(), false, Instant::MAX);
                    outputs_back = Some(now.after(Duration(away)));
                }
            }
            self.settle(now);
            if outputs_back.is_some_and(|back| back <= now) || !life.running.runs() {
                // As the supervisor does: outputs that failed are opened again, for a new process.
                outputs_back = None;
                life.view.unplug(false);
                self.end(life)?;
                life = self.start()?;
            }
            if news <= now {
                news = now.after(NEWS);
                self.figures(now.since(started));
                watch(&self.outcome);
            }
            if now >= end.after(self.pace.gate + Duration::from_millis(500)) {
                break;
            }
            let next = arrival.min(edge.map_or(Instant::MAX, |(_, when)| when));
            clock::sleep(clock::until(next).min(Duration::from_millis(20)));
        }
        self.end(life)?;
        self.settle(Instant::MAX);
        self.figures(clock::now().since(started));
        Ok(())
    }

    /// Counts parts that have reached the ejector.
    fn settle(&mut self, now: Instant) {
        while let Some(met) = self.ledger.settle(now) {
            let slot = (met.number % self.pictures.len() as u64) as usize;
            let defective = self.pictures.get(slot).is_some_and(|p| p.defective);
            let line = &mut self.outcome.line;
            line.physical += 1;
            line.passed_physically += u64::from(met.passed);
            line.passed_unverified += u64::from(met.passed && !met.verified);
            line.good_thrown_out += u64::from(!met.passed && !defective);
            self.outcome.defective_passed += u64::from(met.passed && defective);
            if met.passed && !met.verified {
                log::error!("part {} of the plant passed unverified", met.number);
            }
        }
    }

    fn figures(&mut self, elapsed: Duration) {
        let quantiles = |which| self.metrics.latency(which).quantiles();
        self.outcome.trigger_to_verdict = quantiles(Latency::TriggerToVerdict);
        self.outcome.trigger_to_output = quantiles(Latency::TriggerToOutput);
        self.outcome.lateness = quantiles(Latency::OutputLateness);
        self.outcome.elapsed = elapsed;
        self.outcome.line.injected = self.faults.with(|f| f.injected);
    }

    /// A chance per part or frame, from the rates of virtual time.
    fn share(&self, kind: Kind) -> f64 {
        if self.kinds.contains(&kind) {
            OFTEN as f64 / kind.one_in() as f64
        } else {
            0.0
        }
    }

    fn shares(&self, kinds: &[Kind]) -> Shares {
        let with = |shares: Shares, kind: &Kind| shares.with(*kind, self.share(*kind));
        kinds.iter().fold(Shares::NONE, with)
    }

    fn start(&mut self) -> Result<Life, SoakError> {
        self.outcome.lives += 1;
        let life = self.outcome.lives;
        let seed = Rng::stream(self.seed, life).next_u64();
        let camera = BeltCamera::new(
            Arc::clone(&self.ledger),
            Arc::clone(&self.pictures),
            EXPOSURE,
            life * LIFE,
        );
        let faults = FrameFaults::new(seed, self.shares(&FrameFaults::KINDS));
        let source = FaultySource::new(camera, faults)?;
        let camera = source.injected();
        let (inputs, feed) = SimulatedInputs::new(ROOM)?;
        let faults = InputFaults {
            // In real time `unplug` strikes the camera or, half as often, the inputs.
            shares: self
                .shares(&InputFaults::KINDS)
                .with(Kind::UnpluggedInputs, self.share(Kind::Unplug) / 2.0),
            duplicate_within: Duration::from_millis(30),
            ..InputFaults::default()
        };
        let inputs = FaultyInputs::new(inputs, faults, seed)?;
        let injected = inputs.injected();
        let (outputs, view) = SimulatedOutputs::new(ROOM)?;
        let outputs = EjectorOutputs {
            inner: outputs,
            ledger: Arc::clone(&self.ledger),
            faults: Arc::clone(&self.faults),
        };
        let inspector = ReportingInspector {
            inner: Arc::clone(&self.inspector),
            ledger: Arc::clone(&self.ledger),
            faults: Arc::clone(&self.faults),
            usual: self.outcome.inspection,
        };
        let station = Station {
            settings: self.pace.settings(),
            source: Box::new(source),
            camera_timeout: Duration::from_secs(1),
            camera_wired: false,
            triggers: TriggerSource::Inputs(Box::new(inputs)),
            outputs: Box::new(outputs),
            inspector: Box::new(inspector),
            self_test_passed: true,
            recorder: Some((self.make_recorder)(Arc::clone(&self.metrics))),
            metrics: Arc::clone(&self.metrics),
            keepalive: None,
            sampler: None,
            ng_threshold: self.ng_threshold,
            socket_triggers: false,
            product: ProductLabel::new("soak", ""),
            alive_every: Duration::from_millis(50),
            late: crate::time::Duration::from_millis(1_000),
            record_required: false,
            challenge_every: None,
            history: crate::station::History::default(),
            control: None,
            latch: None,
            switch: None,
            asked: Default::default(),
            recipe: None,
        };
        Ok(Life {
            running: Running::start(station)?,
            feed,
            view,
            camera,
            inputs: injected,
        })
    }

    fn end(&mut self, life: Life) -> Result<(), SoakError> {
        let summary = life.running.end().ok_or(SoakError::Panicked)??;
        // Whatever the level was, the outputs are unattended now.
        self.ledger.pass(clock::now(), false, Instant::MAX);
        self.outcome
            .line
            .close(&summary.counters, &summary.frames, summary.under_way);
        let (all, frames) = (&mut self.outcome.frames, summary.frames);
        all.frames += frames.frames;
        all.unclaimed += frames.unclaimed;
        all.stale += frames.stale;
        all.ambiguous += frames.ambiguous;
        all.damaged += frames.damaged;
        all.skipped += frames.skipped;
        self.faults.with(|f| {
            for kind in Kind::ALL {
                let counted = match kind {
                    Kind::UnpluggedInputs => Kind::Unplug,
                    other => other,
                };
                let count = life.camera.of(kind) + life.inputs.of(kind);
                f.injected[counted as usize] += count;
            }
        });
        Ok(())
    }
}
