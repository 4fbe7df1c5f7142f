//! The control socket: one command a line, one line of JSON back.
//!
//! `status`, `trigger`, `acknowledge`. Whoever may write to the socket's file may command the line.

use super::rails::Word;
use super::triggers::{SharedFlash, fire};
use crate::clock;
use crate::line::gate::Reason;
use crate::record::Metrics;
use heapless::spsc::Producer;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;
use thiserror::Error;

/// Longest command, bytes.
const LONGEST: u64 = 256;
/// A peer that says nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Another program answers on it.
    #[error("{}: another line's program answers there; is `partgate run` running already?", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("{}: the control socket cannot be made; does its folder exist, and may this user write there?", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The bound socket; its file goes when this does.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds `path`. A socket that a dead program left behind is taken over.
    pub(super) fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind {
            path: path.to_path_buf(),
            source,
        };
        if UnixStream::connect(path).is_ok() {
            return Err(ControlError::Taken {
                path: path.to_path_buf(),
            });
        }
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        // Its group may command the line, whatever the mask for new files; its folder says who else.
        let group = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(path, group).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_path_buf(),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A vision process whose supervisor was killed may answer this much longer.
const ORPHAN: Duration = Duration::from_secs(1);

/// Asks whether another program runs the line behind the control socket `path`: a supervisor has to
/// know before it touches a line.
///
/// # Errors
/// [`ControlError::Taken`] when somebody answers there and goes on to for a second.
pub fn ensure_alone(path: &Path) -> Result<(), ControlError> {
    let until = clock::now().after(clock::nanos(ORPHAN));
    while UnixStream::connect(path).is_ok() {
        if clock::now() >= until {
            return Err(ControlError::Taken {
                path: path.to_path_buf(),
            });
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What the control thread needs.
pub(super) struct ControlEnds<'a> {
    pub(super) words: Producer<'a, Word>,
    pub(super) gate: Thread,
    pub(super) flash: &'a SharedFlash,
    pub(super) metrics: Arc<Metrics>,
    /// Whether triggers may come from here.
    pub(super) triggers: bool,
}

/// Answers until `stop`.
pub(super) fn run(control: &Control, mut ends: ControlEnds<'_>, stop: &AtomicBool) {
    // Peers are served one at a time: a person, or one PLC gateway. Each is cut off when silent.
    while !stop.load(Ordering::Relaxed) {
        match control.listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = ends.serve(stream, stop) {
                    log::debug!("control socket: {error}");
                }
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

impl ControlEnds<'_> {
    fn serve(&mut self, stream: UnixStream, stop: &AtomicBool) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while !stop.load(Ordering::Relaxed) {
            line.clear();
            if reader.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let answer = if line.ends_with('\n') {
                self.answer(line.trim())
            } else {
                error("a command is one line of at most 255 bytes")
            };
            writeln!(writer, "{answer}")?;
        }
        Ok(())
    }

    fn answer(&mut self, command: &str) -> serde_json::Value {
        match command {
            "trigger" if !self.triggers => {
                error("this line's triggers do not come from the socket (trigger.kind)")
            }
            "trigger" => {
                let at = clock::now();
                fire(self.flash, at);
                self.say(
                    Word::Trigger(at),
                    serde_json::json!({"ok": true, "at_ns": at.0}),
                )
            }
            "acknowledge" => self.say(Word::Acknowledge, serde_json::json!({"ok": true})),
            "status" => self.status(),
            _ => error("unknown command; known are status, trigger, acknowledge"),
        }
    }

    fn status(&self) -> serde_json::Value {
        let metrics = &self.metrics;
        let rejected: serde_json::Map<_, _> = Reason::ALL
            .into_iter()
            .map(|r| (r.name().to_string(), metrics.rejected(r).into()))
            .collect();
        serde_json::json!({
            "ok": true,
            "pid": std::process::id(),
            "ready": metrics.ready(),
            "faults": metrics.faults().collect::<Vec<_>>(),
            "alarms": metrics.alarms().collect::<Vec<_>>(),
            "parts": metrics.parts.get(),
            "passed": metrics.passed.get(),
            "rejected": rejected,
            "frames": metrics.frames.get(),
            "frames_lost": metrics.frames_lost.get(),
            "frames_stale": metrics.frames_stale.get(),
            "frames_damaged": metrics.frames_damaged.get(),
            "score": metrics.score.get(),
        })
    }

    fn say(&mut self, word: Word, answer: serde_json::Value) -> serde_json::Value {
        if self.words.enqueue(word).is_err() {
            return error("the line does not take commands now");
        }
        self.gate.unpark();
        answer
    }
}

fn error(text: &str) -> serde_json::Value {
    serde_json::json!({"ok": false, "error": text})
}

/// Sends one command to the line behind `path` and returns its answer.
///
/// # Errors
/// When nobody answers there within two seconds.
pub fn ask(path: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{command}")?;
    let mut answer = String::new();
    BufReader::new(stream)
        .take(1 << 16)
        .read_line(&mut answer)?;
    Ok(answer.trim_end().to_string())
}
