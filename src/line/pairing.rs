//! Which frame shows which part. Pure: events with times go in, pairs come out.
//!
//! A frame belongs to a part if its kernel time is in the part's window after the trigger. If a wire
//! triggers the camera, the window is where the exposure must be. If the camera runs freely, the window
//! begins at the capture delay, and the first frame in it is taken. A frame is used once. A frame that
//! could show two parts counts for neither. A frame that comes again, by the driver's number, by its
//! time stamp or by its content, shows no part, whether or not it was used or accepted the first time.

use super::gate::{PartId, Reason};
use crate::time::{Duration, Instant};
use heapless::{Deque, HistoryBuf};

/// Frames whose time stamp and content are remembered.
const REMEMBERED: usize = 64;

/// What is known of a frame apart from its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// When it was exposed, by its time stamp.
    pub exposed: Instant,
    /// The driver's number, which grows from frame to frame.
    pub sequence: u64,
    /// A digest of its pixels; None if different parts may give identical pixels.
    pub content: Option<u64>,
    /// Its content was damaged on the way.
    pub damaged: bool,
}

/// The window, and how long a frame may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairingSettings {
    /// Earliest exposure after the trigger.
    pub exposure_min: Duration,
    /// Latest exposure after the trigger.
    pub exposure_max: Duration,
    /// The longest time from a frame's exposure until it arrives here, and the same for a trigger.
    pub delivery: Duration,
}

/// Why a frame was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// No part was in front of the camera.
    Unclaimed,
    /// Not newer than an earlier frame, longer on its way than a frame can be, or stamped in the
    /// future. It is left over from before a pause, or the clock of its time stamp was set.
    Stale,
    /// A frame with its number or a later one came before, or one with the same stamp or content. If contents
    /// tell frames apart, the first frame after a start counts as repeated too: nobody knows which
    /// frame it may repeat.
    Repeated,
    /// It could show two parts.
    Ambiguous,
    /// Its content was damaged on the way.
    Damaged,
}

/// What pairing emits.
#[derive(Debug, PartialEq, Eq)]
pub enum Paired<F> {
    /// This frame shows this part.
    Match {
        /// The part.
        part: PartId,
        /// Its frame.
        frame: F,
        /// When the frame was exposed.
        exposed: Instant,
    },
    /// The frame is free again.
    Free(F, Unused),
    /// This part gets no frame.
    Missing(PartId, Reason),
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    part: PartId,
    trigger: Instant,
}

/// Pairs up to `PARTS` parts with frames, of which up to `FRAMES` are kept for a trigger that is
/// still on its way.
#[derive(Debug)]
pub struct Pairing<F, const PARTS: usize, const FRAMES: usize> {
    settings: PairingSettings,
    wanted: Deque<Wanted, PARTS>,
    kept: Deque<(Instant, F), FRAMES>,
    newest: Option<Instant>,
    /// The driver's newest number, of accepted and of refused frames.
    sequence: Option<u64>,
    stamps: HistoryBuf<Instant, REMEMBERED>,
    contents: HistoryBuf<u64, REMEMBERED>,
    /// A frame arrived since the start.
    started: bool,
}

impl<F, const PARTS: usize, const FRAMES: usize> Pairing<F, PARTS, FRAMES> {
    /// No part waits and no frame is kept.
    pub fn new(settings: PairingSettings) -> Self {
        Self {
            settings,
            wanted: Deque::new(),
            kept: Deque::new(),
            newest: None,
            sequence: None,
            stamps: HistoryBuf::new(),
            contents: HistoryBuf::new(),
            started: false,
        }
    }

    fn window(&self, trigger: Instant) -> core::ops::RangeInclusive<Instant> {
        trigger.after(self.settings.exposure_min)..=trigger.after(self.settings.exposure_max)
    }

