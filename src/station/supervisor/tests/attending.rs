//! What comes over the link, and what the supervisor does with it.

use super::*;
use crate::line::devices::SafeOutputs;
use crate::station::handover::VERSION;
use crate::station::link::{LinkedOutputs, SupervisorEnd, VisionEnd};
use rustix::fd::OwnedFd;

/// Nothing is late here that a test does not mean to be.
pub(super) const PATIENT: Supervision = Supervision {
    lease: Duration::from_secs(60),
    late: Duration::from_secs(5),
    restart: Duration::ZERO,
    lasting: &[],
};

/// The bytes of a command of a vision process: it is alive, or `set` goes on.
pub(super) fn command(set: Option<Output>, at: Instant) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (kind, output) = set.map_or((1, 0), |output| (2, output as u8));
    bytes[..4].copy_from_slice(&[VERSION, kind, output, 1]);
    bytes[8] = 1;
    bytes[16..24].copy_from_slice(&at.0.to_le_bytes());
    bytes
}

struct Nowhere;

impl SafeOutputs for Nowhere {
    fn set_safe(&mut self, _: Output) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// The vision process's end, and a way to send what no vision process sends.
struct Vision {
    outputs: LinkedOutputs,
    raw: OwnedFd,
}

impl Vision {
    fn bytes(&self, bytes: &[u8]) {
        let flags = rustix::net::SendFlags::empty();
        rustix::net::send(&self.raw, bytes, flags).expect("sent");
    }

    /// All commands are done.
    fn is_answered(&mut self) {
        until(|| self.outputs.holding(clock::now()).expect("open").ask_again == Instant::MAX);
    }
}

fn linked() -> (SupervisorEnd, Vision) {
    let (ours, theirs) = link::pair().expect("sockets");
    let raw = theirs.try_clone().expect("descriptors");
    ours.hand_over(&Handover::default(), &[]).expect("given");
    let (end, _, _) = VisionEnd::new(theirs).expect("given");
    let outputs = LinkedOutputs::new(end, Duration::from_millis(60_000), Box::new(Nowhere));
    (ours, Vision { outputs, raw })
}

/// A vision process that does `what`, and lives on if `what` returns it, beside a supervisor that does
/// `attends`.
fn beside<T>(
    (ours, vision): (SupervisorEnd, Vision),
    what: impl FnOnce(Vision, &AtomicBool) -> Option<Vision> + Send,
    attends: impl FnOnce(&SupervisorEnd, &AtomicBool) -> T,
) -> T {
    let (stop, over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lives = what(vision, &stop);
            let end = clock::now().after(Duration::from_secs(20));
            while !over.load(Ordering::Relaxed) && clock::now() < end {
                clock::sleep(ms(2));
            }
            stop.store(true, Ordering::Relaxed);
            drop(lives);
        });
        let attended = attends(&ours, &stop);
        over.store(true, Ordering::Relaxed);
        attended
    })
}

struct Attended {
    run: VisionRun,
    memory: Memory,
    lates: Vec<Duration>,
}

fn attended(
    settings: Supervision,
    outputs: &mut dyn Outputs,
    linked: (SupervisorEnd, Vision),
    what: impl FnOnce(Vision, &AtomicBool) -> Option<Vision> + Send,
) -> Attended {
    let (mut memory, mut lates) = (Memory::default(), Vec::new());
    let mut was_late = |late| lates.push(late);
    let run = beside(linked, what, |ours, stop| {
        attend(settings, ours, outputs, &mut memory, &mut was_late, stop)
    });
    Attended { run, memory, lates }
}

fn ended(attended: &Attended) -> (EndedBy, &str) {
    let (by, why) = attended.run.why.as_ref().expect("not asked to");
    (*by, why)
}

