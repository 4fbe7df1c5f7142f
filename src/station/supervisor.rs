//! The process that holds the output lines. It does nothing else, so that hardly anything can
//! happen to it; and whatever happens to the vision process, the lines fall.
//!
//! - The vision process ends, however: the lines fall as soon as the kernel closes its end of the
//!   link.
//! - It is silent for a lease: the lines fall, it is killed, and another is started. A process that
//!   was silent is not believed again: nobody knows what it missed.
//! - A PASS whose time is over falls here too, whether or not the vision process says so; and one
//!   that is heard of too late is not set at all, for another part lies at the ejector by then.
//!
//! The thread that does this runs under real-time priority where that is permitted: it sleeps
//! nearly always, and what it has to do at all it has to do now, however busy the machine is.

use super::link::{self, LinkError, Message};
use super::priority;
use crate::clock;
use crate::line::devices::{DeviceError, Outputs};
use crate::line::gate::{Line, Nanos};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;

/// A vision process that has said nothing yet may take this long to load its product.
pub const START_LIMIT: Duration = Duration::from_secs(120);
/// How often a request to stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Messages that are taken before anything else is looked at.
const MESSAGES: usize = 64;
/// A process that was asked to end has so long for its records; the lines have fallen before.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The supervisor's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// The lines fall after so long without a word.
    pub lease: Duration,
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
struct Life {
    ready: bool,
    stopped: bool,
}

/// Holds the lines and keeps a vision process running until `stop`.
///
/// # Errors
/// [`SupervisorError`].
pub fn supervise(
    settings: Supervision,
    open_outputs: &mut dyn FnMut() -> Result<Box<dyn Outputs>, DeviceError>,
    start: &mut dyn FnMut(Stdio) -> std::io::Result<Child>,
    stop: &AtomicBool,
) -> Result<(), SupervisorError> {
    let mut outputs = open_outputs().map_err(SupervisorError::Outputs)?;
    let mut hopeless = 0;
    while !stop.load(Ordering::Relaxed) {
        let (ours, theirs) = link::pair().map_err(SupervisorError::Start)?;
        let mut child = start(Stdio::from(theirs)).map_err(SupervisorError::Start)?;
        log::info!("vision process {} started", child.id());
        let held = hold(settings, &ours, &mut *outputs, stop);
        // Closing the link tells it to end; a stuck one is not asked twice.
        drop(ours);
        let (end, fallen) = match held {
            Ok(held) => held,
            Err(error) => {
                await_end(&mut child);
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let life = match &end {
            Ok(life) => life,
            Err((life, why)) => {
                log::error!("the lines have fallen: {why}");
                life
            }
        };
        if life.stopped {
            await_end(&mut child);
        }
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
        if let Err(error) = fallen {
            log::error!("output lines lost: {error}; opening them again");
            drop(outputs);
            outputs = reopen(open_outputs, stop).map_err(SupervisorError::Outputs)?;
        }
        pause(settings.restart, stop);
    }
    Ok(())
}

/// Why nothing more is heard of a vision process.
type End = Result<Life, (Life, String)>;

/// [`attend`]s and lets the lines fall. On a thread of its own, because the vision process would
/// inherit the priority of the one that starts it.
fn hold(
    settings: Supervision,
    link: &link::SupervisorEnd,
    outputs: &mut dyn Outputs,
    stop: &AtomicBool,
) -> Result<(End, Result<(), DeviceError>), SupervisorError> {
    std::thread::scope(|scope| {
        let lines = std::thread::Builder::new().name("partgate-lines".into());
        let thread = lines.spawn_scoped(scope, || {
            priority::real_time(priority::LINES);
            let end = attend(settings, link, outputs, stop);
            (end, fall(outputs))
        });
        let thread = thread.map_err(SupervisorError::Thread)?;
        thread.join().map_err(|_| SupervisorError::Failed)
    })
}

/// Gives a process that was asked to end time for its records.
fn await_end(child: &mut Child) {
    let until = clock::now().after(clock::nanos(END_LIMIT));
    while matches!(child.try_wait(), Ok(None)) && clock::now() < until {
        std::thread::sleep(LOOK);
    }
}

fn reopen(
    open: &mut dyn FnMut() -> Result<Box<dyn Outputs>, DeviceError>,
    stop: &AtomicBool,
) -> Result<Box<dyn Outputs>, DeviceError> {
    loop {
        match open() {
            Ok(outputs) => return Ok(outputs),
            Err(error) if stop.load(Ordering::Relaxed) => return Err(error),
            Err(error) => log::error!("output lines: {error}"),
        }
        pause(Duration::from_millis(500), stop);
    }
}

fn pause(time: Duration, stop: &AtomicBool) {
    let until = clock::now().after(clock::nanos(time));
    while clock::now() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK.min(time));
    }
}

/// Every line shows what it shows unattended.
fn fall(outputs: &mut dyn Outputs) -> Result<(), DeviceError> {
    let mut failed = None;
    // What lets parts by falls first.
    for line in [Line::Pass, Line::Ready, Line::Reject] {
        failed = outputs.set(line, line.when_unattended()).err().or(failed);
    }
    for line in [Line::Fault, Line::Ok, Line::Busy, Line::Heartbeat] {
        failed = outputs.set(line, line.when_unattended()).err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

/// Does what the vision process says for as long as it speaks.
fn attend(
    settings: Supervision,
    link: &link::SupervisorEnd,
    outputs: &mut dyn Outputs,
    stop: &AtomicBool,
) -> End {
    let mut life = Life {
        ready: false,
        stopped: false,
    };
    let mut patience = START_LIMIT;
    let mut lease_until = clock::now().after(clock::nanos(patience));
    let mut pass_until: Option<Nanos> = None;
    loop {
        if stop.load(Ordering::Relaxed) {
            life.stopped = true;
            return Ok(life);
        }
        let now = clock::now();
        let next = lease_until.min(pass_until.unwrap_or(Nanos::MAX));
        wait(link, Duration::from_nanos(next.since(now).0).min(LOOK));
        // However much it says: what is due here is not put off for longer than this.
        for _ in 0..MESSAGES {
            let message = match link.receive() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(LinkError::Gone) => return Err((life, "the vision process has ended".into())),
                Err(error) => return Err((life, error.to_string())),
            };
            patience = settings.lease;
            lease_until = clock::now().after(clock::nanos(patience));
            if let Message::Set { line, on, until } = message {
                life.ready |= line == Line::Ready && on;
                // Heard of too late: the part has gone by, and the next one must not profit. There is no
                // PASS without an end.
                let over = until.is_none_or(|until| clock::now() >= until);
                let on = on && !(line == Line::Pass && over);
                if line == Line::Pass {
                    pass_until = until.filter(|_| on);
                }
                if let Err(error) = outputs.set(line, on) {
                    return Err((life, format!("line {}: {error}", line.name())));
                }
            }
        }
        let now = clock::now();
        if now >= lease_until {
            let silent = patience.as_millis();
            return Err((
                life,
                format!("no word from the vision process for {silent} ms"),
            ));
        }
        if pass_until.is_some_and(|until| now >= until) {
            pass_until = None;
            if let Err(error) = outputs.set(Line::Pass, false) {
                return Err((life, format!("line {}: {error}", Line::Pass.name())));
            }
        }
    }
}

fn wait(link: &link::SupervisorEnd, at_most: Duration) {
    let timeout = Timespec {
        tv_sec: at_most.as_secs() as i64,
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    let mut fds = [PollFd::new(link, PollFlags::IN)];
    // Interrupted or not: the link is looked at next.
    let _ = poll(&mut fds, Some(&timeout));
}
