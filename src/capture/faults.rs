//! What goes wrong with cameras, on purpose: a source around another one, with a seed.

use super::pace::wait_until;
use super::source::{CaptureError, Flash, FrameSource, RawFrame};
use crate::clock;
use crate::seed::Rng;
use crate::time::{Duration, Instant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Key of the random stream.
const FAULTS: u64 = 0x6361_6d5f_6661_756c;
/// Most bytes that are overwritten in a corrupted frame.
const CORRUPTED_BYTES: usize = 4096;

/// A way in which a camera fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A frame never comes; the next one tells of it.
    Lost,
    /// A frame comes late, those after it wait.
    Late,
    /// A frame comes twice, the second time with the same stamp and number.
    Duplicated,
    /// A frame is flagged as damaged.
    Damaged,
    /// Bytes of a frame are others, and nothing tells.
    Corrupted,
    /// A frame has the stamp of an earlier time.
    Stale,
    /// A frame has a stamp far in the future.
    ClockJump,
    /// The camera goes away for a while; opening it fails until it is back.
    Unplug,
    /// The camera is silent for a while and says nothing.
    Stall,
}

impl Fault {
    /// All kinds, in the order of [`Fault`].
    pub const ALL: [Fault; 9] = [
        Fault::Lost,
        Fault::Late,
        Fault::Duplicated,
        Fault::Damaged,
        Fault::Corrupted,
        Fault::Stale,
        Fault::ClockJump,
        Fault::Unplug,
        Fault::Stall,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Lost => "frame_lost",
            Fault::Late => "frame_late",
            Fault::Duplicated => "frame_duplicated",
            Fault::Damaged => "frame_damaged",
            Fault::Corrupted => "frame_corrupted",
            Fault::Stale => "stamp_stale",
            Fault::ClockJump => "stamp_jump",
            Fault::Unplug => "camera_unplugged",
            Fault::Stall => "camera_stalled",
        }
    }
}

/// How often and how much. A frame has one fault at most.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Everything follows from it and from the number of frames.
    pub seed: u64,
    /// Share of frames with each fault, in the order of [`Fault::ALL`]; together at most 1.
    pub rates: [f64; Fault::ALL.len()],
    /// A late frame comes so much later.
    pub late_by: Duration,
    /// A stale stamp is so much too old.
    pub stale_by: Duration,
    /// A jumped stamp is so much too new.
    pub jump_by: Duration,
    /// How long an unplugged camera is away.
    pub unplugged_for: Duration,
    /// How long a stalled camera is silent.
    pub stalled_for: Duration,
}

impl FaultPlan {
    /// No faults; the durations are those of an ordinary line.
    pub fn none(seed: u64) -> Self {
        Self {
            seed,
            rates: [0.0; Fault::ALL.len()],
            late_by: Duration::from_millis(100),
            stale_by: Duration::from_secs(1),
            jump_by: Duration::from_secs(3600),
            unplugged_for: Duration::from_millis(500),
            stalled_for: Duration::from_millis(500),
        }
    }

    /// Every kind at `rate`, shares of all frames.
    pub fn all(seed: u64, rate: f64) -> Self {
        Self {
            rates: [rate; Fault::ALL.len()],
            ..Self::none(seed)
        }
    }

    /// This plan with `fault` at `rate`.
    #[must_use]
    pub fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.rates[fault as usize] = rate;
        self
    }

    fn check(&self) -> Result<(), String> {
        let sum: f64 = self.rates.iter().sum();
        let share = |rate: &f64| (0.0..=1.0).contains(rate);
        if self.rates.iter().all(share) && sum <= 1.0 + 1e-9 {
            return Ok(());
        }
        Err(format!(
            "fault rates {:?} are no shares of the frames (each 0 to 1, together at most 1)",
            self.rates
        ))
    }
}

/// How many faults of each kind there were; shared with whoever wants to know.
#[derive(Debug, Default)]
pub struct FaultCounters {
    injected: [AtomicU64; Fault::ALL.len()],
    frames: AtomicU64,
}

