//! The process that holds the outputs. It does nothing else, so that as little as possible can
//! fail in it. Whatever happens to the vision process, the outputs are switched off.
//!
//! - If the vision process ends in any way, the outputs are switched off as soon as the kernel
//!   closes its end of the link.
//! - If it is silent for a lease, the outputs are switched off, it is killed, and another one is
//!   started. A process that was silent is not used again, because it is unknown what it missed.
//! - A PASS whose time is over is switched off here too, without a command of the vision process.
//!   A PASS whose command arrives too late is not set, because another part is at the ejector by
//!   then.
//! - If the supervisor itself ran late, the outputs are switched off. It accepts no command that
//!   could let a part pass until the vision process knows of it.
//!
//! [`Lease`] implements these rules; this code connects them to the real outputs and the real
//! process. Every vision process gets the same bytes, and what is known of the earlier ones.
//!
//! The thread that does this runs under real-time priority, if that is permitted. It sleeps almost
//! always, but what it has to do is urgent, however busy the machine is. It does not log, because
//! logging could make it wait: the other thread does that.

use super::handover::{EndedBy, Handover};
use super::link::{self, FromSupervisor, FromVision, LinkError};
use super::priority;
use super::sealed_files::SealedFiles;
use crate::clock;
use crate::line::devices::{DeviceError, LatchedAlarm, Outputs};
use crate::line::gate::Output;
use crate::line::lease::{Act, Lease, LeaseSettings, SAFE_ORDER};
use crate::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use thiserror::Error;

/// Longest time for a vision process to load its product before its first message.
pub const START_LIMIT: Duration = Duration::from_secs(120);
/// How often a request to stop is checked.
const LOOK: Duration = Duration::from_millis(50);

/// How often outputs are read back. An I/O expander that was reset shows other levels without a
/// report.
const READ_BACK: Duration = Duration::from_millis(500);
/// The vision process can switch off outputs itself and reports it at once. A difference that
/// lasts longer is a fault.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// How often lost outputs are requested again. The second value is the time between two log
/// entries about it.
const REOPEN: Duration = Duration::from_millis(50);
const REOPEN_REPORT: Duration = Duration::from_millis(10_000);

/// Most messages that are read before everything else is checked.
const MESSAGES: usize = 64;
/// Time that a process has for its records after a request to end. The outputs are switched off
/// before.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The supervisor's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// If no message comes for this long, the outputs are switched off.
    pub lease: Duration,
    /// A run or an answer later than this counts as late.
    pub late: Duration,
    /// Pause before the vision process is started again.
    pub restart: Duration,
    /// Exit codes after which a restart cannot help, because what the process got is wrong.
    pub lasting: &'static [i32],
}

/// Why the supervisor cannot go on.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// The outputs cannot be held.
    #[error("the outputs cannot be opened")]
    Outputs(#[source] DeviceError),
    /// The vision process cannot be started.
    #[error("the vision process cannot be started")]
    Start(#[source] std::io::Error),
    /// The system gives no thread for the outputs.
    #[error("the thread that drives the outputs cannot be started")]
    Thread(#[source] std::io::Error),
    /// The thread that held the outputs has failed: a bug. The outputs are switched off when this
    /// process ends.
    #[error("the thread that drove the outputs has failed")]
    Failed,
    /// The vision process ends at once, again and again. Another start would not help.
    #[error(
        "the vision process ended {0} times in a row before the line was ready; its own message says why"
    )]
    NeverReady(u32),
    /// What the vision process got cannot be used, and the next start would not change that.
    #[error(
        "the vision process ended with exit code {0}, and starting it again would not change that; its own message says why"
    )]
    Lasting(i32),
}

/// How a vision process ended that nobody asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In a way that another start can cure.
    Restart,
    /// With an exit code of [`Supervision::lasting`].
    Lasting(i32),
    /// For the last of so many times in a row before the line was ready.
    NeverReady(u32),
}

impl End {
    /// Goes on after an end that another start can cure, with the files as they are.
    pub fn only_restarts(_: &mut SealedFiles, end: Self) -> bool {
        end == Self::Restart
    }

    fn error(self) -> Option<SupervisorError> {
        match self {
            Self::Restart => None,
            Self::Lasting(code) => Some(SupervisorError::Lasting(code)),
            Self::NeverReady(times) => Some(SupervisorError::NeverReady(times)),
        }
    }
}

