//! The process that holds the output lines. It does nothing else, so that hardly anything can
//! happen to it; and whatever happens to the vision process, the lines fall.
//!
//! - The vision process ends, however: the lines fall as soon as the kernel closes its end of the
//!   link.
//! - It is silent for a lease: the lines fall, it is killed, and another is started. A process that
//!   was silent is not believed again: nobody knows what it missed.
//! - A PASS whose time is over falls here too, whether or not the vision process says so; and one
//!   that is heard of too late is not set at all, for another part lies at the ejector by then.
//! - It finds itself late: the lines fall, and it takes nothing that could let a part pass until the
//!   vision process knows.
//!
//! These rules are [`Holder`]'s; here they meet the real lines and the real process. Every vision
//! process is given the same bytes, and what is known of the ones before it.
//!
//! The thread that does this runs under real-time priority where that is permitted: it sleeps
//! nearly always, and what it has to do at all it has to do now, however busy the machine is. It writes
//! no log, which could keep it waiting: that is the other thread's.

use super::handover::{EndedBy, Handover};
use super::link::{self, FromSupervisor, FromVision, LinkError};
use super::priority;
use super::sealed_files::SealedFiles;
use crate::clock;
use crate::line::devices::{DeviceError, LatchedAlarm, Outputs};
use crate::line::gate::Output;
use crate::line::holder::{Act, FALL, Holder, HolderSettings};
use crate::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use thiserror::Error;

/// A vision process that has said nothing yet may take this long to load its product.
pub const START_LIMIT: Duration = Duration::from_secs(120);
/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Output lines are read back so often: an expander that was reset shows other levels unseen.
const READ_BACK: Duration = Duration::from_millis(500);
/// The vision process lets lines fall by itself and says so at once: what differs for longer is wrong.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Lost output lines are asked for so often, and that they are still gone is told so often.
const REOPEN: Duration = Duration::from_millis(50);
const REOPEN_REPORT: Duration = Duration::from_millis(10_000);

/// Messages that are taken before anything else is looked at.
const MESSAGES: usize = 64;
/// A process that was asked to end has so long for its records; the lines have fallen before.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The supervisor's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// The lines fall after so long without a word.
    pub lease: Duration,
    /// Whoever is run, or answers, later than this was late.
    pub late: Duration,
    /// Pause before the vision process is started again.
    pub restart: Duration,
    /// Exit codes after which starting it again cannot help: what it was given is wrong.
    pub lasting: &'static [i32],
}

/// Why there can be no supervision.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// The output lines cannot be held.
    #[error("the output lines cannot be held")]
    Outputs(#[source] DeviceError),
    /// The vision process cannot be started.
    #[error("the vision process cannot be started")]
    Start(#[source] std::io::Error),
    /// The system gives no thread for the lines.
    #[error("the thread that holds the output lines cannot be started")]
    Thread(#[source] std::io::Error),
    /// The thread that held the lines has failed: a bug. The lines fall with this process.
    #[error("the thread that held the output lines has failed")]
    Failed,
    /// The vision process ends at once, again and again: starting it once more helps nobody.
    #[error(
        "the vision process ended {0} times in a row before the line was ready; its own message says why"
    )]
    NeverReady(u32),
    /// What the vision process was given cannot be used, and will not be the next time.
    #[error(
        "the vision process ended with exit code {0}, and starting it again would not change that; its own message says why"
    )]
    Lasting(i32),
}

/// Ends before the line was ever ready, in a row, that are one too many.
const HOPELESS: u32 = 5;

/// How one vision process ended.
struct VisionRun {
    ready: bool,
    stopped: bool,
    /// Its end in words; None: it was asked to.
    why: Option<(EndedBy, String)>,
}

/// What outlives a vision process.
#[derive(Default)]
struct Memory {
    restarts: u32,
    /// When they were, those of the last hour.
    within_hour: VecDeque<Instant>,
    ended_by: EndedBy,
    alarm: Option<LatchedAlarm>,
}