impl FaultCounters {
    /// Faults of this kind so far.
    pub fn injected(&self, fault: Fault) -> u64 {
        self.injected[fault as usize].load(Ordering::Relaxed)
    }

    /// Frames that came from the source inside, faulty ones included.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

/// What the frame in `held` waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// Late: comes at this time.
    Until(Instant),
    /// A copy of what was just delivered.
    Again,
}

/// A source with injected faults.
pub struct FaultySource<S> {
    inner: S,
    plan: FaultPlan,
    counters: Arc<FaultCounters>,
    rng: Rng,
    held: Held,
    held_frame: RawFrame,
    /// Lost and not yet told of by a frame.
    lost: u32,
    away_until: Instant,
    silent_until: Instant,
}

impl<S: FrameSource> FaultySource<S> {
    /// `inner` with faults by `plan`.
    ///
    /// # Errors
    /// [`CaptureError::Open`] when the rates are no shares.
    pub fn new(inner: S, plan: FaultPlan) -> Result<Self, CaptureError> {
        plan.check().map_err(|problem| CaptureError::Open {
            source_name: "fault injection".to_owned(),
            problem,
        })?;
        Ok(Self {
            rng: Rng::stream(plan.seed, FAULTS),
            inner,
            plan,
            counters: Arc::default(),
            held: Held::Nothing,
            held_frame: RawFrame::with_capacity(0),
            lost: 0,
            away_until: Instant(0),
            silent_until: Instant(0),
        })
    }

    /// The counters, to be read from anywhere.
    pub fn counters(&self) -> Arc<FaultCounters> {
        Arc::clone(&self.counters)
    }

    /// The source inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// One draw a frame, whatever comes of it: the sequence of faults does not depend on timing.
    fn draw(&mut self) -> Option<Fault> {
        let mut at = f64::from(self.rng.unit());
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        let fault = Fault::ALL.into_iter().find(|&fault| {
            at -= self.plan.rates[fault as usize];
            at < 0.0
        })?;
        self.counters.injected[fault as usize].fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    fn gone(&self) -> String {
        format!("{} (injected)", Fault::Unplug.name())
    }

    /// Delivers a held frame when it is due by `deadline`; None when nothing is held.
    fn release(&mut self, into: &mut RawFrame, deadline: Instant) -> Option<bool> {
        let due = match self.held {
            Held::Nothing => return None,
            Held::Again => true,
            Held::Until(time) => wait_until(time, deadline),
        };
        if due {
            self.held = Held::Nothing;
            copy(&self.held_frame, into);
        }
        Some(due)
    }

    fn corrupt(&mut self, frame: &mut RawFrame) {
        let length = frame.bytes.len();
        // A run of other bytes, as a broken transfer leaves it.
        let run = 1 + self.rng.below(length.min(CORRUPTED_BYTES));
        let start = self.rng.below(length.saturating_sub(run) + 1);
        for byte in frame.bytes.iter_mut().skip(start).take(run) {
            // Never the byte that was there.
            *byte = byte.wrapping_add(1 + self.rng.below(255) as u8);
        }
    }
}

/// Within the memory that `into` has; a frame that does not fit is damaged.
fn copy(from: &RawFrame, into: &mut RawFrame) {
    let taken = from.bytes.len().min(into.bytes.capacity());
    into.bytes.clear();
    into.bytes.extend_from_slice(&from.bytes[..taken]);
    (into.format, into.yuv) = (from.format, from.yuv);
    (into.width, into.height, into.stride) = (from.width, from.height, from.stride);
    (into.time, into.sequence) = (from.time, from.sequence);
    into.lost_before = from.lost_before;
    into.damaged = from.damaged || taken < from.bytes.len();
}

impl<S: FrameSource> FrameSource for FaultySource<S> {
    fn open(&mut self) -> Result<(), CaptureError> {
        if clock::now() < self.away_until {
            return Err(CaptureError::Open {
                source_name: self.inner.describe(),
                problem: self.gone(),
            });
        }
        self.inner.open()?;
        self.held = Held::Nothing;
        self.silent_until = Instant(0);
        let bytes = self.inner.frame_bytes();
        self.held_frame.bytes.clear();
        self.held_frame.bytes.reserve_exact(bytes);
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let deadline = clock::now().after(at_most);
        loop {
            let now = clock::now();
            if now < self.away_until {
                return Err(CaptureError::Lost {
                    source_name: self.inner.describe(),
                    problem: self.gone(),
                });
            }
            if !wait_until(self.silent_until, deadline) {
                return Ok(false);
            }
            if let Some(delivered) = self.release(into, deadline) {
                return Ok(delivered);
            }
            if !self.inner.next(into, clock::until(deadline))? {
                return Ok(false);
            }
            let lost = std::mem::take(&mut self.lost);
            into.lost_before = into.lost_before.saturating_add(lost);
            match self.draw() {
                None => {}
                Some(Fault::Lost) => {
                    self.lost = into.lost_before.saturating_add(1);
                    continue;
                }
                Some(Fault::Late) => {
                    copy(into, &mut self.held_frame);
                    self.held = Held::Until(clock::now().after(self.plan.late_by));
                    continue;
                }
                Some(Fault::Duplicated) => {
                    copy(into, &mut self.held_frame);
                    self.held = Held::Again;
                }
                Some(Fault::Damaged) => into.damaged = true,
                Some(Fault::Corrupted) => self.corrupt(into),
                Some(Fault::Stale) => {
                    into.time = into.time.before(self.plan.stale_by);
                }
                Some(Fault::ClockJump) => {
                    into.time = into.time.after(self.plan.jump_by);
                }
                Some(Fault::Unplug) => {
                    self.lost = into.lost_before.saturating_add(1);
                    self.away_until = clock::now().after(self.plan.unplugged_for);
                    self.held = Held::Nothing;
                    continue;
                }
                Some(Fault::Stall) => {
                    self.lost = into.lost_before.saturating_add(1);
                    self.silent_until = clock::now().after(self.plan.stalled_for);
                    continue;
                }
            }
            return Ok(true);
        }
    }

