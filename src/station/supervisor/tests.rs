//! Tests of the supervisor: of its own parts here, of the link that it serves and of the processes that
//! it starts in the modules.

mod attending;
mod children;

use super::*;
use crate::line::devices::SharedLines;
use crate::simulation::lines::SimulatedOutputs;
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

/// Keeps what each thread logs.
struct Journal;

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl log::Log for Journal {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = LOGGED.try_with(|logged| logged.borrow_mut().push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// What `what` logs on this thread.
fn logged<T>(what: impl FnOnce() -> T) -> (T, Vec<String>) {
    // Another test may have been first.
    let _ = log::set_logger(&Journal);
    log::set_max_level(log::LevelFilter::Info);
    LOGGED.take();
    let done = what();
    (done, LOGGED.take())
}

/// Processor time of this thread.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::from(std::time::Duration::new(
        time.tv_sec as u64,
        time.tv_nsec as u32,
    ))
}

/// Waits for it, for as long as that may take on a busy machine.
fn until(mut what: impl FnMut() -> bool) {
    let end = clock::now().after(Duration::from_secs(20));
    while !what() {
        assert!(clock::now() < end, "it does not happen");
        clock::sleep(Duration::from_millis(1));
    }
}

/// What is done to outputs.
#[derive(Default)]
struct Done {
    set: Vec<(Output, bool)>,
    /// When they were read back, and what the thread had worked by then.
    read_back: Vec<(Instant, Duration)>,
    opened: usize,
    dropped: usize,
    real_time: Option<bool>,
}

type Notes = Arc<Mutex<Done>>;

/// Outputs that behave as a test wants.
struct TestOutputs {
    notes: Notes,
    fails: fn(Output, bool) -> bool,
    /// What reading back finds each time; then nothing.
    found: std::vec::IntoIter<Result<Option<Output>, &'static str>>,
}

impl TestOutputs {
    fn new(notes: &Notes, fails: fn(Output, bool) -> bool) -> Self {
        Self {
            notes: Arc::clone(notes),
            fails,
            found: Vec::new().into_iter(),
        }
    }
}

impl Outputs for TestOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        if (self.fails)(output, on) {
            return Err("unplugged".into());
        }
        let mut notes = self.notes.lock().expect("test");
        notes.set.push((output, on));
        notes.real_time = Some(is_real_time());
        Ok(())
    }

    fn differs(&mut self) -> Result<Option<Output>, DeviceError> {
        let mut notes = self.notes.lock().expect("test");
        notes.read_back.push((clock::now(), worked()));
        self.found.next().unwrap_or(Ok(None)).map_err(Into::into)
    }
}

impl Drop for TestOutputs {
    fn drop(&mut self) {
        // A test that has failed reports that itself.
        if let Ok(mut notes) = self.notes.lock() {
            notes.dropped += 1;
        }
    }
}

fn is_real_time() -> bool {
    let policy = thread_priority::thread_schedule_policy();
    matches!(
        policy,
        Ok(thread_priority::ThreadSchedulePolicy::Realtime(_))
    )
}

fn ms(duration: u64) -> Duration {
    Duration::from_millis(duration)
}

#[test]
fn lost_output_lines_are_asked_for_every_50_ms_because_a_chip_that_is_back_may_show_an_old_pass() {
    let mut at = Vec::new();
    let mut open = || -> Result<Box<dyn Outputs>, DeviceError> {
        at.push(clock::now());
        if at.len() < 9 {
            return Err("no such chip".into());
        }
        let (outputs, _) = SimulatedOutputs::new(8)?;
        Ok(Box::new(outputs))
    };
    let (there, log) = logged(|| reopen(&mut open, &AtomicBool::new(false)));
    there.expect("there at the ninth attempt");
    let gone = "outputs: no such chip; attempt 1, asking again every 50 ms";
    assert_eq!(log, [gone, "outputs: there again at attempt 9"]);
    // The quickest pair says how long the pause is, however busy this machine.
    let pauses = at.windows(2).map(|pair| pair[1].since(pair[0]));
    let shortest = pauses.min().expect("attempts");
    assert!(shortest >= Duration::from_millis(50), "{shortest:?}");
    assert!(shortest < Duration::from_millis(200), "{shortest:?}");
}

#[test]
fn lines_that_stay_away_are_given_up_when_the_service_is_stopped() {
    let stop = AtomicBool::new(false);
    let mut attempts = 0;
    let mut open = || -> Result<Box<dyn Outputs>, DeviceError> {
        attempts += 1;
        stop.store(attempts == 3, Ordering::Relaxed);
        Err("no such chip".into())
    };
    assert!(reopen(&mut open, &stop).is_err());
    assert_eq!(attempts, 3);
}

#[test]
fn restarts_are_counted_by_the_hour_and_from_the_acknowledgement_on() {
    let mut memory = Memory::default();
    let minute = |n: u64| Instant::from_millis(60_000 * n);
    for n in 0..5 {
        memory.started_again(minute(10 * n), EndedBy::Silence);
    }
    assert_eq!((memory.restarts, memory.within_hour.len()), (5, 5));
    memory.started_again(minute(71), EndedBy::Itself);
    assert_eq!((memory.restarts, memory.within_hour.len()), (6, 4));
    assert_eq!(memory.ended_by, EndedBy::Itself);
    memory.started_again(minute(100), EndedBy::Itself);
    assert_eq!(
        memory.within_hour.len(),
        3,
        "the hour that is over just now counts"
    );
    memory.remember(LatchedAlarm::None);
    assert_eq!(memory.within_hour.len(), 3, "no alarm stood");
    memory.remember(LatchedAlarm::Restarts);
    assert_eq!(memory.alarm, Some(LatchedAlarm::Restarts));
    memory.remember(LatchedAlarm::Rejects);
    assert_eq!(memory.within_hour.len(), 3, "one still stands");
    memory.remember(LatchedAlarm::None);
    assert_eq!((memory.restarts, memory.within_hour.len()), (7, 0));
}