const HOUR: Duration = Duration::from_millis(3_600_000);
/// More restarts than these are not told apart, whatever the limit of the alarm.
const MOST_RESTARTS: usize = 10_000;

impl Memory {
    fn started_again(&mut self, now: Instant, ended_by: EndedBy) {
        self.restarts = self.restarts.saturating_add(1);
        self.ended_by = ended_by;
        self.within_hour.push_back(now);
        let old = |at: &Instant| now.since(*at) > HOUR;
        while self.within_hour.len() > MOST_RESTARTS || self.within_hour.front().is_some_and(old) {
            self.within_hour.pop_front();
        }
    }

    fn remember(&mut self, alarm: LatchedAlarm) {
        let before = self.alarm.replace(alarm).unwrap_or_default();
        if before != LatchedAlarm::None && alarm == LatchedAlarm::None {
            // Somebody has looked.
            self.within_hour.clear();
        }
    }
}

/// How often this process was late, from the thread that notices to the one that tells.
#[derive(Default)]
struct Incidents {
    count: AtomicU32,
    late: AtomicU64,
    reported: AtomicU32,
}

impl Incidents {
    fn note(&self, late: Duration) {
        self.late.store(late.0, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
    }

    fn report(&self) {
        let count = self.count.load(Ordering::Acquire);
        if self.reported.swap(count, Ordering::Relaxed) != count {
            let ms = self.late.load(Ordering::Relaxed) / 1_000_000;
            log::error!(
                "the process that holds the output lines was {ms} ms late: the lines have fallen until the vision process knows ({count} times so far)"
            );
        }
    }
}

/// Holds the lines and keeps a vision process running until `stop`.
///
/// # Errors
/// [`SupervisorError`].
pub fn supervise(
    settings: Supervision,
    given: &mut SealedFiles,
    open_outputs: &mut dyn FnMut() -> Result<Box<dyn Outputs>, DeviceError>,
    start: &mut dyn FnMut(Stdio) -> std::io::Result<Child>,
    stop: &AtomicBool,
) -> Result<(), SupervisorError> {
    let mut outputs = open_outputs().map_err(SupervisorError::Outputs)?;
    let mut hopeless = 0;
    let mut memory = Memory::default();
    let incidents = Incidents::default();
    while !stop.load(Ordering::Relaxed) {
        let (ours, theirs) = link::pair().map_err(SupervisorError::Start)?;
        hand_over(&ours, given, &*outputs, &memory, &incidents).map_err(SupervisorError::Start)?;
        let mut child = start(Stdio::from(theirs)).map_err(SupervisorError::Start)?;
        log::info!("vision process {} started", child.id());
        let held = hold(
            settings,
            &ours,
            &mut *outputs,
            &mut memory,
            &incidents,
            stop,
        );
        let (life, fallen) = match held {
            Ok(held) => held,
            Err(error) => {
                drop(ours);
                await_end(&mut child);
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        if let Some((_, why)) = &life.why {
            log::error!("the lines have fallen: {why}");
        }
        if life.stopped {
            await_end(&mut child);
        }
        // Closing the link tells it to end; a stuck one is not asked twice.
        drop(ours);
        let _ = child.kill();
        let status = child.wait();
        if let Ok(status) = &status {
            log::info!("vision process ended: {status}");
        }
        if life.stopped {
            break;
        }
        let code = status.ok().and_then(|s| s.code());
        if let Some(code) = code.filter(|c| settings.lasting.contains(c)) {
            return Err(SupervisorError::Lasting(code));
        }
        hopeless = if life.ready { 0 } else { hopeless + 1 };
        if hopeless >= HOPELESS {
            return Err(SupervisorError::NeverReady(hopeless));
        }
        let lost = matches!(&life.why, Some((EndedBy::Outputs, _)));
        if lost || fallen.is_err() {
            if let Err(error) = fallen {
                log::error!("output lines lost: {error}; opening them again");
            }
            drop(outputs);
            outputs = reopen(open_outputs, stop).map_err(SupervisorError::Outputs)?;
        }
        pause(settings.restart, stop);
        let ended_by = life.why.map_or(EndedBy::Itself, |(by, _)| by);
        memory.started_again(clock::now(), ended_by);
    }
    Ok(())
}

/// Gives the next vision process what it needs, before it is started.
fn hand_over(
    link: &link::SupervisorEnd,
    given: &mut SealedFiles,
    outputs: &dyn Outputs,
    memory: &Memory,
    incidents: &Incidents,
) -> std::io::Result<()> {
    let (changed, newly_changed) = given.look();
    let shared = outputs.shared();
    let mut places = [None; Output::ALL.len()];
    for (request, lines) in (0..).zip(&shared) {
        for (bit, line) in (0..).zip(&lines.lines) {
            places[*line as usize] = Some((request, bit));
        }
    }
    let handover = Handover {
        restarts: memory.restarts,
        restarts_within_hour: u32::try_from(memory.within_hour.len()).unwrap_or(u32::MAX),
        ended_by: memory.ended_by,
        late: incidents.count.load(Ordering::Relaxed),
        alarm: memory.alarm,
        changed,
        newly_changed,
        with_board: given.with_board(),
        places,
    };
    let kept = given.descriptors();
    let descriptors: Vec<_> = kept.chain(shared.iter().map(|s| s.descriptor)).collect();
    link.hand_over(&handover, &descriptors)
}

/// [`attend`]s and lets the lines fall. On a thread of its own, because the vision process would
/// inherit the priority of the one that starts it.
fn hold(
    settings: Supervision,
    link: &link::SupervisorEnd,
    outputs: &mut dyn Outputs,
    memory: &mut Memory,
    incidents: &Incidents,
    stop: &AtomicBool,
) -> Result<(VisionRun, Result<(), DeviceError>), SupervisorError> {
    let logger = std::thread::current();
    std::thread::scope(|scope| {
        let lines = std::thread::Builder::new().name("partgate-lines".into());
        let thread = lines.spawn_scoped(scope, || {
            priority::real_time(priority::LINES);
            let life = attend(
                settings,
                link,
                outputs,
                memory,
                &mut |late| {
                    incidents.note(late);
                    logger.unpark();
                },
                stop,
            );
            let fallen = fall(outputs);
            logger.unpark();
            (life, fallen)
        });
        let thread = thread.map_err(SupervisorError::Thread)?;
        while !thread.is_finished() {
            std::thread::park_timeout(LOOK.into());
            incidents.report();
        }
        thread.join().map_err(|_| SupervisorError::Failed)
    })
}

/// Gives a process that was asked to end time for its records.
fn await_end(child: &mut Child) {
    let until = clock::now().after(END_LIMIT);
    while matches!(child.try_wait(), Ok(None)) && clock::now() < until {
        clock::sleep(LOOK);
    }
}

/// Asks again and again. A chip that is back may show PASS as it was: not for longer than this.
fn reopen(
    open: &mut dyn FnMut() -> Result<Box<dyn Outputs>, DeviceError>,
    stop: &AtomicBool,
) -> Result<Box<dyn Outputs>, DeviceError> {
    let mut report_at = Instant(0);
    let mut attempts = 0_u64;
    loop {
        attempts += 1;
        match open() {
            Ok(outputs) => {
                log::info!("output lines: there again at attempt {attempts}");
                return Ok(outputs);
            }
            Err(error) if stop.load(Ordering::Relaxed) => return Err(error),
            Err(error) if clock::now() >= report_at => {
                log::error!(
                    "output lines: {error}; attempt {attempts}, asking again every {} ms",
                    REOPEN.as_millis()
                );
                report_at = clock::now().after(REOPEN_REPORT);
            }
            Err(_) => {}
        }
        pause(REOPEN, stop);
    }
}

fn pause(time: Duration, stop: &AtomicBool) {
    let until = clock::now().after(time);
    while clock::now() < until && !stop.load(Ordering::Relaxed) {
        clock::sleep(LOOK.min(time));
    }
}

/// Every line shows what it shows unattended, what lets parts by first.
fn fall(outputs: &mut dyn Outputs) -> Result<(), DeviceError> {
    let mut failed = None;
    for output in FALL {
        failed = outputs
            .set(output, output.when_unattended())
            .err()
            .or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Does what the vision process says for as long as it speaks.
fn attend(
    settings: Supervision,
    link: &link::SupervisorEnd,
    outputs: &mut dyn Outputs,
    memory: &mut Memory,
    was_late: &mut dyn FnMut(Duration),
    stop: &AtomicBool,
) -> VisionRun {
    let rules = HolderSettings {
        lease: settings.lease,
        late: settings.late,
        start: START_LIMIT,
        look: LOOK,
    };
    let mut holder = Holder::new(rules, clock::now());
    let mut last_incident = 0;
    let mut differed = None;
    let mut read_back_at = clock::now().after(READ_BACK);
    loop {
        if stop.load(Ordering::Relaxed) {
            link.send(FromSupervisor::End);
            return VisionRun {
                ready: holder.was_ready(),
                stopped: true,
                why: None,
            };
        }
        // By LOOK at the latest, when the holder looks round.
        wait(link, clock::until(holder.deadline()));
        let mut broken = None;
        let mut late = None;
        let mut act = |act| match act {
            Act::Set(output, on) => {
                if let Err(error) = outputs.set(output, on)
                    && broken.is_none()
                {
                    let why = format!("output {}: {error}", output.name());
                    broken = Some((EndedBy::Outputs, why));
                }
            }
            Act::Answer(answer) => {
                late = (answer.incident != last_incident).then_some(answer.late);
                last_incident = answer.incident;
                link.send(FromSupervisor::Answer(answer));
            }
            Act::Silent(patience) => {
                let ms = patience.as_millis();
                let why = format!("no word from the vision process for {ms} ms");
                broken = Some((EndedBy::Silence, why));
            }
        };
        // However much it says: what is due here is not put off for longer than this.
        let mut received = Ok(());
        for _ in 0..MESSAGES {
            match link.receive() {
                Ok(Some(FromVision::Command(command))) => {
                    holder.hear(command, clock::now(), &mut act);
                }
                Ok(Some(FromVision::Alarm(alarm))) => memory.remember(alarm),
                Ok(None) => break,
                Err(error) => {
                    received = Err(error);
                    break;
                }
            }
        }
        holder.tick(clock::now(), &mut act);
        if let Some(late) = late {
            was_late(late);
        }
        let end = |why| VisionRun {
            ready: holder.was_ready(),
            stopped: false,
            why: Some(why),
        };
        if let Some(why) = broken {
            return end(why);
        }
        let now = clock::now();
        if received.is_ok() && now >= read_back_at {
            let found = match outputs.differs() {
                Ok(found) => found,
                Err(error) => return end((EndedBy::Outputs, error.to_string())),
            };
            if let Some(output) = found.filter(|output| differed == Some(*output)) {
                let name = output.name();
                let why = format!(
                    "output {name} does not show what it was set to; was its chip reset, or is the output short-circuited?"
                );
                return end((EndedBy::Outputs, why));
            }
            differed = found;
            read_back_at = now.after(if found.is_some() {
                READ_AGAIN
            } else {
                READ_BACK
            });
        }
        match received {
            Ok(()) => {}
            Err(LinkError::Gone) => {
                return end((EndedBy::Itself, "the vision process has ended".into()));
            }
            Err(error) => return end((EndedBy::Words, error.to_string())),
        }
    }
}

fn wait(link: &link::SupervisorEnd, at_most: Duration) {
    let mut fds = [PollFd::new(link, PollFlags::IN)];
    // Interrupted or not: the link is looked at next.
    let _ = poll(&mut fds, Some(&clock::timespec(at_most)));
}

#[cfg(test)]
mod tests;
