use super::*;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

const LATE: Duration = Duration::from_millis(40);

/// Outputs that were switched off, in their order.
type Switched = Arc<Mutex<Vec<Output>>>;

struct Noted(Switched);

impl SafeOutputs for Noted {
    fn set_safe(&mut self, line: Output) -> Result<(), DeviceError> {
        self.0.lock().expect("test").push(line);
        Ok(())
    }
}

/// A supervisor's end, outputs of a vision process, and the outputs switched off without the
/// supervisor.
fn linked() -> (SupervisorEnd, LinkedOutputs, Switched) {
    let (ours, theirs) = pair().expect("sockets");
    ours.hand_over(&Handover::default(), &[])
        .expect("handed over");
    let (end, _, _) = VisionEnd::new(theirs).expect("given");
    let switched = Switched::default();
    let outputs = LinkedOutputs::new(end, LATE, Box::new(Noted(switched.clone())));
    (ours, outputs, switched)
}

fn taken(switched: &Switched) -> Vec<Output> {
    std::mem::take(&mut *switched.lock().expect("test"))
}

fn command(end: &SupervisorEnd) -> Command {
    match end.receive().expect("open") {
        Some(FromVision::Command(command)) => command,
        other => panic!("no command: {other:?}"),
    }
}

#[test]
fn a_new_vision_process_is_given_what_belongs_to_it() {
    let (ours, theirs) = pair().expect("sockets");
    let handover = Handover {
        restarts: 3,
        ..Handover::default()
    };
    let file = tempfile::tempfile().expect("file");
    let null = std::fs::File::open("/dev/null").expect("file");
    ours.hand_over(&handover, &[file.as_fd(), null.as_fd()])
        .expect("handed over");
    let (_end, given, descriptors) = VisionEnd::new(theirs).expect("given");
    assert_eq!(given, handover);
    assert_eq!(descriptors.len(), 2);
    std::io::Write::write_all(&mut &file, b"seen by both").expect("written");
    let copy = std::fs::File::from(descriptors.into_iter().next().expect("first"));
    assert_eq!(copy.metadata().expect("metadata").len(), 12);
    let many = [null.as_fd(); DESCRIPTORS + 1];
    assert!(ours.hand_over(&handover, &many).is_err());
}

#[test]
fn messages_arrive_as_they_were_sent_and_an_end_is_told() {
    let (ours, mut outputs, _) = linked();
    assert!(ours.receive().expect("open").is_none());
    outputs.alive().expect("sent");
    for line in Output::ALL {
        outputs
            .set_until(line, true, Some(Instant(77)))
            .expect("sent");
    }
    outputs.set(Output::Pass, false).expect("sent");
    outputs.remember(LatchedAlarm::Restarts).expect("sent");
    assert_eq!(command(&ours).what, What::Alive);
    for (output, number) in Output::ALL.into_iter().zip(2..) {
        let command = command(&ours);
        let until = Some(Instant(77));
        let what = What::Set {
            output,
            on: true,
            until,
        };
        assert_eq!(command.what, what);
        assert_eq!((command.number, command.incident), (number, 0));
        assert!(command.at <= clock::now());
    }
    drop(outputs);
    assert!(ours.receive().expect("the last but one").is_some());
    let alarm = Some(FromVision::Alarm(LatchedAlarm::Restarts));
    assert_eq!(ours.receive().expect("the last one"), alarm);
    assert!(matches!(ours.receive(), Err(LinkError::Gone)));
}

#[test]
fn what_can_only_stop_parts_is_done_round_the_supervisor_and_nothing_else() {
    let (_ours, mut outputs, switched) = linked();
    for line in Output::ALL {
        for on in [false, true] {
            outputs.set(line, on).expect("sent");
        }
    }
    let safe = [Output::Ready, Output::Reject, Output::Pass, Output::Fault];
    assert_eq!(taken(&switched), safe);
}

#[test]
fn a_supervisor_that_does_not_answer_in_time_has_its_outputs_switched_off_once() {
    let (ours, mut outputs, switched) = linked();
    outputs.alive().expect("sent");
    let reported = command(&ours);
    let soon = outputs.holding(reported.at).expect("open");
    assert_eq!(soon.ask_again, reported.at.after(LATE).after(Duration(1)));
    let soon = outputs.holding(reported.at.after(LATE)).expect("open");
    assert!(!soon.overdue);
    let late = reported.at.after(LATE).after(Duration(1));
    assert!(outputs.holding(late).expect("open").overdue);
    let lines = [Output::Pass, Output::Ready, Output::Reject, Output::Fault];
    assert_eq!(taken(&switched), lines);
    let still = outputs.holding(late).expect("open");
    assert!(still.overdue);
    assert_eq!(
        still.ask_again,
        late.after(Duration::from_millis(1)),
        "not in circles"
    );
    assert!(taken(&switched).is_empty());
    // The supervisor is back, and knows how late it was.
    ours.send(FromSupervisor::Answer(Answer {
        number: reported.number,
        incident: 1,
        late: Duration(5),
    }));
    let back = outputs.holding(late).expect("open");
    assert!(!back.overdue);
    assert_eq!(back.was_late, Some(Duration(5)));
    outputs.alive().expect("sent");
    assert_eq!(command(&ours).incident, 1, "the vision process knows of it");
}