/// Number of ends in a row without READY after which the supervisor gives up.
const HOPELESS: u32 = 5;

struct VisionRun {
    ready: bool,
    stopped: bool,
    /// Why it ended; None if it was asked to.
    why: Option<(EndedBy, String)>,
}

/// What is kept from one vision process to the next.
#[derive(Default)]
struct Memory {
    restarts: u32,
    /// Times of the restarts in the last hour.
    within_hour: VecDeque<Instant>,
    ended_by: EndedBy,
    alarm: Option<LatchedAlarm>,
}

const HOUR: Duration = Duration::from_millis(3_600_000);
/// Largest number of restarts that is counted, whatever the limit of the alarm.
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
            // A person has looked.
            self.within_hour.clear();
        }
    }
}

/// How many times this process ran late. Written by the thread that notices it, read by the thread
/// that logs it.
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
                "the supervisor was {ms} ms late: the outputs stay in the safe state until the vision process knows ({count} times so far)"
            );
        }
    }
}

/// Holds the outputs and keeps a vision process running until `stop`. `ended` is asked after each end
/// that nobody asked for: it may put other files into the place of those that the line was started
/// with, and says whether to go on.
///
/// # Errors
/// [`SupervisorError`].
pub fn supervise(
    settings: Supervision,
    given: &mut SealedFiles,
    open_outputs: &mut dyn FnMut() -> Result<Box<dyn Outputs>, DeviceError>,
    start: &mut dyn FnMut(Stdio) -> std::io::Result<Child>,
    ended: &mut dyn FnMut(&mut SealedFiles, End) -> bool,
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
        let (life, safe) = match held {
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
            log::error!("the outputs are in the safe state: {why}");
        }
        if life.stopped {
            await_end(&mut child);
        }
        // Closing the link asks the process to end. A hung one is then killed.
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
        hopeless = if life.ready { 0 } else { hopeless + 1 };
        let end = match code.filter(|c| settings.lasting.contains(c)) {
            Some(code) => End::Lasting(code),
            None if hopeless >= HOPELESS => End::NeverReady(hopeless),
            None => End::Restart,
        };
        if !ended(given, end) {
            // Without an error of its own, this start was as good as any.
            let error = end.error().unwrap_or(SupervisorError::NeverReady(hopeless));
            return Err(error);
        }
        if end != End::Restart {
            hopeless = 0;
        }
        let lost = matches!(&life.why, Some((EndedBy::Outputs, _)));
        if lost || safe.is_err() {
            if let Err(error) = safe {
                log::error!("outputs lost: {error}; opening them again");
            }
            drop(outputs);
            outputs = reopen(open_outputs, stop).map_err(SupervisorError::Outputs)?;
        }
        pause(settings.restart, stop);
        let ended_by = life.why.map_or(EndedBy::Itself, |(by, _)| by);
        // Another product is no sign of a fault.
        if end == End::Restart {
            memory.started_again(clock::now(), ended_by);
        }
    }
    Ok(())
}

/// Sends the next vision process what it needs, before it is started.
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
        unknown: given.unknown(),
        with_board: given.with_board(),
        places,
    };
    let kept = given.descriptors();
    let descriptors: Vec<_> = kept.chain(shared.iter().map(|s| s.descriptor)).collect();
    link.hand_over(&handover, &descriptors)
}

/// Runs [`attend`], then switches the outputs off. It uses its own thread, because the vision
/// process would inherit the priority of the thread that starts it.
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
            let safe = set_safe_state(outputs);
            logger.unpark();
            (life, safe)
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

