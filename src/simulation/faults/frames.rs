//! Injected camera faults: a source around another one, with a seed.

use super::{Injected, Kind, Shares};
use crate::capture::pace::wait_until;
use crate::capture::source::{CaptureError, Flash, FrameSource};
use crate::clock;
use crate::frame::RawFrame;
use crate::seed::Rng;
use crate::time::{Duration, Instant};
use std::sync::Arc;

/// Key of the random stream.
const FAULTS: u64 = 0x6361_6d5f_6661_756c;
/// Problem that an unplugged camera reports.
const GONE: &str = "camera_unplugged (injected)";
/// Most bytes that are overwritten in a corrupted frame.
const CORRUPTED_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A frame never comes; the next one reports it as lost.
    Lost,
    /// A frame comes late; those after it wait.
    Late,
    /// A frame comes twice, the second time with the same stamp and number.
    Duplicated,
    /// A frame is marked as damaged.
    Damaged,
    /// Some bytes of a frame are wrong, and nothing reports it.
    Corrupted,
    /// A frame has the stamp of an earlier time.
    Stale,
    /// A frame has a stamp far in the future.
    ClockJump,
    /// The camera is gone for a while; opening it fails until it is back.
    Unplug,
    /// The camera delivers nothing for a while and reports no error.
    Stall,
}

/// Kinds of faults on a frame, and their two forms: each form takes half of the cases.
const WAYS: [(Kind, [Fault; 2]); 6] = [
    (Kind::LostFrame, [Fault::Lost; 2]),
    (Kind::LateFrame, [Fault::Late; 2]),
    (Kind::RepeatedFrame, [Fault::Duplicated; 2]),
    (Kind::DamagedFrame, [Fault::Damaged, Fault::Corrupted]),
    (Kind::WrongStamp, [Fault::Stale, Fault::ClockJump]),
    (Kind::Unplug, [Fault::Unplug, Fault::Stall]),
];

/// How often each fault strikes, and how it shows. A frame has one fault at most.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameFaults {
    /// Everything follows from this seed and from the number of frames.
    pub seed: u64,
    /// Shares of frames, together at most 1: of lost, late, repeated and damaged frames, wrong
    /// stamps and [`Kind::Unplug`]. Each kind has two forms, half of the cases each. Damaged frames
    /// are marked, or have wrong bytes that nothing reports. Stamps are too old, or far in the
    /// future. The camera is gone, or silent.
    pub shares: Shares,
    /// How much later a late frame comes.
    pub late_by: Duration,
    /// How much too old a stale stamp is.
    pub stale_by: Duration,
    /// How much too new a stamp in the future is.
    pub jump_by: Duration,
    /// How long an unplugged camera is away.
    pub unplugged_for: Duration,
    /// How long a stalled camera is silent.
    pub stalled_for: Duration,
}

impl FrameFaults {
    /// The kinds of faults that can strike a frame.
    pub const KINDS: [Kind; WAYS.len()] = [
        WAYS[0].0, WAYS[1].0, WAYS[2].0, WAYS[3].0, WAYS[4].0, WAYS[5].0,
    ];

    /// Faults with these `shares`; the durations are those of an ordinary line.
    pub fn new(seed: u64, shares: Shares) -> Self {
        Self {
            seed,
            shares,
            late_by: Duration::from_millis(100),
            stale_by: Duration::from_secs(1),
            jump_by: Duration::from_secs(3600),
            unplugged_for: Duration::from_millis(500),
            stalled_for: Duration::from_millis(500),
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some((kind, share, limit)) = self.shares.wrong(&Self::KINDS) {
            return Err(format!(
                "the share of {}, {share}, is not between 0 and {limit}",
                kind.name()
            ));
        }
        let sum: f64 = Self::KINDS.map(|kind| self.shares.of(kind)).iter().sum();
        if sum <= 1.0 + 1e-9 {
            return Ok(());
        }
        Err(format!(
            "the shares of all faults together, {sum}, are more than 1"
        ))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// Late: delivered at this time.
    Until(Instant),
    /// A copy of what was just delivered.
    Again,
}

/// A source with injected faults.
pub struct FaultySource<S> {
    inner: S,
    plan: FrameFaults,
    injected: Arc<Injected>,
    rng: Rng,
    held: Held,
    held_frame: RawFrame,
    /// Lost frames that no later frame has reported yet.
    lost: u32,
    away_until: Instant,
    silent_until: Instant,
}

impl<S: FrameSource> FaultySource<S> {
    /// `inner` with faults by `plan`.
    ///
    /// # Errors
    /// [`CaptureError::Open`] if `plan.shares` are not shares.
    pub fn new(inner: S, plan: FrameFaults) -> Result<Self, CaptureError> {
        plan.check().map_err(|problem| CaptureError::Open {
            source_name: "fault injection".to_owned(),
            problem,
        })?;
        Ok(Self {
            rng: Rng::stream(plan.seed, FAULTS),
            inner,
            plan,
            injected: Arc::default(),
            held: Held::Nothing,
            held_frame: RawFrame::with_capacity(0),
            lost: 0,
            away_until: Instant(0),
            silent_until: Instant(0),
        })
    }

    /// The counters. Any thread can read them.
    pub fn injected(&self) -> Arc<Injected> {
        Arc::clone(&self.injected)
    }

    /// The source inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// One draw per frame, whatever follows from it: the sequence of faults does not depend on
    /// timing.
    fn draw(&mut self) -> Option<Fault> {
        let mut at = f64::from(self.rng.unit());
        for (kind, ways) in WAYS {
            for fault in ways {
                at -= self.plan.shares.of(kind) / 2.0;
                if at < 0.0 {
                    self.injected.count(kind);
                    return Some(fault);
                }
            }
        }
        None
    }

    /// Delivers a held frame if it is due by `deadline`; None if nothing is held.
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
        // A run of wrong bytes, as a broken transfer leaves it.
        let run = 1 + self.rng.below(length.min(CORRUPTED_BYTES));
        let start = self.rng.below(length.saturating_sub(run) + 1);
        for byte in frame.bytes.iter_mut().skip(start).take(run) {
            // Never the original byte.
            *byte = byte.wrapping_add(1 + self.rng.below(255) as u8);
        }
    }
}

/// Copies within the memory that `into` has; a frame that does not fit is damaged.
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
                problem: GONE.to_owned(),
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
                    problem: GONE.to_owned(),
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

