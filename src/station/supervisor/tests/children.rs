//! Processes that are started, end, and are started again: shells, which read what they get and send
//! what a vision process sends.

use super::attending::{PATIENT, command};
use super::*;
use std::path::Path;

/// How it ran.
struct Ran {
    result: Result<(), SupervisorError>,
    starts: Vec<Instant>,
    given: Vec<Handover>,
    log: Vec<String>,
    folder: tempfile::TempDir,
}

impl Ran {
    fn has(&self, file: &str) -> bool {
        self.folder.path().join(file).exists()
    }

    fn never_ready(&self) -> bool {
        matches!(self.result, Err(SupervisorError::NeverReady(5)))
    }
}

/// A shell that reads its handover into `given.N`, sends `sends` and does `then`.
struct Script {
    sends: Option<Option<Output>>,
    then: &'static str,
}

const ENDS: Script = Script {
    sends: None,
    then: "exit 1",
};
const READY: Script = Script {
    sends: Some(Some(Output::Ready)),
    then: "exit 1",
};
/// Reads the next message or the end of the link; then takes a while, and shows that it has ended.
const ORDERLY: &str = "dd bs=64 count=1 of=end status=none; sleep 0.3; : > done; exit 3";

fn shell(folder: &Path, n: usize, script: &Script, stdin: Stdio) -> std::io::Result<Child> {
    let mut text = format!("dd bs=64 count=1 of=given.{n} status=none; ");
    if let Some(set) = script.sends {
        std::fs::write(
            folder.join(format!("sends.{n}")),
            command(set, clock::now()),
        )?;
        text += &format!("dd bs=64 if=sends.{n} status=none >&0; ");
    }
    text += script.then;
    let mut shell = std::process::Command::new("sh");
    let shell = shell.arg("-c").arg(text).stdin(stdin);
    shell.current_dir(folder).spawn()
}

/// Runs the supervisor with `script` for each start, until it ends by itself.
fn supervised(
    settings: Supervision,
    outputs: &dyn Fn(usize) -> TestOutputs,
    script: &dyn Fn(usize, &Arc<AtomicBool>) -> Script,
) -> Ran {
    let folder = tempfile::tempdir().expect("folder");
    let stop = Arc::new(AtomicBool::new(false));
    let (mut starts, mut opened) = (Vec::new(), 0);
    let mut open = || -> Result<Box<dyn Outputs>, DeviceError> {
        let outputs = outputs(opened);
        let dropped = outputs.notes.lock().expect("test").dropped;
        assert_eq!(dropped, opened, "those before are closed first");
        opened += 1;
        outputs.notes.lock().expect("test").opened = opened;
        Ok(Box::new(outputs))
    };
    let mut start = |stdin| {
        let n = starts.len();
        starts.push(clock::now());
        shell(folder.path(), n, &script(n, &stop), stdin)
    };
    let (result, log) = logged(|| {
        supervise(
            settings,
            &mut SealedFiles::nothing(),
            &mut open,
            &mut start,
            &mut End::only_restarts,
            &stop,
        )
    });
    let given = (0..starts.len()).map(|n| {
        let bytes = std::fs::read(folder.path().join(format!("given.{n}"))).expect("given");
        Handover::decode(&bytes).expect("of this version")
    });
    Ran {
        result,
        given: given.collect(),
        starts,
        log,
        folder,
    }
}

/// Outputs that never fail.
fn faultless(notes: &Notes) -> impl Fn(usize) -> TestOutputs {
    let notes = Arc::clone(notes);
    move |_| TestOutputs::new(&notes, |_, _| false)
}

#[test]
fn five_vision_processes_in_a_row_that_were_never_ready_are_enough() {
    let notes = Notes::default();
    let ready_at_last = supervised(PATIENT, &faultless(&notes), &|n, _| match n {
        4 => READY,
        _ => ENDS,
    });
    // Four, one that was ready, five.
    assert!(ready_at_last.never_ready());
    assert_eq!(ready_at_last.starts.len(), 10);
    for (n, given) in (0..).zip(&ready_at_last.given) {
        assert_eq!((given.restarts, given.restarts_within_hour), (n, n));
        let before = if n == 0 {
            EndedBy::Nothing
        } else {
            EndedBy::Itself
        };
        assert_eq!(given.ended_by, before);
    }
    assert_eq!(
        notes.lock().expect("test").opened,
        1,
        "the outputs are kept"
    );
    let count = |start: &str| {
        let log = ready_at_last.log.iter();
        log.filter(|entry| entry.starts_with(start)).count()
    };
    assert_eq!(count("vision process ended: exit status: 1"), 10);
    assert_eq!(
        count("the outputs are in the safe state: the vision process has ended"),
        10
    );
    assert_eq!(ready_at_last.log.len(), 30, "each start, too");
}

#[test]
fn an_exit_code_after_which_a_new_start_cannot_help_ends_it_at_once() {
    let settings = Supervision {
        lasting: &[3, 4],
        ..PATIENT
    };
    let notes = Notes::default();
    let ran = supervised(settings, &faultless(&notes), &|n, _| Script {
        sends: None,
        then: if n == 0 { "exit 2" } else { "exit 3" },
    });
    assert!(matches!(ran.result, Err(SupervisorError::Lasting(3))));
    assert_eq!(ran.starts.len(), 2);
}