    fn frame_bytes(&self) -> usize {
        self.inner.frame_bytes()
    }

    fn check_controls(&mut self) -> Result<(), CaptureError> {
        self.inner.check_controls()
    }

    fn describe(&self) -> String {
        format!(
            "{}, with injected faults of seed {}",
            self.inner.describe(),
            self.plan.seed
        )
    }

    fn flash(&mut self) -> Option<Box<dyn Flash>> {
        self.inner.flash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// Frame after frame without waiting: number, stamp and content tell which it is.
    #[derive(Default)]
    struct Counting {
        frames: u64,
        opened: u64,
    }

    impl FrameSource for Counting {
        fn open(&mut self) -> Result<(), CaptureError> {
            self.opened += 1;
            Ok(())
        }

        fn next(&mut self, into: &mut RawFrame, _: Duration) -> Result<bool, CaptureError> {
            into.bytes.clear();
            into.bytes.extend([self.frames as u8; 100]);
            (into.time, into.sequence) = (Instant(10_000_000_000 + self.frames), self.frames);
            (into.lost_before, into.damaged) = (0, false);
            self.frames += 1;
            Ok(true)
        }

        fn frame_bytes(&self) -> usize {
            100
        }

        fn describe(&self) -> String {
            "counting".to_owned()
        }
    }

    fn faulty(plan: FaultPlan) -> FaultySource<Counting> {
        let mut source = FaultySource::new(Counting::default(), plan).expect("plan");
        source.open().expect("open");
        source
    }

    fn only(fault: Fault) -> FaultySource<Counting> {
        faulty(FaultPlan::none(3).with(fault, 1.0))
    }

    fn next(source: &mut FaultySource<Counting>) -> RawFrame {
        let mut raw = RawFrame::with_capacity(100);
        assert!(source.next(&mut raw, SOON).expect("next"));
        raw
    }

    #[test]
    fn without_rates_nothing_is_touched() {
        let mut source = faulty(FaultPlan::none(1));
        for number in 0..50 {
            let raw = next(&mut source);
            assert_eq!(
                (raw.sequence, raw.time),
                (number, Instant(10_000_000_000 + number))
            );
            assert_eq!((raw.lost_before, raw.damaged), (0, false));
            assert_eq!(raw.bytes, [number as u8; 100]);
        }
        for fault in Fault::ALL {
            assert_eq!(source.counters().injected(fault), 0);
        }
        assert_eq!(source.counters().frames(), 50);
    }

    #[test]
    fn every_fault_does_what_its_name_says() {
        assert!(next(&mut only(Fault::Damaged)).damaged);
        assert_ne!(next(&mut only(Fault::Corrupted)).bytes, [0; 100]);
        assert_eq!(next(&mut only(Fault::Stale)).time, Instant(9_000_000_000));
        assert_eq!(
            next(&mut only(Fault::ClockJump)).time,
            Instant(3_610_000_000_000)
        );

        let mut twice = only(Fault::Duplicated);
        let numbers: Vec<u64> = (0..6).map(|_| next(&mut twice).sequence).collect();
        assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);

        let start = clock::now();
        let mut late = only(Fault::Late);
        let mut raw = RawFrame::with_capacity(100);
        assert!(!late.next(&mut raw, Duration::from_millis(5)).expect("next"));
        assert_eq!(next(&mut late).sequence, 0);
        assert!(clock::now().since(start) >= Duration::from_millis(100));

        let mut plan = FaultPlan::none(3).with(Fault::Stall, 1.0);
        plan.stalled_for = Duration::from_secs(3600);
        let mut stalled = faulty(plan);
        let start = clock::now();
        for _ in 0..2 {
            assert!(
                !stalled
                    .next(&mut raw, Duration::from_millis(20))
                    .expect("next")
            );
        }
        assert!((40_000_000..5_000_000_000).contains(&clock::now().since(start).0));
        stalled.open().expect("opening again helps");
        assert_eq!(stalled.inner().opened, 2);
    }