    /// A part was at the sensor; its frame may be here already.
    pub fn trigger(
        &mut self,
        part: PartId,
        trigger: Instant,
        emit: &mut (impl FnMut(Paired<F>) + ?Sized),
    ) {
        let window = self.window(trigger);
        // Frames come in the order of their times: those before the window are skipped.
        let kept = self.kept.len();
        let mut found = None;
        for _ in 0..kept {
            let Some((time, frame)) = self.kept.pop_front() else {
                break;
            };
            if found.is_none() && window.contains(&time) {
                found = Some((time, frame));
            } else if self.kept.push_back((time, frame)).is_err() {
                break;
            }
        }
        if let Some((exposed, frame)) = found {
            emit(Paired::Match {
                part,
                frame,
                exposed,
            });
        } else if self.wanted.push_back(Wanted { part, trigger }).is_err() {
            emit(Paired::Missing(part, Reason::Overload));
        }
    }

    /// Whether this frame, or a later one, came before. Every frame is remembered, also a refused one:
    /// it may look fresh when it comes again.
    fn came_before(&mut self, info: &FrameInfo) -> bool {
        let stamped = self.stamps.oldest_ordered().any(|s| *s == info.exposed);
        if !stamped {
            self.stamps.write(info.exposed);
        }
        let numbered = self.sequence.is_some_and(|newest| info.sequence <= newest);
        self.sequence = self.sequence.max(Some(info.sequence));
        let old = stamped || numbered;
        let Some(content) = info.content else {
            return old;
        };
        let first = !core::mem::replace(&mut self.started, true);
        let known = self.contents.oldest_ordered().any(|c| *c == content);
        if !known {
            self.contents.write(content);
        }
        old || known || first
    }

    /// A frame is here at `clock`; it arrived at `arrived` or later. Its time stamp is accepted only if
    /// it can be true; a wrong one that is accepted is wrong by less than `delivery`.
    pub fn frame(
        &mut self,
        frame: F,
        info: FrameInfo,
        arrived: Instant,
        clock: Instant,
        emit: &mut (impl FnMut(Paired<F>) + ?Sized),
    ) {
        let FrameInfo {
            exposed, damaged, ..
        } = info;
        if self.came_before(&info) {
            emit(Paired::Free(frame, Unused::Repeated));
            return;
        }
        let possible = exposed <= arrived && clock <= exposed.after(self.settings.delivery);
        if !possible || self.newest.is_some_and(|newest| exposed <= newest) {
            emit(Paired::Free(frame, Unused::Stale));
            return;
        }
        self.newest = Some(exposed);
        let claims = |w: &Wanted| self.window(w.trigger).contains(&exposed);
        let claimants = self.wanted.iter().filter(|w| claims(w)).count();
        if claimants == 0 {
            if self.kept.is_full()
                && let Some((_, oldest)) = self.kept.pop_front()
            {
                emit(Paired::Free(oldest, Unused::Unclaimed));
            }
            if damaged {
                emit(Paired::Free(frame, Unused::Damaged));
            } else if let Err((_, frame)) = self.kept.push_back((exposed, frame)) {
                emit(Paired::Free(frame, Unused::Unclaimed));
            }
            return;
        }
        let reason = match (claimants, damaged) {
            (1, false) => None,
            (1, true) => Some(Reason::DamagedFrame),
            _ => Some(Reason::NoFrame),
        };
        let mut frame = Some(frame);
        for _ in 0..self.wanted.len() {
            let Some(wanted) = self.wanted.pop_front() else {
                break;
            };
            if !self.window(wanted.trigger).contains(&exposed) {
                // One was just taken out: there is room.
                let _ = self.wanted.push_back(wanted);
            } else if let Some(reason) = reason {
                emit(Paired::Missing(wanted.part, reason));
            } else if let Some(frame) = frame.take() {
                emit(Paired::Match {
                    part: wanted.part,
                    frame,
                    exposed,
                });
            }
        }
        if let Some(frame) = frame {
            let why = if damaged {
                Unused::Damaged
            } else {
                Unused::Ambiguous
            };
            emit(Paired::Free(frame, why));
        }
    }