#[test]
fn pass_is_switched_off_again_until_the_supervisor_has_heard_of_its_end() {
    let (ours, mut outputs, switched) = linked();
    outputs.set(Output::Pass, false).expect("sent");
    let reported = command(&ours);
    taken(&switched);
    for ms in 1..4 {
        let now = reported.at.after(Duration::from_millis(ms));
        outputs.holding(now).expect("open");
        assert_eq!(taken(&switched), [Output::Pass], "{ms} ms");
    }
    ours.send(FromSupervisor::Answer(Answer {
        number: reported.number,
        incident: 0,
        late: Duration::ZERO,
    }));
    let held = outputs.holding(reported.at.after(Duration::from_millis(4)));
    assert_eq!(held.expect("open").was_late, None);
    assert!(taken(&switched).is_empty());
}

#[test]
fn a_supervisor_that_is_gone_or_deaf_is_an_error_not_a_wait_and_all_lines_fall() {
    let (_ours, mut outputs, switched) = linked();
    let full = (0..1_000_000).find_map(|_| outputs.alive().err());
    assert!(full.is_some_and(|e| e.to_string().contains("does not take")));
    assert_eq!(taken(&switched), SAFE_ORDER);
    let (ours, mut outputs, switched) = linked();
    drop(ours);
    assert!(outputs.holding(clock::now()).is_err());
    assert_eq!(taken(&switched), SAFE_ORDER);
    assert!(outputs.alive().is_err());
    assert!(taken(&switched).is_empty(), "once");
}

#[test]
fn either_end_notices_after_some_eighty_messages_that_nobody_takes_them() {
    let (ours, mut outputs, _) = linked();
    let end = FromSupervisor::End.encode();
    let commands = (0..1_000).take_while(|_| outputs.alive().is_ok()).count();
    let answers = (0..1_000).take_while(|_| ours.0.send(&end).is_ok()).count();
    for messages in [commands, answers] {
        assert!((40..160).contains(&messages), "{messages}");
    }
}

/// Outputs that cannot be set.
struct Stuck;

impl SafeOutputs for Stuck {
    fn set_safe(&mut self, _: Output) -> Result<(), DeviceError> {
        Err("stuck".into())
    }
}

#[test]
fn an_output_that_cannot_be_switched_off_without_the_supervisor_is_an_error_and_the_supervisor_gets_the_command()
 {
    let (ours, mut outputs, _) = linked();
    outputs.safe = Box::new(Stuck);
    assert!(outputs.set(Output::Ready, false).is_err());
    let reported = command(&ours);
    let what = What::Set {
        output: Output::Ready,
        on: false,
        until: None,
    };
    assert_eq!(reported.what, what);
    let late = reported.at.after(LATE).after(Duration(1));
    assert!(outputs.holding(late).is_err());
}

#[test]
fn what_was_sent_before_the_end_is_received_even_if_the_sender_left_messages_unread() {
    let (ours, mut outputs, _) = linked();
    ours.send(FromSupervisor::End);
    outputs.remember(LatchedAlarm::Rejects).expect("sent");
    drop(outputs);
    let alarm = Some(FromVision::Alarm(LatchedAlarm::Rejects));
    assert_eq!(ours.receive().expect("the last one"), alarm);
    assert!(matches!(ours.receive(), Err(LinkError::Gone)));
}

#[test]
fn an_orderly_end_is_told_even_when_the_supervisor_has_gone_since() {
    for unread in [false, true] {
        let (ours, mut outputs, switched) = linked();
        assert!(!outputs.holding(clock::now()).expect("open").end);
        if unread {
            outputs.alive().expect("sent");
        }
        ours.send(FromSupervisor::End);
        drop(ours);
        assert!(outputs.holding(clock::now()).expect("told").end);
        assert!(taken(&switched).is_empty());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_either_end_stumble(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        genuine in proptest::option::of(0u8..8),
    ) {
        let mut bytes = bytes;
        if let Some(kind) = genuine {
            bytes.resize(SIZE, 0);
            bytes[..2].copy_from_slice(&[VERSION, kind]);
            bytes[2] %= 12;
            bytes[3] %= 5;
        }
        if let Some(message) = FromVision::decode(&bytes) {
            prop_assert_eq!(FromVision::decode(&message.encode()), Some(message));
        }
        if let Some(message) = FromSupervisor::decode(&bytes) {
            prop_assert_eq!(FromSupervisor::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn what_is_said_is_understood_and_another_version_is_not(
        number: u64, incident: u32, at: u64, until in proptest::option::of(any::<u64>()),
        line in 0..Output::ALL.len(), on: bool, late: u64,
    ) {
        let what = What::Set { output: Output::ALL[line], on, until: until.map(Instant) };
        let reported = FromVision::Command(Command { number, incident, at: Instant(at), what });
        let mut bytes = reported.encode();
        prop_assert_eq!(FromVision::decode(&bytes), Some(reported));
        bytes[3] |= 4;
        prop_assert_eq!(FromVision::decode(&bytes), None);
        bytes[3] &= !4;
        bytes[0] ^= 1;
        prop_assert_eq!(FromVision::decode(&bytes), None);
        let answer = FromSupervisor::Answer(Answer { number, incident, late: Duration(late) });
        prop_assert_eq!(FromSupervisor::decode(&answer.encode()), Some(answer));
    }
}
