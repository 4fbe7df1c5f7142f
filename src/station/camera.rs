//! The camera thread: opens the source, opens it again if it is lost, and passes every frame to
//! the gate. It never waits without a limit, and never makes the camera wait.

use super::activity::ActivityStamp;
use super::queues::{FromCamera, POOL, describe};
use crate::capture::source::{FrameSource, Handling};
use crate::clock;
use crate::frame::{RawFrame, content};
use crate::time::{Duration, Instant};
use heapless::Vec;
use heapless::spsc::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

/// Longest wait for one frame. It bounds the delay of a request to stop.
const WAIT: Duration = Duration::from_millis(100);
/// Pause between two attempts to open a lost camera.
const REOPEN: Duration = Duration::from_millis(200);

/// Settings of the camera thread.
pub(super) struct CameraSettings {
    /// A free-running camera that is silent for this long is lost.
    pub(super) timeout: Duration,
    /// Frames come only on triggers, so silence is not a fault.
    pub(super) on_trigger: bool,
}

/// The camera thread's ends of the queues.
pub(super) struct CameraQueues<'a> {
    pub(super) out: Producer<'a, FromCamera>,
    pub(super) free: [Consumer<'a, RawFrame>; 3],
    pub(super) gate: Thread,
    /// Number of frames for which there was no room.
    pub(super) no_room: &'a AtomicU64,
    /// Time of this thread's last round.
    pub(super) alive: &'a ActivityStamp,
}

/// Runs until `stop`. `source` was opened once, so the size of its frames is known.
pub(super) fn run(
    source: Box<dyn FrameSource>,
    settings: &CameraSettings,
    ends: CameraQueues<'_>,
    stop: &AtomicBool,
) {
    let mut camera = CameraThread::new(source, settings, ends, stop);
    while !stop.load(Ordering::Relaxed) {
        camera.ends.alive.stamp();
        if !camera.open && !camera.open_again() {
            clock::sleep(REOPEN);
            continue;
        }
        if let Some(why) = camera.take_frame() {
            camera.lose(&why);
        }
    }
}

/// The thread's state.
struct CameraThread<'a> {
    source: Box<dyn FrameSource>,
    settings: &'a CameraSettings,
    ends: CameraQueues<'a>,
    stop: &'a AtomicBool,
    handling: Handling,
    pool: Vec<RawFrame, POOL>,
    /// For the frames that come while no buffer is free.
    spare: RawFrame,
    /// Frames after an opening that are still to be skipped.
    warming: u32,
    open: bool,
    /// The log already says why the camera cannot be opened.
    stated_why: bool,
    /// A camera that opens but sends nothing would switch READY on and off without end. So a
    /// free-running camera counts as working only from its first frame on.
    works: bool,
    /// Time of the last frame or opening.
    last: Instant,
    controls_at: Instant,
}

impl<'a> CameraThread<'a> {
    fn new(
        source: Box<dyn FrameSource>,
        settings: &'a CameraSettings,
        ends: CameraQueues<'a>,
        stop: &'a AtomicBool,
    ) -> Self {
        let mut pool: Vec<RawFrame, POOL> = Vec::new();
        for _ in 0..POOL - 1 {
            let _ = pool.push(RawFrame::with_capacity(source.frame_bytes()));
        }
        let spare = RawFrame::with_capacity(source.frame_bytes());
        let handling = source.handling();
        let now = clock::now();
        let mut camera = Self {
            source,
            settings,
            ends,
            stop,
            handling,
            pool,
            spare,
            warming: handling.warmup_frames,
            open: true,
            stated_why: false,
            works: false,
            last: now,
            controls_at: now,
        };
        camera.works_if_triggered();
        camera
    }

    /// Opens a lost camera; false if it cannot be opened now.
    fn open_again(&mut self) -> bool {
        if let Err(error) = self.source.open() {
            if !std::mem::replace(&mut self.stated_why, true) {
                log::error!("camera: {}", describe(&error.into()));
            }
            return false;
        }
        log::info!("camera: {}", self.source.describe());
        self.open = true;
        self.stated_why = false;
        self.warming = self.handling.warmup_frames;
        self.last = clock::now();
        self.controls_at = self.last;
        self.works_if_triggered();
        true
    }

    /// After an opening. A camera that waits for triggers cannot show that it works by a frame.
    fn works_if_triggered(&mut self) {
        self.works = self.settings.on_trigger;
        if self.works {
            self.ends.tell(FromCamera::Works(true), self.stop);
        }
    }