    /// Gives up the parts and frames that are overdue at `clock`.
    pub fn tick(&mut self, clock: Instant, emit: &mut (impl FnMut(Paired<F>) + ?Sized)) {
        while let Some(wanted) = self.wanted.front().copied() {
            if self.overdue(wanted) >= clock {
                break;
            }
            self.wanted.pop_front();
            emit(Paired::Missing(wanted.part, Reason::NoFrame));
        }
        while self
            .kept
            .front()
            .is_some_and(|(t, _)| self.useless(*t) < clock)
        {
            if let Some((_, frame)) = self.kept.pop_front() {
                emit(Paired::Free(frame, Unused::Unclaimed));
            }
        }
    }

    /// The camera is lost: the frames that wait in it will not come, and its clock may start again.
    pub fn camera_lost(&mut self, emit: &mut (impl FnMut(Paired<F>) + ?Sized)) {
        while let Some(wanted) = self.wanted.pop_front() {
            emit(Paired::Missing(wanted.part, Reason::NoFrame));
        }
        while let Some((_, frame)) = self.kept.pop_front() {
            emit(Paired::Free(frame, Unused::Unclaimed));
        }
        self.newest = None;
        self.sequence = None;
    }

    fn overdue(&self, wanted: Wanted) -> Instant {
        let latest = wanted.trigger.after(self.settings.exposure_max);
        latest.after(self.settings.delivery)
    }

    /// When no trigger can claim a frame exposed at `exposed` any more.
    fn useless(&self, exposed: Instant) -> Instant {
        exposed.after(self.settings.delivery)
    }

    /// When [`tick`](Self::tick) will have something to do.
    pub fn deadline(&self) -> Instant {
        let parts = self.wanted.front().map(|w| self.overdue(*w));
        let frames = self.kept.front().map(|(t, _)| self.useless(*t));
        let first = parts.into_iter().chain(frames).min();
        // Strictly later: at that instant the frame may still come.
        first.map_or(Instant::MAX, |t| t.after(Duration(1)))
    }
}

#[cfg(test)]
mod tests {
    mod kept;

    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SETTINGS: PairingSettings = PairingSettings {
        exposure_min: Duration(5),
        exposure_max: Duration(15),
        delivery: Duration(30),
    };

    type Small = Pairing<u64, 8, 4>;

    /// A frame that the driver numbers as the test does.
    fn info(sequence: u64, exposed: u64, damaged: bool) -> FrameInfo {
        FrameInfo {
            exposed: Instant(exposed),
            sequence,
            content: None,
            damaged,
        }
    }

    fn run(steps: impl FnOnce(&mut Small, &mut dyn FnMut(Paired<u64>))) -> Vec<Paired<u64>> {
        let mut reported = Vec::new();
        steps(&mut Small::new(SETTINGS), &mut |p| reported.push(p));
        reported
    }

    #[test]
    fn a_frame_in_the_window_is_the_parts_whichever_comes_first() {
        let expected = [Paired::Match {
            part: PartId(1),
            frame: 7,
            exposed: Instant(110),
        }];
        let reported = run(|p, e| {
            p.trigger(PartId(1), Instant(100), &mut |x| e(x));
            p.frame(
                7,
                info(7, 110, false),
                Instant(120),
                Instant(120),
                &mut |x| e(x),
            );
        });
        assert_eq!(reported, expected);
        let reported = run(|p, e| {
            p.frame(
                7,
                info(7, 110, false),
                Instant(120),
                Instant(120),
                &mut |x| e(x),
            );
            p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        });
        assert_eq!(reported, expected);
    }

