//! The control socket: one command per text line, one line of JSON as answer.
//!
//! The commands are `status`, `trigger`, `acknowledge`, `challenge`, `mark` and `marked`. `trigger` can carry the
//! part's time, CLOCK_MONOTONIC in nanoseconds. A command without a time gets the time of its
//! arrival. If it waited because this program was not run in time, its part was there at some
//! unknown time of that wait, so all parts of that time are rejected. Everybody who can write to
//! the socket's file can command the line.

mod marks;

pub(super) use marks::Marks;

use super::activity;
use super::asked::{AskedProduct, AskedWhy};
use super::queues::ControlRequest;
use super::triggers::{SharedFlash, fire};
use crate::clock;
use crate::line::devices::LatchedAlarm;
use crate::line::gate::Reason;
use crate::record::{ChallengeState, Metrics};
use crate::time::{Duration, Instant};
use heapless::spsc::Producer;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::SystemTime;
use thiserror::Error;

/// Longest command, bytes.
const LONGEST: usize = 255;
/// A peer that sends no command for this long is disconnected.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// A part that is reported later than this after its time counts as lost.
const OLDEST: Duration = Duration::from_millis(1_000);
/// Most peers at the same time.
const PEERS: usize = 16;
/// A peer with this many unsent bytes gets no more answers.
const MOST_OWED: usize = 64 << 10;

/// Why the control socket cannot be used.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Another program answers on it.
    #[error("{}: another line's program answers there; is `partgate run` running already?", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error("{}: the control socket cannot be made; does its folder exist, and may this user write there?", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The bound socket. Dropping it removes its file.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds `path`. A socket that a dead program left is replaced.
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
        // The file's group can command the line, whatever the umask is. The folder's permissions
        // decide on everybody else.
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

/// A vision process whose supervisor was killed can still answer for this long.
const ORPHAN: Duration = Duration::from_secs(1);

/// Checks that no other program runs the line behind the control socket `path`. A supervisor must
/// know it before it sets an output.
///
/// # Errors
/// [`ControlError::Taken`] if a program answers there for a whole second.
pub fn ensure_alone(path: &Path) -> Result<(), ControlError> {
    let until = clock::now().after(ORPHAN);
    while UnixStream::connect(path).is_ok() {
        if clock::now() >= until {
            return Err(ControlError::Taken {
                path: path.to_path_buf(),
            });
        }
        clock::sleep(LOOK);
    }
    Ok(())
}

/// The control thread's ends of the queues, and its settings.
pub(super) struct ControlQueues<'a> {
    pub(super) words: Producer<'a, ControlRequest>,
    pub(super) gate: Thread,
    pub(super) flash: &'a SharedFlash,
    pub(super) metrics: Arc<Metrics>,
    pub(super) asked: Arc<AskedProduct>,
    pub(super) marks: Marks<'a>,
    /// Whether triggers can come from here.
    pub(super) triggers: bool,
    /// If a command can have waited longer than this plus [`LOOK`], its time of arrival is not the
    /// time of its part.
    pub(super) late: Duration,
    /// Time of the last part that was reported here.
    pub(super) last: Instant,
    /// Time of this thread's last round.
    pub(super) alive: &'a activity::ActivityStamp,
}

/// A connected peer.
struct Peer {
    stream: UnixStream,
    /// Bytes received since its last command.
    request: heapless::Vec<u8, LONGEST>,
    /// Its command is too long: it gets an error, and the bytes up to the end of the text line are
    /// dropped.
    too_long: bool,
    /// Bytes of answers that it has not taken yet.
    owed: Vec<u8>,
    /// Time at which nothing was waiting from it. Bytes received now came later.
    silent_at: Instant,
    /// Time of its last whole command, or of its connection.
    since: Instant,
    /// It sends nothing more.
    ended: bool,
}

/// Answers until `stop`. Peers are served side by side, so none makes another wait.
pub(super) fn run(control: &Control, mut ends: ControlQueues<'_>, stop: &AtomicBool) {
    let mut peers: heapless::Vec<Peer, PEERS> = heapless::Vec::new();
    let mut before = clock::now();
    while !stop.load(Ordering::Relaxed) {
        ends.alive.stamp();
        let looked = std::mem::replace(&mut before, clock::now());
        wait(control, &peers);
        let now = clock::now();
        while let Ok((stream, _)) = control.listener.accept() {
            // A new peer can have connected and sent bytes right after the last look.
            welcome(&mut peers, stream, now, looked);
        }
        peers.retain_mut(|peer| {
            let idle = now.since(peer.since) > PATIENCE;
            let served = ends.serve(peer, now);
            if let Err(error) = &served {
                log::debug!("control socket: {error}");
            }
            served.is_ok() && !idle && !(peer.ended && peer.owed.is_empty())
        });
    }
}