    #[test]
    fn lost_frames_are_gaps_in_the_numbers_and_told_of() {
        let mut source = faulty(FaultPlan::none(5).with(Fault::Lost, 0.4));
        let mut expected = 0;
        for _ in 0..200 {
            let raw = next(&mut source);
            assert_eq!(raw.sequence, expected + u64::from(raw.lost_before));
            expected = raw.sequence + 1;
        }
        let lost = source.counters().injected(Fault::Lost);
        assert_eq!(lost, expected - 200);
        assert!((80..200).contains(&lost), "{lost}");
    }

    #[test]
    fn an_unplugged_camera_cannot_be_opened_until_it_is_back() {
        let mut source = faulty(FaultPlan::none(2).with(Fault::Unplug, 0.5));
        let mut raw = RawFrame::with_capacity(100);
        let gone = loop {
            match source.next(&mut raw, SOON) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(gone, CaptureError::Lost { .. }), "{gone}");
        assert!(source.open().is_err());
        assert!(source.next(&mut raw, SOON).is_err());
        std::thread::sleep(Duration::from_millis(520).into());
        source.open().expect("back");
        assert_eq!(source.counters().injected(Fault::Unplug), 1);
    }

    #[test]
    fn the_seed_decides_and_the_rates_are_kept() {
        let run = |seed| {
            let mut plan = FaultPlan::all(seed, 0.05);
            plan.late_by = Duration::ZERO;
            plan.unplugged_for = Duration::ZERO;
            plan.stalled_for = Duration::ZERO;
            let mut source = faulty(plan);
            for _ in 0..4000 {
                next(&mut source);
            }
            Fault::ALL.map(|fault| source.counters().injected(fault))
        };
        let counts = run(1);
        assert_eq!(counts, run(1));
        assert_ne!(counts, run(2));
        for count in counts {
            // 5 % of some 4000, and five standard deviations.
            assert!((130..290).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn rates_that_are_no_shares_are_refused() {
        for rate in [-0.1, 0.2, f64::NAN] {
            let plan = FaultPlan::all(1, rate);
            let error = FaultySource::new(Counting::default(), plan).err();
            assert!(error.expect("refused").to_string().contains("rates"));
        }
    }
}