    #[test]
    fn frames_outside_the_window_or_damaged_or_used_leave_the_part_without() {
        for (frame, damaged, reason) in [
            (Instant(104), false, Reason::NoFrame),
            (Instant(116), false, Reason::NoFrame),
            (Instant(110), true, Reason::DamagedFrame),
        ] {
            let reported = run(|p, e| {
                p.trigger(PartId(1), Instant(100), &mut |x| e(x));
                p.frame(
                    7,
                    info(7, frame.0, damaged),
                    Instant(120),
                    Instant(120),
                    &mut |x| e(x),
                );
                p.tick(Instant(200), &mut |x| e(x));
            });
            assert!(
                reported.contains(&Paired::Missing(PartId(1), reason)),
                "{reported:?}"
            );
            assert_eq!(reported.len(), 2, "{reported:?}");
        }
    }

    #[test]
    fn a_frame_that_could_show_two_parts_shows_neither() {
        let reported = run(|p, e| {
            p.trigger(PartId(1), Instant(100), &mut |x| e(x));
            p.trigger(PartId(2), Instant(104), &mut |x| e(x));
            p.frame(
                7,
                info(7, 112, false),
                Instant(120),
                Instant(120),
                &mut |x| e(x),
            );
        });
        assert_eq!(
            reported,
            [
                Paired::Missing(PartId(1), Reason::NoFrame),
                Paired::Missing(PartId(2), Reason::NoFrame),
                Paired::Free(7, Unused::Ambiguous),
            ]
        );
    }

    #[test]
    fn a_frame_is_used_once_and_a_repeated_one_shows_no_part() {
        let reported = run(|p, e| {
            p.trigger(PartId(1), Instant(100), &mut |x| e(x));
            p.frame(
                7,
                info(7, 110, false),
                Instant(120),
                Instant(120),
                &mut |x| e(x),
            );
            p.trigger(PartId(2), Instant(101), &mut |x| e(x));
            p.frame(
                8,
                info(8, 110, false),
                Instant(120),
                Instant(120),
                &mut |x| e(x),
            );
            p.tick(Instant(200), &mut |x| e(x));
        });
        assert_eq!(reported[1], Paired::Free(8, Unused::Repeated));
        assert_eq!(reported[2], Paired::Missing(PartId(2), Reason::NoFrame));
    }

    #[test]
    fn a_stamp_that_cannot_be_true_is_not_believed() {
        for (stamp, clock) in [(110, 109), (110, 141)] {
            let reported = run(|p, e| {
                p.trigger(PartId(1), Instant(100), &mut |x| e(x));
                p.frame(
                    7,
                    info(7, stamp, false),
                    Instant(clock),
                    Instant(clock),
                    &mut |x| e(x),
                );
            });
            assert_eq!(reported, [Paired::Free(7, Unused::Stale)]);
        }
    }

    /// Simulator, seed 10: a frame stamped in the future was refused. The same frame came again later,
    /// looked fresh and was inspected for the next part.
    #[test]
    fn a_frame_that_was_not_believed_is_not_believed_when_it_comes_again() {
        for (content, number) in [(None, 7), (Some(99), 8), (None, 8)] {
            let reported = run(|p, e| {
                start(p, e);
                let first = FrameInfo {
                    content,
                    ..info(7, 165, false)
                };
                p.frame(70, first, Instant(120), Instant(120), &mut |x| e(x));
                p.trigger(PartId(2), Instant(155), &mut |x| e(x));
                // By its number, its content, or its stamp alone.
                let again = FrameInfo {
                    sequence: number,
                    ..first
                };
                p.frame(71, again, Instant(170), Instant(170), &mut |x| e(x));
                p.tick(Instant(300), &mut |x| e(x));
            });
            assert_eq!(
                reported,
                [
                    Paired::Free(1, Unused::Repeated),
                    Paired::Free(70, Unused::Stale),
                    Paired::Free(71, Unused::Repeated),
                    Paired::Missing(PartId(2), Reason::NoFrame),
                ]
            );
        }
    }

    /// The first frame, which shows no part.
    fn start(p: &mut Small, e: &mut dyn FnMut(Paired<u64>)) {
        let first = FrameInfo {
            content: Some(1000),
            ..info(0, 1, false)
        };
        p.frame(1, first, Instant(2), Instant(2), &mut |x| e(x));
    }