#[test]
fn commands_of_the_vision_process_are_done_and_answered_and_its_end_is_noticed() {
    let (mut outputs, view) = SimulatedOutputs::new(64).expect("outputs");
    let attended = attended(PATIENT, &mut outputs, linked(), |mut vision, _| {
        let end = Some(clock::now().after(Duration::from_millis(60_000)));
        vision.outputs.set(Output::Ready, true).expect("sent");
        vision
            .outputs
            .set_until(Output::Pass, true, end)
            .expect("sent");
        vision.is_answered();
        assert!(view.level(Output::Ready) && view.level(Output::Pass));
        vision
            .outputs
            .remember(LatchedAlarm::Rejects)
            .expect("sent");
        None
    });
    assert!(attended.run.ready && !attended.run.stopped);
    assert_eq!(
        ended(&attended),
        (EndedBy::Itself, "the vision process has ended")
    );
    assert_eq!(attended.memory.alarm, Some(LatchedAlarm::Rejects));
    assert!(attended.lates.is_empty());
}

#[test]
fn a_service_that_is_stopped_asks_its_vision_process_to_end() {
    let (mut outputs, _view) = SimulatedOutputs::new(64).expect("outputs");
    let attended = attended(PATIENT, &mut outputs, linked(), |mut vision, stop| {
        vision.outputs.alive().expect("sent");
        vision.is_answered();
        stop.store(true, Ordering::Relaxed);
        until(|| vision.outputs.holding(clock::now()).expect("open").end);
        Some(vision)
    });
    let VisionRun {
        ready,
        stopped,
        why,
    } = attended.run;
    assert!(stopped && !ready && why.is_none());
}

#[test]
fn a_vision_process_that_is_silent_for_its_lease_is_not_attended_any_more() {
    let (mut outputs, _view) = SimulatedOutputs::new(64).expect("outputs");
    let lease = ms(100);
    let attended = attended(
        Supervision { lease, ..PATIENT },
        &mut outputs,
        linked(),
        |mut vision, _| {
            vision.outputs.alive().expect("sent");
            Some(vision)
        },
    );
    let why = "no word from the vision process for 100 ms";
    assert_eq!(ended(&attended), (EndedBy::Silence, why));
}

#[test]
fn outputs_that_cannot_be_set_end_it_and_the_first_one_is_named() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |output, on| {
        matches!(output, Output::Ready | Output::Busy) && on
    });
    let (ours, mut vision) = linked();
    for output in [Output::Ready, Output::Busy] {
        vision.outputs.set(output, true).expect("sent");
    }
    let attended = attended(PATIENT, &mut outputs, (ours, vision), |vision, _| {
        Some(vision)
    });
    assert_eq!(
        ended(&attended),
        (EndedBy::Outputs, "output ready: unplugged")
    );
}

#[test]
fn an_output_that_shows_another_level_twice_in_a_row_ends_it() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |_, _| false);
    let (pass, busy) = (Ok(Some(Output::Pass)), Ok(Some(Output::Busy)));
    outputs.found = vec![pass, Ok(None), pass, busy, busy].into_iter();
    let from = clock::now();
    let attended = attended(PATIENT, &mut outputs, linked(), |vision, _| Some(vision));
    let (by, why) = ended(&attended);
    assert_eq!(by, EndedBy::Outputs);
    assert!(
        why.starts_with("output busy does not show what it was set to"),
        "{why}"
    );
    let read = notes.lock().expect("test").read_back.split_off(0);
    assert_eq!(read.len(), 5);
    let after = |n: usize| read[n].0.since(if n == 0 { from } else { read[n - 1].0 });
    assert!(after(0) >= ms(500) && after(2) >= ms(500));
    assert!([1, 3, 4].into_iter().all(|n| after(n) >= ms(100)));
    // The quickest one, however busy this machine.
    let again = [1, 3, 4].map(after).into_iter().min().expect("three");
    assert!(again < ms(400), "{again:?}");
    // It sleeps nearly always.
    let worked = read[4].1 - read[0].1;
    assert!(worked < ms(15), "{worked:?}");
}