/// Requests the outputs again and again. A chip that is back can show an old PASS, but not longer
/// than one pause here.
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
                log::info!("outputs: there again at attempt {attempts}");
                return Ok(outputs);
            }
            Err(error) if stop.load(Ordering::Relaxed) => return Err(error),
            Err(error) if clock::now() >= report_at => {
                log::error!(
                    "outputs: {error}; attempt {attempts}, asking again every {} ms",
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

/// Switches every output to the safe state, those that let parts pass first.
fn set_safe_state(outputs: &mut dyn Outputs) -> Result<(), DeviceError> {
    let mut failed = None;
    for output in SAFE_ORDER {
        failed = outputs
            .set(output, output.when_unattended())
            .err()
            .or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Executes the commands of the vision process as long as they come.
fn attend(
    settings: Supervision,
    link: &link::SupervisorEnd,
    outputs: &mut dyn Outputs,
    memory: &mut Memory,
    was_late: &mut dyn FnMut(Duration),
    stop: &AtomicBool,
) -> VisionRun {
    let rules = LeaseSettings {
        lease: settings.lease,
        late: settings.late,
        start: START_LIMIT,
        look: LOOK,
    };
    let mut lease = Lease::new(rules, clock::now());
    let mut holder = Holder {
        link,
        outputs,
        broken: None,
        late: None,
        last_incident: 0,
        differed: None,
        read_back_at: clock::now().after(READ_BACK),
    };
    loop {
        if stop.load(Ordering::Relaxed) {
            link.send(FromSupervisor::End);
            return VisionRun {
                ready: lease.was_ready(),
                stopped: true,
                why: None,
            };
        }
        // Returns after LOOK at the latest, when the rules are checked.
        wait(link, clock::until(lease.deadline()));
        let received = holder.receive(&mut lease, memory);
        lease.tick(clock::now(), &mut |act| holder.act(act));
        if let Some(late) = holder.late.take() {
            was_late(late);
        }
        let why = holder.broken.take().or_else(|| match received {
            Ok(()) => holder.read_back(clock::now()),
            Err(LinkError::Gone) => Some((EndedBy::Itself, "the vision process has ended".into())),
            Err(error) => Some((EndedBy::Words, error.to_string())),
        });
        if why.is_some() {
            return VisionRun {
                ready: lease.was_ready(),
                stopped: false,
                why,
            };
        }
    }
}

/// Does for one vision process what its lease demands.
struct Holder<'a> {
    link: &'a link::SupervisorEnd,
    outputs: &'a mut dyn Outputs,
    /// Why this vision process is not used any longer.
    broken: Option<(EndedBy, String)>,
    /// How late this process was, if that is a new incident.
    late: Option<Duration>,
    last_incident: u32,
    /// The output that differed when the outputs were last read back.
    differed: Option<Output>,
    read_back_at: Instant,
}

impl Holder<'_> {
    fn receive(&mut self, lease: &mut Lease, memory: &mut Memory) -> Result<(), LinkError> {
        // The limit keeps a flood of messages from delaying what is due here.
        for _ in 0..MESSAGES {
            match self.link.receive()? {
                Some(FromVision::Command(command)) => {
                    lease.receive(command, clock::now(), &mut |act| self.act(act));
                }
                Some(FromVision::Alarm(alarm)) => memory.remember(alarm),
                None => break,
            }
        }
        Ok(())
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Set(output, on) => {
                if let Err(error) = self.outputs.set(output, on)
                    && self.broken.is_none()
                {
                    let why = format!("output {}: {error}", output.name());
                    self.broken = Some((EndedBy::Outputs, why));
                }
            }
            Act::Answer(answer) => {
                self.late = (answer.incident != self.last_incident).then_some(answer.late);
                self.last_incident = answer.incident;
                self.link.send(FromSupervisor::Answer(answer));
            }
            Act::Silent(patience) => {
                let ms = patience.as_millis();
                let why = format!("no word from the vision process for {ms} ms");
                self.broken = Some((EndedBy::Silence, why));
            }
        }
    }

    /// Reads the outputs back when it is due. Returns why this vision process is not used any
    /// longer, if they are not as they were set.
    fn read_back(&mut self, now: Instant) -> Option<(EndedBy, String)> {
        if now < self.read_back_at {
            return None;
        }
        let found = match self.outputs.differs() {
            Ok(found) => found,
            Err(error) => return Some((EndedBy::Outputs, error.to_string())),
        };
        if let Some(output) = found.filter(|output| self.differed == Some(*output)) {
            let name = output.name();
            let why = format!(
                "output {name} does not show what it was set to; was its chip reset, or is the output short-circuited?"
            );
            return Some((EndedBy::Outputs, why));
        }
        self.differed = found;
        self.read_back_at = now.after(if found.is_some() {
            READ_AGAIN
        } else {
            READ_BACK
        });
        None
    }
}

fn wait(link: &link::SupervisorEnd, at_most: Duration) {
    let mut fds = [PollFd::new(link, PollFlags::IN)];
    // The link is read next, also if the wait was interrupted.
    let _ = poll(&mut fds, Some(&clock::timespec(at_most)));
}

#[cfg(test)]
mod tests;