#[test]
fn more_restarts_than_are_counted_take_no_more_memory() {
    let mut memory = Memory::default();
    for _ in 0..=MOST_RESTARTS {
        memory.started_again(Instant(1), EndedBy::Itself);
    }
    assert_eq!(memory.within_hour.len(), MOST_RESTARTS);
    assert_eq!(memory.restarts as usize, MOST_RESTARTS + 1);
}

#[test]
fn each_lateness_is_logged_once() {
    let incidents = Incidents::default();
    let (_, log) = logged(|| {
        incidents.report();
        for ms in [7, 9] {
            incidents.note(Duration::from_millis(ms));
            incidents.report();
            incidents.report();
        }
    });
    let entry = |ms, times| {
        format!(
            "the supervisor was {ms} ms late: the outputs stay in the safe state until the vision process knows ({times} times so far)"
        )
    };
    assert_eq!(log, [entry(7, 1), entry(9, 2)]);
}

#[test]
fn a_pause_is_as_long_as_asked_for_and_ends_with_the_service() {
    let stop = AtomicBool::new(false);
    let lasted = |time: Duration| {
        let (from, before) = (clock::now(), worked());
        pause(time, &stop);
        assert!(worked() - before < ms(15), "it waits, and does not work");
        clock::now().since(from)
    };
    assert!(lasted(ms(400)) >= ms(400));
    let shortest = (0..9).map(|_| lasted(ms(2))).min().expect("pauses");
    assert!((ms(2)..ms(45)).contains(&shortest), "{shortest:?}");
    stop.store(true, Ordering::Relaxed);
    assert!(lasted(Duration::from_secs(600)) < Duration::from_secs(60));
}

#[test]
fn a_process_that_was_asked_to_end_has_five_seconds() {
    let mut quick = child("sleep 0.3");
    let from = clock::now();
    await_end(&mut quick);
    assert!(matches!(quick.try_wait(), Ok(Some(_))), "it has ended");
    assert!(
        clock::now().since(from) < END_LIMIT,
        "and is not waited for any longer"
    );
    let mut stuck = child("exec sleep 60");
    let before = worked();
    await_end(&mut stuck);
    assert!(matches!(stuck.try_wait(), Ok(None)));
    assert!((END_LIMIT..Duration::from_secs(40)).contains(&clock::now().since(from)));
    assert!(worked() - before < ms(200), "it is waited for, and no more");
    stuck.kill().expect("killed");
    stuck.wait().expect("gone");
}

fn child(script: &str) -> Child {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).spawn().expect("a shell")
}

#[test]
fn all_outputs_get_the_safe_state_even_if_one_of_them_cannot_be_set() {
    let notes = Notes::default();
    let mut outputs = TestOutputs::new(&notes, |output, _| output == Output::Ready);
    assert!(set_safe_state(&mut outputs).is_err());
    let others = SAFE_ORDER
        .into_iter()
        .filter(|output| *output != Output::Ready);
    let safe: Vec<_> = others
        .map(|output| (output, output.when_unattended()))
        .collect();
    assert_eq!(notes.lock().expect("test").set, safe);
    assert!(set_safe_state(&mut TestOutputs::new(&notes, |_, _| false)).is_ok());
}

/// Two chips: PASS and READY, and REJECT.
struct TwoChips(std::fs::File);

impl Outputs for TwoChips {
    fn set(&mut self, _: Output, _: bool) -> Result<(), DeviceError> {
        Ok(())
    }

    fn shared(&self) -> Vec<SharedLines<'_>> {
        let chips = [vec![Output::Pass, Output::Ready], vec![Output::Reject]];
        let shared = chips.into_iter().map(|lines| SharedLines {
            descriptor: self.0.as_fd(),
            lines,
        });
        shared.collect()
    }
}

#[test]
fn a_vision_process_gets_the_places_of_the_outputs_and_what_is_known_of_those_before_it() {
    let (ours, theirs) = link::pair().expect("sockets");
    let outputs = TwoChips(tempfile::tempfile().expect("file"));
    let mut memory = Memory::default();
    memory.remember(LatchedAlarm::Rejects);
    memory.started_again(Instant(1), EndedBy::Silence);
    let incidents = Incidents::default();
    incidents.note(Duration(1));
    hand_over(
        &ours,
        &mut SealedFiles::nothing(),
        &outputs,
        &memory,
        &incidents,
    )
    .expect("given");
    let (_, given, descriptors) = link::VisionEnd::new(theirs).expect("given");
    assert_eq!(descriptors.len(), 2);
    let mut places = [None; Output::ALL.len()];
    places[Output::Pass as usize] = Some((0, 0));
    places[Output::Ready as usize] = Some((0, 1));
    places[Output::Reject as usize] = Some((1, 0));
    let expected = Handover {
        restarts: 1,
        restarts_within_hour: 1,
        ended_by: EndedBy::Silence,
        late: 1,
        alarm: Some(LatchedAlarm::Rejects),
        places,
        ..Handover::default()
    };
    assert_eq!(given, expected);
}