#[test]
fn a_service_that_is_stopped_asks_its_vision_process_and_awaits_its_end() {
    let settings = Supervision {
        lasting: &[3],
        ..PATIENT
    };
    let notes = Notes::default();
    let ran = supervised(settings, &faultless(&notes), &|_, stop| {
        stop.store(true, Ordering::Relaxed);
        Script {
            sends: None,
            then: ORDERLY,
        }
    });
    assert!(ran.result.is_ok(), "its exit code means nothing then");
    assert_eq!(ran.starts.len(), 1);
    let message = std::fs::read(ran.folder.path().join("end")).expect("a file");
    assert_eq!(
        message.len(),
        32,
        "by a message, not by the end of the link"
    );
    assert!(ran.has("done"), "it was given the time");
}

#[test]
fn between_two_starts_is_a_pause_in_which_the_service_may_be_stopped() {
    let notes = Notes::default();
    let settings = Supervision {
        restart: ms(300),
        ..PATIENT
    };
    let ran = supervised(settings, &faultless(&notes), &|_, _| ENDS);
    let pauses = ran.starts.windows(2).map(|pair| pair[1].since(pair[0]));
    assert!(pauses.min().expect("pauses") >= ms(300));
    let long = Supervision {
        restart: Duration::from_secs(600),
        ..PATIENT
    };
    let notes = Notes::default();
    let ran = supervised(long, &faultless(&notes), &|_, stop| {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            // It has ended by then.
            clock::sleep(ms(900));
            stop.store(true, Ordering::Relaxed);
        });
        ENDS
    });
    assert!(ran.result.is_ok());
    assert_eq!(ran.starts.len(), 1);
}

#[test]
fn a_silent_vision_process_is_killed_at_once_and_another_one_is_started() {
    let notes = Notes::default();
    let settings = Supervision {
        lease: ms(100),
        ..PATIENT
    };
    let ran = supervised(settings, &faultless(&notes), &|n, _| match n {
        0 => Script {
            sends: Some(None),
            then: "exec sleep 60",
        },
        _ => ENDS,
    });
    assert!(ran.never_ready());
    let until_killed = ran.starts[1].since(ran.starts[0]);
    assert!(until_killed < END_LIMIT, "{until_killed:?}");
    assert_eq!(ran.given[1].ended_by, EndedBy::Silence);
}

#[test]
fn outputs_that_are_lost_are_opened_again_for_the_next_one() {
    // One cannot be set on, or one does not go off; then all is well.
    let fails: [fn(Output, bool) -> bool; 2] = [
        |output, on| output == Output::Busy && on,
        |output, _| output == Output::RecordLost,
    ];
    for (fails, by) in fails.into_iter().zip([EndedBy::Outputs, EndedBy::Itself]) {
        let notes = Notes::default();
        let outputs = |opened: usize| {
            let never: fn(Output, bool) -> bool = |_, _| false;
            TestOutputs::new(&notes, if opened == 0 { fails } else { never })
        };
        let ran = supervised(PATIENT, &outputs, &|n, _| match n {
            0 if by == EndedBy::Outputs => Script {
                sends: Some(Some(Output::Busy)),
                then: "exec sleep 60",
            },
            _ => ENDS,
        });
        assert!(ran.never_ready());
        assert_eq!(notes.lock().expect("test").opened, 2, "{by:?}");
        assert_eq!(ran.given[1].ended_by, by);
        let lost = ran
            .log
            .iter()
            .filter(|entry| entry.starts_with("outputs lost"));
        assert_eq!(lost.count(), usize::from(by == EndedBy::Itself));
    }
}

#[test]
fn a_bug_in_the_thread_that_holds_the_outputs_ends_it_and_its_vision_process() {
    let notes = Notes::default();
    let bug = |_| TestOutputs::new(&notes, |output, _| panic!("a bug of {output:?}"));
    let ran = supervised(PATIENT, &bug, &|_, _| Script {
        sends: Some(Some(Output::Busy)),
        then: ORDERLY,
    });
    assert!(matches!(ran.result, Err(SupervisorError::Failed)));
    assert_eq!(ran.starts.len(), 1);
    // The end of the link was noticed, and there was time for it.
    assert!(ran.has("done"));
}

#[test]
fn what_cannot_be_opened_or_started_is_not_supervised() {
    let stop = AtomicBool::new(false);
    let mut given = SealedFiles::nothing();
    let mut none = || -> Result<Box<dyn Outputs>, DeviceError> { Err("no such chip".into()) };
    let mut start = |_| -> std::io::Result<Child> { Err(std::io::Error::other("no memory")) };
    let failed = supervise(
        PATIENT,
        &mut given,
        &mut none,
        &mut start,
        &mut End::only_restarts,
        &stop,
    );
    assert!(matches!(failed, Err(SupervisorError::Outputs(_))));
    let mut some =
        || -> Result<Box<dyn Outputs>, DeviceError> { Ok(Box::new(SimulatedOutputs::new(8)?.0)) };
    let failed = supervise(
        PATIENT,
        &mut given,
        &mut some,
        &mut start,
        &mut End::only_restarts,
        &stop,
    );
    assert!(matches!(failed, Err(SupervisorError::Start(_))));
}