    /// Frame after frame without waiting: number, stamp and content identify each.
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

    fn faulty(plan: FrameFaults) -> FaultySource<Counting> {
        let mut source = FaultySource::new(Counting::default(), plan).expect("plan");
        source.open().expect("open");
        source
    }

    fn only(kind: Kind) -> FaultySource<Counting> {
        faulty(plan(3, kind, 1.0))
    }

    fn plan(seed: u64, kind: Kind, share: f64) -> FrameFaults {
        FrameFaults::new(seed, Shares::NONE.with(kind, share))
    }

    fn all(seed: u64, share: f64) -> FrameFaults {
        let with = |shares: Shares, kind| shares.with(kind, share);
        let shares = FrameFaults::KINDS.into_iter().fold(Shares::NONE, with);
        FrameFaults::new(seed, shares)
    }

    fn next(source: &mut FaultySource<Counting>) -> RawFrame {
        let mut raw = RawFrame::with_capacity(100);
        assert!(source.next(&mut raw, SOON).expect("next"));
        raw
    }

    #[test]
    fn without_rates_nothing_is_touched() {
        let mut source = faulty(FrameFaults::new(1, Shares::NONE));
        for number in 0..50 {
            let raw = next(&mut source);
            assert_eq!(
                (raw.sequence, raw.time),
                (number, Instant(10_000_000_000 + number))
            );
            assert_eq!((raw.lost_before, raw.damaged), (0, false));
            assert_eq!(raw.bytes, [number as u8; 100]);
        }
        assert!(Kind::ALL.iter().all(|k| source.injected().of(*k) == 0));
    }

    #[test]
    fn every_fault_does_what_its_name_says() {
        let mut damaged = only(Kind::DamagedFrame);
        let mut flagged = 0;
        for number in 0..200 {
            let raw = next(&mut damaged);
            flagged += u32::from(raw.damaged);
            assert_ne!(raw.damaged, raw.bytes != [number; 100], "either way");
        }
        assert!((60..140).contains(&flagged), "{flagged}");
        let mut wrong = only(Kind::WrongStamp);
        let mut old = 0;
        for number in 0..200 {
            let time = next(&mut wrong).time.0 - number;
            assert!(matches!(time, 9_000_000_000 | 3_610_000_000_000), "{time}");
            old += u32::from(time == 9_000_000_000);
        }
        assert!((60..140).contains(&old), "{old}");

        let mut twice = only(Kind::RepeatedFrame);
        let numbers: Vec<u64> = (0..6).map(|_| next(&mut twice).sequence).collect();
        assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);

        let start = clock::now();
        let mut late = only(Kind::LateFrame);
        let mut raw = RawFrame::with_capacity(100);
        assert!(!late.next(&mut raw, Duration::from_millis(5)).expect("next"));
        assert_eq!(next(&mut late).sequence, 0);
        assert!(clock::now().since(start) >= Duration::from_millis(100));

        let mut plan = plan(3, Kind::Unplug, 1.0);
        plan.stalled_for = Duration::from_secs(3600);
        plan.unplugged_for = Duration::ZERO;
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
    fn lost_frames_are_gaps_in_the_numbers_and_reported() {
        let mut source = faulty(plan(5, Kind::LostFrame, 0.4));
        let mut expected = 0;
        for _ in 0..200 {
            let raw = next(&mut source);
            assert_eq!(raw.sequence, expected + u64::from(raw.lost_before));
            expected = raw.sequence + 1;
        }
        let lost = source.injected().of(Kind::LostFrame);
        assert_eq!(lost, expected - 200);
        assert!((80..200).contains(&lost), "{lost}");
    }

    #[test]
    fn an_unplugged_camera_cannot_be_opened_until_it_is_back() {
        let mut plan = plan(2, Kind::Unplug, 1.0);
        plan.stalled_for = Duration::ZERO;
        let mut source = faulty(plan);
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
        assert!(source.injected().of(Kind::Unplug) >= 1);
    }

    #[test]
    fn the_seed_decides_and_the_rates_are_kept() {
        let run = |seed| {
            let mut plan = all(seed, 0.05);
            plan.late_by = Duration::ZERO;
            plan.unplugged_for = Duration::ZERO;
            plan.stalled_for = Duration::ZERO;
            let mut source = faulty(plan);
            for _ in 0..4000 {
                next(&mut source);
            }
            FrameFaults::KINDS.map(|kind| source.injected().of(kind))
        };
        let counts = run(1);
        assert_eq!(counts, run(1));
        assert_ne!(counts, run(2));
        for count in counts {
            // 5 % of about 4000, plus or minus five standard deviations.
            assert!((130..290).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn rates_that_are_no_shares_are_refused() {
        let strange = plan(1, Kind::LostTrigger, 0.1);
        for plan in [all(1, -0.1), all(1, 0.2), all(1, f64::NAN), strange] {
            let error = FaultySource::new(Counting::default(), plan).err();
            assert!(error.expect("refused").to_string().contains("share"));
        }
    }
}