/// Adds a peer. If there is no room, the peer whose last command is oldest is disconnected.
fn welcome(
    peers: &mut heapless::Vec<Peer, PEERS>,
    stream: UnixStream,
    now: Instant,
    silent_at: Instant,
) {
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
        request: heapless::Vec::new(),
        too_long: false,
        owed: Vec::new(),
        silent_at,
        since: now,
        ended: false,
    });
}

fn wait(control: &Control, peers: &[Peer]) {
    let mut fds: heapless::Vec<PollFd<'_>, { PEERS + 1 }> = heapless::Vec::new();
    let _ = fds.push(PollFd::new(&control.listener, PollFlags::IN));
    for peer in peers {
        // A peer that does not take its answer is not read.
        let flags = if peer.owed.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        let _ = fds.push(PollFd::new(&peer.stream, flags));
    }
    // All peers are checked next, also if the wait was interrupted.
    let _ = poll(&mut fds, Some(&clock::timespec(LOOK)));
}

/// None if the call would have to wait; it has done nothing then.
fn unless_waiting(done: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match done {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}

impl ControlQueues<'_> {
    /// Reads and answers what `peer` has sent, without waiting.
    fn serve(&mut self, peer: &mut Peer, now: Instant) -> std::io::Result<()> {
        peer.flush()?;
        let mut bytes = [0; LONGEST];
        // A limit per call, because other peers wait.
        for _ in 0..4 {
            if !peer.owed.is_empty() || peer.ended {
                return Ok(());
            }
            match unless_waiting(peer.stream.read(&mut bytes))? {
                None => {
                    peer.silent_at = now;
                    return Ok(());
                }
                Some(0) => peer.ended = true,
                Some(n) => {
                    for byte in &bytes[..n] {
                        self.receive(peer, *byte, now);
                    }
                }
            }
            peer.flush()?;
        }
        Ok(())
    }

    fn receive(&mut self, peer: &mut Peer, byte: u8, now: Instant) {
        if byte != b'\n' {
            peer.too_long |= peer.request.push(byte).is_err();
            return;
        }
        peer.since = now;
        let answer = match std::str::from_utf8(&peer.request) {
            Ok(command) if !std::mem::take(&mut peer.too_long) => {
                self.answer(command.trim(), peer.silent_at)
            }
            _ => error("a command is one line of at most 255 bytes"),
        };
        peer.request.clear();
        if peer.owed.len() < MOST_OWED {
            peer.owed.extend_from_slice(answer.to_string().as_bytes());
            peer.owed.push(b'\n');
        }
    }

    fn answer(&mut self, command: &str, not_before: Instant) -> serde_json::Value {
        match command {
            "trigger" => self.trigger(None, not_before),
            "acknowledge" => {
                let answer = self.say(ControlRequest::Acknowledge, serde_json::json!({"ok": true}));
                if self.metrics.challenge.needed() {
                    return error(
                        "the alarm challenge stands until a challenge was passed: `partgate tell CONFIG challenge`, then let a known-bad part through",
                    );
                }
                answer
            }
            "challenge" => match self.why_no_challenge() {
                Some(why) => error(&why),
                None => self.say(
                    ControlRequest::Challenge(clock::now()),
                    serde_json::json!({
                        "ok": true,
                        "next": "the next part that is triggered is taken to be the known-bad one",
                    }),
                ),
            },
            "status" => self.status(),
            _ => match command.split_once(' ') {
                Some(("trigger", at)) => self.trigger(Some(at), not_before),
                Some(("mark", words)) => self.marks.mark(words),
                Some(("marked", number)) => self.marks.marked(number),
                _ => error(
                    "unknown command; known are status, trigger, acknowledge, challenge, mark",
                ),
            },
        }
    }

    /// A part is there. `at` is its time as text, if the command has one. The command had not
    /// arrived at `not_before`.
    fn trigger(&mut self, at: Option<&str>, not_before: Instant) -> serde_json::Value {
        if !self.triggers {
            return error("this line's triggers do not come from the socket (trigger.kind)");
        }
        let now = clock::now();
        let longest = self.late + LOOK;
        let at = match at.map(|at| stamp(at, self.last, now)) {
            // This thread was not run, or the peer was not read, so the command can have waited.
            None if now.since(not_before) > longest => {
                log::warn!(
                    "control socket: a trigger without a time may have waited for {} ms: the part is taken as lost",
                    now.since(not_before).as_millis()
                );
                let answer = serde_json::json!({"ok": true, "at_ns": now.0, "lost": true});
                return self.say(ControlRequest::LostTrigger(not_before), answer);
            }
            None => None,
            Some(Ok(at)) => Some(at),
            Some(Err((since, why))) => {
                // The time is wrong, but there was a part.
                let answer = self.say(ControlRequest::LostTrigger(since), serde_json::Value::Null);
                return if answer.is_null() {
                    error(&format!(
                        "{why}; the part is taken as lost, and what may be it is thrown out"
                    ))
                } else {
                    answer
                };
            }
        };
        let stamped = at.is_some();
        let at = at.unwrap_or(now);
        fire(self.flash, at);
        self.last = at;
        let word = if stamped {
            ControlRequest::StampedTrigger(at)
        } else {
            ControlRequest::Trigger(at)
        };
        self.say(word, serde_json::json!({"ok": true, "at_ns": at.0}))
    }

    /// Why a known-bad part would show nothing now.
    fn why_no_challenge(&self) -> Option<String> {
        let metrics = &self.metrics;
        if metrics.challenge.state() == ChallengeState::UnderWay {
            return Some("a known-bad part is under way already: wait for its end".into());
        }
        if metrics.ready() {
            return None;
        }
        // The alarm of the challenge itself lets the line run for a challenge.
        let own = LatchedAlarm::Challenge.name();
        let alarms = metrics.alarms().filter(|a| *a != own && *a != "drift");
        let why: Vec<&str> = metrics.faults().chain(alarms).collect();
        if why.is_empty() && metrics.alarms().any(|a| a == own) {
            return None;
        }
        Some(format!(
            "the line is not ready, so that it rejects whatever comes: {}",
            why.join(", ")
        ))
    }

    fn status(&self) -> serde_json::Value {
        let metrics = &self.metrics;
        let product = metrics.product();
        let rejected: serde_json::Map<_, _> = Reason::ALL
            .into_iter()
            .map(|r| (r.name().to_string(), metrics.rejected(r).into()))
            .collect();
        serde_json::json!({
            "ok": true,
            "pid": std::process::id(),
            "ready": metrics.ready(),
            "product": {
                "name": product.name.as_str(),
                "digest": product.digest.as_str(),
                "origin": product.origin.as_str(),
                "set": product.set_threshold(),
            },
            "products": metrics.products(),
            "asked": self.asked_product(),
            "faults": metrics.faults().collect::<Vec<_>>(),
            "alarms": metrics.alarms().collect::<Vec<_>>(),
            "restarts": metrics.restarts.get(),
            "late": {
                "supervisor": metrics.supervisor_late.get(),
                "vision": metrics.vision_late.get(),
            },
            "challenge": {
                "state": metrics.challenge.state().name(),
                "needed": metrics.challenge.needed(),
                "passed_s_ago": metrics.challenge.age(SystemTime::now()).map(|age| age.as_secs()),
                "passed": metrics.challenge.passed.get(),
                "failed": metrics.challenge.failed.get(),
                "void": metrics.challenge.void.get(),
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

    /// Whether what is asked for runs, on a line with several products.
    fn asked_product(&self) -> serde_json::Value {
        let why = self.asked.why();
        serde_json::json!({
            "number": self.asked.number(),
            "acknowledged": self.asked.acknowledged(),
            "why": (why != AskedWhy::Nothing).then(|| why.words()),
        })
    }

    fn say(&mut self, word: ControlRequest, answer: serde_json::Value) -> serde_json::Value {
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

/// The time of a part as the command states it. If it cannot be true: the earliest time at which
/// the part can have been there, and why.
fn stamp(text: &str, last: Instant, now: Instant) -> Result<Instant, (Instant, &'static str)> {
    let earliest = now.before(OLDEST);
    let Ok(at) = text.trim().parse().map(Instant) else {
        return Err((
            earliest,
            "the time of a trigger is a whole number of nanoseconds of this board's CLOCK_MONOTONIC",
        ));
    };
    if at > now {
        return Err((
            earliest,
            "this time is in the future; it has to be nanoseconds of this board's CLOCK_MONOTONIC",
        ));
    }
    if at < earliest {
        return Err((at, "this time is more than a second ago"));
    }
    if at < last {
        return Err((at, "this time is before that of the trigger before"));
    }
    Ok(at)
}

fn error(text: &str) -> serde_json::Value {
    serde_json::json!({"ok": false, "error": text})
}

/// Sends one command to the line behind `path` and returns its answer.
///
/// # Errors
/// If there is no answer within two seconds.
pub fn ask(path: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE.into()))?;
    stream.set_write_timeout(Some(PATIENCE.into()))?;
    writeln!(stream, "{command}")?;
    let mut answer = String::new();
    BufReader::new(stream)
        .take(1 << 16)
        .read_line(&mut answer)?;
    Ok(answer.trim_end().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::queues::{MarkAnswer, MarkRequest};

    fn marks_of<'a>(
        requests: &'a mut heapless::spsc::Queue<MarkRequest, 8>,
        answers: &'a mut heapless::spsc::Queue<MarkAnswer, 8>,
    ) -> Marks<'a> {
        Marks::new(requests.split().0, answers.split().1)
    }

    #[test]
    fn a_word_without_a_time_is_taken_as_lost_where_it_may_have_waited_for_this_thread_alone() {
        let mut queue: heapless::spsc::Queue<ControlRequest, 8> = heapless::spsc::Queue::new();
        let (words, mut received) = queue.split();
        let (flash, alive) = (SharedFlash::new(None), activity::ThreadActivity::new());
        let (mut requests, mut answers) = (Default::default(), Default::default());
        let marks = marks_of(&mut requests, &mut answers);
        let mut ends = ControlQueues {
            words,
            gate: std::thread::current(),
            flash: &flash,
            metrics: Arc::new(crate::station::metrics()),
            asked: Arc::default(),
            marks,
            triggers: true,
            late: Duration::from_millis(100),
            last: Instant(0),
            alive: &alive.control,
        };
        let long_ago = clock::now().before(Duration::from_millis(500));
        let answer = ends.answer("trigger", long_ago);
        assert_eq!(answer["lost"], true, "{answer}");
        let word = received.dequeue();
        assert!(
            matches!(word, Some(ControlRequest::LostTrigger(at)) if at == long_ago),
            "{word:?}"
        );
        // A command with a time states when its part was there, however late it arrives.
        let stamped = clock::now().before(Duration::from_millis(400));
        let answer = ends.answer(&format!("trigger {}", stamped.0), long_ago);
        assert_eq!(answer["ok"], true, "{answer}");
        let word = received.dequeue();
        assert!(
            matches!(word, Some(ControlRequest::StampedTrigger(at)) if at == stamped),
            "{word:?}"
        );
        // A peer from which nothing was waiting a moment ago.
        let answer = ends.answer("trigger", clock::now());
        assert_eq!(answer["ok"], true, "{answer}");
        assert!(matches!(
            received.dequeue(),
            Some(ControlRequest::Trigger(_))
        ));
    }

    #[test]
    fn a_time_that_cannot_be_a_parts_tells_since_when_the_part_may_have_been_there() {
        let ms = Instant::from_millis;
        let (last, now) = (ms(9_500), ms(10_000));
        let stamped = |at: Instant| stamp(&at.0.to_string(), last, now).map_err(|(since, _)| since);
        assert_eq!(stamped(ms(9_999)), Ok(ms(9_999)));
        assert_eq!(stamped(now), Ok(now));
        assert_eq!(
            stamped(last),
            Ok(last),
            "told twice: the gate takes it as a bounce"
        );
        assert_eq!(stamped(ms(10_001)), Err(ms(9_000)), "in the future");
        assert_eq!(stamped(ms(8_999)), Err(ms(8_999)), "too old");
        assert_eq!(stamped(ms(9_499)), Err(ms(9_499)), "out of order");
        for text in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            let stamped = stamp(text, last, now).map_err(|(since, _)| since);
            assert_eq!(stamped, Err(ms(9_000)), "{text:?}");
        }
    }
}
