//! The camera's thread: opens the source, opens it again when it is lost, and hands every frame to
//! the gate. It never waits without end, and never keeps the camera waiting.

use super::alive::Word;
use super::rails::{FromCamera, POOL, said};
use crate::capture::source::{FrameSource, RawFrame};
use crate::clock;
use crate::line::gate::Nanos;
use heapless::Vec;
use heapless::spsc::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// Longest wait for a frame at a time: how late a request to stop is seen.
const WAIT: Duration = Duration::from_millis(100);
/// Pause between two attempts to open a camera that is gone.
const REOPEN: Duration = Duration::from_millis(200);
/// Between two looks at whether exposure and the like are still as set.
const CONTROLS_EVERY: Duration = Duration::from_secs(10);

/// What the camera thread is told.
pub(super) struct CameraSettings {
    /// A free-running camera that is silent for so long is lost.
    pub(super) timeout: Duration,
    /// Frames come on triggers only: silence says nothing.
    pub(super) on_trigger: bool,
}

/// The camera thread's ends.
pub(super) struct CameraEnds<'a> {
    pub(super) out: Producer<'a, FromCamera>,
    pub(super) free: [Consumer<'a, RawFrame>; 3],
    pub(super) gate: Thread,
    /// Frames for which there was no room.
    pub(super) no_room: &'a AtomicU64,
    /// When this thread last went round.
    pub(super) alive: &'a Word,
}

/// Runs until `stop`. `source` has been opened once, so that its frames' size is known.
pub(super) fn run(
    mut source: Box<dyn FrameSource>,
    settings: &CameraSettings,
    mut ends: CameraEnds<'_>,
    stop: &AtomicBool,
) {
    let mut pool: Vec<RawFrame, POOL> = Vec::new();
    for _ in 0..POOL - 1 {
        let _ = pool.push(RawFrame::with_capacity(source.frame_bytes()));
    }
    let mut spare = RawFrame::with_capacity(source.frame_bytes());
    let mut open = true;
    let mut told_why = false;
    // A camera that opens and sends nothing would bring READY on and off for ever: one that runs
    // freely works with its first frame.
    let mut works = settings.on_trigger;
    if works {
        ends.tell(FromCamera::Works(true), stop);
    }
    let mut last = clock::now();
    let mut controls_at = last;
    while !stop.load(Ordering::Relaxed) {
        ends.alive.stamp();
        if !open {
            match source.open() {
                Ok(()) => {
                    log::info!("camera: {}", source.describe());
                    open = true;
                    told_why = false;
                    last = clock::now();
                    works = settings.on_trigger;
                    if works {
                        ends.tell(FromCamera::Works(true), stop);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut told_why, true) {
                        log::error!("camera: {}", said(&error.into()));
                    }
                    std::thread::sleep(REOPEN);
                    continue;
                }
            }
        }
        ends.collect(&mut pool);
        // Without a free frame the camera is still emptied, or it would hand out old frames later.
        let mut frame = pool.pop();
        let target = frame.as_mut().unwrap_or(&mut spare);
        let came = source.next(target, WAIT);
        let now = clock::now();
        let lost = match came {
            Ok(true) => {
                last = now;
                if !std::mem::replace(&mut works, true) {
                    ends.tell(FromCamera::Works(true), stop);
                }
                match frame.take() {
                    Some(frame) => ends.hand_over(frame, now, &mut pool),
                    None => {
                        ends.no_room.fetch_add(1, Ordering::Relaxed);
                    }
                }
                None
            }
            Ok(false) => {
                let silent = now.since(last) > clock::nanos(settings.timeout);
                (silent && !settings.on_trigger)
                    .then(|| format!("no frame for {} ms", settings.timeout.as_millis()))
            }
            Err(error) => Some(said(&error.into())),
        };
        if let Some(frame) = frame {
            let _ = pool.push(frame);
        }
        let mut why = lost;
        if why.is_none() && now.since(controls_at) > clock::nanos(CONTROLS_EVERY) {
            controls_at = now;
            why = source.check_controls().err().map(|e| said(&e.into()));
        }
        if let Some(why) = why {
            log::error!("camera: {why}");
            open = false;
            ends.tell(FromCamera::Works(false), stop);
        }
    }
}

impl CameraEnds<'_> {
    fn collect(&mut self, pool: &mut Vec<RawFrame, POOL>) {
        for free in &mut self.free {
            while !pool.is_full()
                && let Some(frame) = free.dequeue()
            {
                let _ = pool.push(frame);
            }
        }
    }

    fn hand_over(&mut self, frame: RawFrame, now: Nanos, pool: &mut Vec<RawFrame, POOL>) {
        if let Err(FromCamera::Frame(frame, _)) = self.out.enqueue(FromCamera::Frame(frame, now)) {
            // The gate does not take frames: its parts will have none, and are rejected.
            self.no_room.fetch_add(1, Ordering::Relaxed);
            let _ = pool.push(frame);
        }
        self.gate.unpark();
    }

    /// What must not be lost waits for room.
    fn tell(&mut self, what: FromCamera, stop: &AtomicBool) {
        let mut what = what;
        while let Err(back) = self.out.enqueue(what) {
            what = back;
            self.gate.unpark();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.gate.unpark();
    }
}