    #[test]
    fn a_frozen_camera_shows_no_second_part_for_as_long_as_it_is_remembered() {
        let reported = run(|p, e| {
            start(p, e);
            for n in 1..REMEMBERED as u64 {
                let at = 100 + 100 * n;
                let frame = FrameInfo {
                    content: Some(5),
                    ..info(n, at + 10, false)
                };
                p.trigger(PartId(n), Instant(at), &mut |x| e(x));
                p.frame(n, frame, Instant(at + 12), Instant(at + 12), &mut |x| e(x));
                p.tick(Instant(at + 90), &mut |x| e(x));
            }
        });
        let matches = reported
            .iter()
            .filter(|p| matches!(p, Paired::Match { .. }));
        assert_eq!(matches.count(), 1);
    }

    #[test]
    fn a_camera_that_was_lost_counts_anew_but_its_old_pictures_are_still_known() {
        let reported = run(|p, e| {
            let old = FrameInfo {
                content: Some(1),
                ..info(900, 50, false)
            };
            p.frame(1, old, Instant(60), Instant(60), &mut |x| e(x));
            p.camera_lost(&mut |x| e(x));
            p.trigger(PartId(1), Instant(100), &mut |x| e(x));
            let left_over = FrameInfo {
                sequence: 0,
                exposed: Instant(108),
                ..old
            };
            p.frame(2, left_over, Instant(112), Instant(112), &mut |x| e(x));
            p.frame(
                3,
                info(1, 110, false),
                Instant(114),
                Instant(114),
                &mut |x| e(x),
            );
        });
        assert!(reported.contains(&Paired::Free(2, Unused::Repeated)));
        assert!(matches!(
            reported.last(),
            Some(Paired::Match { frame: 3, .. })
        ));
    }

    proptest! {
        #[test]
        fn every_part_and_every_frame_gets_one_answer(
            steps in proptest::collection::vec((0u8..4, 1u64..20, any::<bool>()), 1..200),
        ) {
            let mut pairing = Small::new(SETTINGS);
            let (mut clock, mut part, mut frame) = (1000, 0, 0);
            let mut triggers = BTreeMap::new();
            let mut times = BTreeMap::new();
            let mut reported = Vec::new();
            for (kind, dt, odd) in steps {
                clock += dt;
                match kind {
                    0 => {
                        part += 1;
                        triggers.insert(part, clock);
                        pairing.trigger(PartId(part), Instant(clock), &mut |x| reported.push(x));
                    }
                    1 | 2 => {
                        frame += 1;
                        let at = if odd { clock - dt } else { clock };
                        times.insert(frame, at);
                        pairing.frame(frame, info(frame, at, odd && dt > 15), Instant(clock), Instant(clock), &mut |x| reported.push(x));
                    }
                    _ => {
                        let deadline = pairing.deadline();
                        let before = reported.len();
                        pairing.tick(Instant(clock), &mut |x| reported.push(x));
                        prop_assert!(reported.len() == before || deadline <= Instant(clock));
                    }
                }
            }
            pairing.camera_lost(&mut |x| reported.push(x));
            let (mut parts, mut frames) = (BTreeMap::new(), BTreeMap::new());
            for answer in reported {
                match answer {
                    Paired::Match { part, frame, exposed } => {
                        prop_assert_eq!(times[&frame], exposed.0);
                        let after = exposed.0 - triggers[&part.0];
                        prop_assert!((5..=15).contains(&after));
                        prop_assert!(parts.insert(part.0, true).is_none());
                        prop_assert!(frames.insert(frame, true).is_none());
                    }
                    Paired::Free(frame, _) => prop_assert!(frames.insert(frame, false).is_none()),
                    Paired::Missing(part, _) => prop_assert!(parts.insert(part.0, false).is_none()),
                }
            }
            prop_assert_eq!(parts.len(), triggers.len());
            prop_assert_eq!(frames.len(), times.len());
        }
    }
}
