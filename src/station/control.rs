//! The control socket: one command a line, one line of JSON back.
//!
//! `status`, `trigger`, `acknowledge`. Whoever may write to the socket's file may command the line.

use super::alive;
use super::rails::Word;
use super::triggers::{SharedFlash, fire};
use crate::clock;
use crate::line::gate::{Nanos, Reason};
use crate::record::Metrics;
use heapless::spsc::Producer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
const LONGEST: usize = 255;
/// A peer that gives no command for so long is left.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// Peers that are served at once.
const PEERS: usize = 16;
/// A peer that is owed so many bytes gets no more answers.
const MOST_OWED: usize = 64 << 10;

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
    /// When this thread last went round.
    pub(super) alive: &'a alive::Word,
}

/// Somebody who is connected.
struct Peer {
    stream: UnixStream,
    /// What it said since its last command.
    said: heapless::Vec<u8, LONGEST>,
    /// Its command is too long: an error is owed, and what follows up to the line's end is dropped.
    too_long: bool,
    /// What it has not taken yet of its answer.
    owed: Vec<u8>,
    /// When it last gave a whole command, or came.
    since: Nanos,
    /// It has said its last word.
    ended: bool,
}

/// Answers until `stop`. Peers are served side by side, so that none keeps another waiting.
pub(super) fn run(control: &Control, mut ends: ControlEnds<'_>, stop: &AtomicBool) {
    let mut peers: heapless::Vec<Peer, PEERS> = heapless::Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ends.alive.stamp();
        wait(control, &peers);
        let now = clock::now();
        while let Ok((stream, _)) = control.listener.accept() {
            welcome(&mut peers, stream, now);
        }
        peers.retain_mut(|peer| {
            let idle = now.since(peer.since) > clock::nanos(PATIENCE);
            let served = ends.serve(peer, now);
            if let Err(error) = &served {
                log::debug!("control socket: {error}");
            }
            served.is_ok() && !idle && !(peer.ended && peer.owed.is_empty())
        });
    }
}

/// Makes room where there is none: whoever gave a command last longest ago goes.
fn welcome(peers: &mut heapless::Vec<Peer, PEERS>, stream: UnixStream, now: Nanos) {
    if stream.set_nonblocking(true).is_err() {
        return;
    }
    if peers.is_full() {
        let oldest = (0..peers.len()).min_by_key(|&i| peers[i].since);
        if let Some(oldest) = oldest {
            peers.swap_remove(oldest);
        }
    }
    let _ = peers.push(Peer {
        stream,
        said: heapless::Vec::new(),
        too_long: false,
        owed: Vec::new(),
        since: now,
        ended: false,
    });
}

fn wait(control: &Control, peers: &[Peer]) {
    let mut fds: heapless::Vec<PollFd<'_>, { PEERS + 1 }> = heapless::Vec::new();
    let _ = fds.push(PollFd::new(&control.listener, PollFlags::IN));
    for peer in peers {
        // One that does not take its answer is not asked for more.
        let flags = if peer.owed.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        let _ = fds.push(PollFd::new(&peer.stream, flags));
    }
    let timeout = Timespec::try_from(LOOK).ok();
    // Interrupted or not: all of them are looked at next.
    let _ = poll(&mut fds, timeout.as_ref());
}

/// A call that would have to wait has done nothing.
fn unless_waiting(done: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match done {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}

impl ControlEnds<'_> {
    /// Takes and answers what `peer` has said, without waiting.
    fn serve(&mut self, peer: &mut Peer, now: Nanos) -> std::io::Result<()> {
        peer.flush()?;
        let mut bytes = [0; LONGEST];
        // Not more than this in one go: others wait.
        for _ in 0..4 {
            if !peer.owed.is_empty() || peer.ended {
                return Ok(());
            }
            match unless_waiting(peer.stream.read(&mut bytes))? {
                None => return Ok(()),
                Some(0) => peer.ended = true,
                Some(n) => {
                    for byte in &bytes[..n] {
                        self.hear(peer, *byte, now);
                    }
                }
            }
            peer.flush()?;
        }
        Ok(())
    }

    fn hear(&mut self, peer: &mut Peer, byte: u8, now: Nanos) {
        if byte != b'\n' {
            peer.too_long |= peer.said.push(byte).is_err();
            return;
        }
        peer.since = now;
        let answer = match std::str::from_utf8(&peer.said) {
            Ok(command) if !std::mem::take(&mut peer.too_long) => self.answer(command.trim()),
            _ => error("a command is one line of at most 255 bytes"),
        };
        peer.said.clear();
        if peer.owed.len() < MOST_OWED {
            peer.owed.extend_from_slice(answer.to_string().as_bytes());
            peer.owed.push(b'\n');
        }
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
            "restarts": metrics.restarts.get(),
            "late": {
                "supervisor": metrics.supervisor_late.get(),
                "vision": metrics.vision_late.get(),
            },
            "record_lost": metrics.is_record_lost(),
            "changed_on_disk": metrics.all_changed_on_disk().collect::<Vec<_>>(),
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

impl Peer {
    fn flush(&mut self) -> std::io::Result<()> {
        while !self.owed.is_empty() {
            match unless_waiting(self.stream.write(&self.owed))? {
                None => break,
                Some(n) => drop(self.owed.drain(..n)),
            }
        }
        Ok(())
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