#[test]
fn outputs_that_cannot_be_read_back_end_it() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |_, _| false);
    outputs.found = vec![Err("no answer")].into_iter();
    let attended = attended(PATIENT, &mut outputs, linked(), |vision, _| Some(vision));
    assert_eq!(ended(&attended), (EndedBy::Outputs, "no answer"));
}

#[test]
fn a_process_that_has_ended_is_reported_as_such_even_if_its_outputs_are_lost_too() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |output, _| {
        // Until they have to be read back.
        clock::sleep(if output == Output::Ready {
            ms(600)
        } else {
            ms(0)
        });
        false
    });
    outputs.found = vec![Err("no answer")].into_iter();
    let (ours, mut vision) = linked();
    vision.outputs.set(Output::Ready, true).expect("sent");
    let attended = attended(PATIENT, &mut outputs, (ours, vision), |_, _| None);
    assert_eq!(ended(&attended).0, EndedBy::Itself);
}

#[test]
fn what_comes_after_a_foreign_message_is_not_done() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |_, _| false);
    let (ours, mut vision) = linked();
    vision.bytes(b"hello");
    vision.outputs.set(Output::Ready, true).expect("sent");
    let attended = attended(PATIENT, &mut outputs, (ours, vision), |vision, _| {
        Some(vision)
    });
    assert_eq!(ended(&attended).0, EndedBy::Words);
    assert!(!attended.run.ready);
    assert_eq!(notes.lock().expect("test").set, []);
}

/// With a command of ten seconds ago.
fn late() -> (SupervisorEnd, Vision) {
    let (ours, vision) = linked();
    let at = clock::now().before(Duration::from_millis(10_000));
    vision.bytes(&command(None, at));
    (ours, vision)
}

#[test]
fn a_lateness_is_reported_to_the_vision_process_and_counted_once() {
    let (mut outputs, view) = SimulatedOutputs::new(64).expect("outputs");
    let attended = attended(PATIENT, &mut outputs, late(), |mut vision, _| {
        until(|| {
            let holding = vision.outputs.holding(clock::now()).expect("open");
            holding.was_late.is_some()
        });
        for on in [true, false] {
            vision.outputs.set(Output::Ready, on).expect("sent");
            vision.is_answered();
            assert_eq!(view.level(Output::Ready), on, "it is believed again");
        }
        None
    });
    assert_eq!(attended.lates.len(), 1);
    assert!(attended.lates[0] >= Duration::from_millis(10_000));
}

#[test]
fn outputs_are_held_by_a_thread_of_the_highest_priority_and_are_safe_at_the_end() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |_, _| false);
    let (mut memory, incidents) = (Memory::default(), Incidents::default());
    let before = worked();
    let ((run, safe), log) = logged(|| {
        let what = |mut vision: Vision, _: &AtomicBool| {
            // Logged while it goes on.
            until(|| incidents.reported.load(Ordering::Relaxed) == 1);
            vision.outputs.holding(clock::now()).expect("open");
            vision.outputs.set(Output::Ready, true).expect("sent");
            vision.is_answered();
            clock::sleep(ms(700));
            None
        };
        beside(late(), what, |ours, stop| {
            hold(PATIENT, ours, &mut outputs, &mut memory, &incidents, stop).expect("a thread")
        })
    });
    assert!(run.ready && safe.is_ok());
    assert_eq!(log.len(), 1, "{log:?}");
    let worked = worked() - before;
    assert!(
        worked < ms(15),
        "the thread that logs sleeps nearly always: {worked:?}"
    );
    let mut notes = notes.lock().expect("test");
    let safe: Vec<_> = SAFE_ORDER
        .map(|output| (output, output.when_unattended()))
        .into();
    let ended = notes.set.len() - SAFE_ORDER.len();
    assert_eq!(notes.set.split_off(ended), safe);
    // Where it is permitted.
    let permitted = std::thread::spawn(|| {
        priority::real_time(priority::LINES);
        is_real_time()
    });
    assert_eq!(notes.real_time, permitted.join().ok());
}