    /// Waits for a frame and passes it on. Returns why the camera is lost, if it is.
    fn take_frame(&mut self) -> Option<String> {
        self.ends.collect(&mut self.pool);
        // Frames are taken from the camera even if no buffer is free, or it would deliver old
        // frames later.
        let mut frame = self.pool.pop();
        let target = frame.as_mut().unwrap_or(&mut self.spare);
        let came = self.source.next(target, WAIT);
        let now = clock::now();
        let lost = match came {
            Ok(true) if self.warming > 0 => {
                self.warming -= 1;
                self.last = now;
                None
            }
            Ok(true) => {
                self.last = now;
                self.deliver(frame.take(), now);
                None
            }
            Ok(false) => self.silence(now),
            Err(error) => Some(describe(&error.into())),
        };
        if let Some(frame) = frame {
            let _ = self.pool.push(frame);
        }
        lost.or_else(|| self.check_controls(now))
    }

    /// Passes a frame to the gate. None: it came while no buffer was free.
    fn deliver(&mut self, frame: Option<RawFrame>, now: Instant) {
        if !std::mem::replace(&mut self.works, true) {
            self.ends.tell(FromCamera::Works(true), self.stop);
        }
        match frame {
            Some(mut frame) => {
                frame.content = self.handling.never_alike.then(|| content(&frame.bytes));
                self.ends.hand_over(frame, now, &mut self.pool);
            }
            None => {
                self.ends.no_room.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Why the camera is lost, if it runs freely and was silent for too long.
    fn silence(&self, now: Instant) -> Option<String> {
        let timeout = self.settings.timeout;
        let silent = now.since(self.last) > timeout;
        (silent && !self.settings.on_trigger)
            .then(|| format!("no frame for {} ms", timeout.as_millis()))
    }

    /// Why the camera is lost, if its settings are not those of the start. They are looked at from
    /// time to time only, because it takes long.
    fn check_controls(&mut self, now: Instant) -> Option<String> {
        if now.since(self.controls_at) <= self.handling.controls_every {
            return None;
        }
        self.controls_at = now;
        let checked = self.source.check_controls();
        checked.err().map(|e| describe(&e.into()))
    }

    fn lose(&mut self, why: &str) {
        log::error!("camera: {why}");
        self.open = false;
        self.ends.tell(FromCamera::Works(false), self.stop);
    }
}

impl CameraQueues<'_> {
    fn collect(&mut self, pool: &mut Vec<RawFrame, POOL>) {
        for free in &mut self.free {
            while !pool.is_full()
                && let Some(frame) = free.dequeue()
            {
                let _ = pool.push(frame);
            }
        }
    }

    fn hand_over(&mut self, frame: RawFrame, now: Instant, pool: &mut Vec<RawFrame, POOL>) {
        if let Err(FromCamera::Frame(frame, _)) = self.out.enqueue(FromCamera::Frame(frame, now)) {
            // The gate does not take frames. Its parts get no frame and are rejected.
            self.no_room.fetch_add(1, Ordering::Relaxed);
            let _ = pool.push(frame);
        }
        self.gate.unpark();
    }

    /// Waits for room, because this message must not be lost.
    fn tell(&mut self, what: FromCamera, stop: &AtomicBool) {
        let mut what = what;
        while let Err(back) = self.out.enqueue(what) {
            what = back;
            self.gate.unpark();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            clock::sleep(Duration::from_millis(1));
        }
        self.gate.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::ThreadActivity;
    use super::super::queues::Queues;
    use super::*;
    use crate::capture::source::{CaptureError, Handled};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Frames numbered from 0 at each opening, lost after `lives`; controls that change once.
    struct Scripted {
        lives: u64,
        next: u64,
        /// [`FrameSource::check_controls`] fails from this call on, until opened again.
        change_at: u32,
        checks: Arc<AtomicU32>,
    }

    impl FrameSource for Scripted {
        fn open(&mut self) -> Result<(), CaptureError> {
            self.next = 0;
            Ok(())
        }

        fn next(&mut self, into: &mut RawFrame, _: Duration) -> Result<bool, CaptureError> {
            clock::sleep(Duration::from_millis(1));
            if self.next == self.lives {
                return Err(CaptureError::Lost {
                    source_name: "scripted".into(),
                    problem: "as planned".into(),
                });
            }
            into.sequence = self.next;
            into.bytes.clear();
            into.bytes.push((self.next / 2) as u8);
            self.next += 1;
            Ok(true)
        }

        fn frame_bytes(&self) -> usize {
            8
        }

        fn check_controls(&mut self) -> Result<(), CaptureError> {
            let call = self.checks.fetch_add(1, Ordering::Relaxed) + 1;
            if call == self.change_at {
                return Err(CaptureError::Changed {
                    source_name: "scripted".into(),
                    problem: "gain".into(),
                });
            }
            Ok(())
        }

        fn describe(&self) -> String {
            "scripted".into()
        }
    }

    /// What the camera thread sends for such a source, until `enough`.
    fn reported_of(
        lives: u64,
        change_at: u32,
        handling: Handling,
        mut enough: impl FnMut(&[FromCamera]) -> bool,
    ) -> (std::vec::Vec<FromCamera>, u32) {
        let checks = Arc::new(AtomicU32::new(0));
        let mut source = Handled::new(
            Box::new(Scripted {
                lives,
                next: 0,
                change_at,
                checks: Arc::clone(&checks),
            }),
            handling,
        );
        source.open().expect("open");
        let mut queues = Box::new(Queues::default());
        let (out, mut received) = queues.camera.split();
        let (mut back, free_gate) = queues.free_gate.split();
        let free = [
            free_gate,
            queues.free_inspector.split().1,
            queues.free_recorder.split().1,
        ];
        let (no_room, alive) = (AtomicU64::new(0), ThreadActivity::new());
        let stop = AtomicBool::new(false);
        let mut reported = std::vec::Vec::new();
        std::thread::scope(|scope| {
            let ends = CameraQueues {
                out,
                free,
                gate: std::thread::current(),
                no_room: &no_room,
                alive: &alive.camera,
            };
            let settings = CameraSettings {
                timeout: PATIENCE,
                on_trigger: false,
            };
            let stop = &stop;
            scope.spawn(move || run(Box::new(source), &settings, ends, stop));
            let until = clock::now().after(PATIENCE);
            while !enough(&reported) && clock::now() < until {
                match received.dequeue() {
                    Some(FromCamera::Frame(frame, at)) => {
                        let mut copy = RawFrame::with_capacity(0);
                        (copy.sequence, copy.content) = (frame.sequence, frame.content);
                        reported.push(FromCamera::Frame(copy, at));
                        back.enqueue(frame).expect("room");
                    }
                    Some(word) => reported.push(word),
                    None => clock::sleep(Duration::from_millis(1)),
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(enough(&reported), "{reported:?}");
        (reported, checks.load(Ordering::Relaxed))
    }

    fn losses(reported: &[FromCamera]) -> usize {
        let lost = |word: &&FromCamera| matches!(word, FromCamera::Works(false));
        reported.iter().filter(lost).count()
    }

    #[test]
    fn the_first_frames_after_each_opening_are_not_used() {
        let handling = Handling {
            warmup_frames: 3,
            ..Handling::default()
        };
        let (reported, _) = reported_of(6, u32::MAX, handling, |reported| losses(reported) == 2);
        let words: std::vec::Vec<String> = reported
            .iter()
            .map(|word| match word {
                FromCamera::Frame(frame, _) => frame.sequence.to_string(),
                FromCamera::Works(works) => works.to_string(),
            })
            .collect();
        let life = ["true", "3", "4", "5", "false"];
        assert_eq!(words, [life, life].concat());
    }

    #[test]
    fn controls_are_looked_at_as_often_as_configured() {
        let handling = |ms| Handling {
            controls_every: Duration::from_millis(ms),
            ..Handling::default()
        };
        // The third check finds them changed, and the camera is opened again.
        let (_, looks) = reported_of(u64::MAX, 3, handling(5), |reported| losses(reported) == 1);
        assert!(looks >= 3);
        let frames = |reported: &[FromCamera]| reported.len() > 50;
        let (reported, looks) = reported_of(u64::MAX, 1, handling(60_000), frames);
        assert_eq!((losses(&reported), looks), (0, 0));
    }

    #[test]
    fn a_picture_that_came_twice_is_known_by_its_content() {
        let contents = |never_alike| -> std::vec::Vec<Option<u64>> {
            let handling = Handling {
                never_alike,
                ..Handling::default()
            };
            let (reported, _) =
                reported_of(u64::MAX, u32::MAX, handling, |reported| reported.len() > 4);
            let content = |word: &FromCamera| match word {
                FromCamera::Frame(frame, _) => Some(frame.content),
                FromCamera::Works(_) => None,
            };
            reported.iter().filter_map(content).take(4).collect()
        };
        let alike = contents(true);
        assert!(alike[0].is_some());
        assert_eq!((alike[0], alike[2]), (alike[1], alike[3]));
        assert_ne!(alike[1], alike[2]);
        assert_eq!(contents(false), [None; 4]);
    }
}
