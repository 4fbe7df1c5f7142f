//! Between the vision process and the supervisor that holds the output lines: messages of fixed
//! size over a socket pair.
//!
//! The first one is the supervisor's: what the new vision process is given ([`Handover`]), with the
//! descriptors that belong to it. Then the vision process says what the lines are to be, and the
//! supervisor answers; the silence of either is noticed by the other ([`holder`](crate::line::holder)).

use crate::clock;
use crate::line::devices::{DeviceError, Holding, LatchedAlarm, Outputs, SafeOutputs};
use crate::line::gate::Output;
use crate::line::holder::{Answer, Command, FALL, Watch, What};
use crate::time::{Duration, Instant};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use thiserror::Error;

use super::handover::{Handover, VERSION};

const SIZE: usize = 32;
const ALIVE: u8 = 1;
const SET: u8 = 2;
const ALARM: u8 = 3;
const ANSWER: u8 = 4;
const END: u8 = 5;
const ON: u8 = 1;
const ENDS: u8 = 2;

/// What the kernel may hold of what the other has not taken, bytes asked for: some eighty messages,
/// with what it counts beside each. A supervisor that hangs is then noticed in about three seconds, at
/// twenty-four messages a second and more; by default there is room for twelve.
const SEND_BUFFER: usize = 32 << 10;

/// Whoever holds the lines is asked at most so often.
const NOT_SOONER: Duration = Duration::from_millis(1);

/// Descriptors that go with a [`Handover`] at most.
const DESCRIPTORS: usize = 16;

/// What the vision process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromVision {
    /// What the lines are to be.
    Command(Command),
    /// The supervisor remembers this alarm.
    Alarm(LatchedAlarm),
}

/// What the supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromSupervisor {
    /// What is done.
    Answer(Answer),
    /// An orderly end was asked for.
    End,
}

fn place_u64(bytes: &mut [u8; SIZE], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u64_at(bytes: &[u8; SIZE], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

fn u32_at(bytes: &[u8; SIZE], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// A message of this version of the program; its kind.
fn versioned(bytes: &[u8]) -> Option<(&[u8; SIZE], u8)> {
    let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
    (bytes[0] == VERSION).then_some((bytes, bytes[1]))
}

fn start(kind: u8) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    (bytes[0], bytes[1]) = (VERSION, kind);
    bytes
}

impl FromVision {
    fn encode(self) -> [u8; SIZE] {
        let command = match self {
            FromVision::Alarm(alarm) => {
                let mut bytes = start(ALARM);
                bytes[2] = alarm as u8;
                return bytes;
            }
            FromVision::Command(command) => command,
        };
        let mut bytes = match command.what {
            What::Alive => start(ALIVE),
            What::Set { output, on, until } => {
                let mut bytes = start(SET);
                bytes[2] = output as u8;
                bytes[3] = if on { ON } else { 0 } | if until.is_some() { ENDS } else { 0 };
                place_u64(&mut bytes, 24, until.map_or(0, |t| t.0));
                bytes
            }
        };
        bytes[4..8].copy_from_slice(&command.incident.to_le_bytes());
        place_u64(&mut bytes, 8, command.number);
        place_u64(&mut bytes, 16, command.at.0);
        bytes
    }

    /// None for what no vision process of this version says.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, kind) = versioned(bytes)?;
        let what = match kind {
            ALARM => return LatchedAlarm::numbered(bytes[2]).map(FromVision::Alarm),
            ALIVE => What::Alive,
            SET if bytes[3] <= ON | ENDS => What::Set {
                output: *Output::ALL.get(usize::from(bytes[2]))?,
                on: bytes[3] & ON != 0,
                until: (bytes[3] & ENDS != 0).then(|| Instant(u64_at(bytes, 24))),
            },
            _ => return None,
        };
        Some(FromVision::Command(Command {
            number: u64_at(bytes, 8),
            incident: u32_at(bytes, 4),
            at: Instant(u64_at(bytes, 16)),
            what,
        }))
    }
}

impl FromSupervisor {
    fn encode(self) -> [u8; SIZE] {
        match self {
            FromSupervisor::End => start(END),
            FromSupervisor::Answer(answer) => {
                let mut bytes = start(ANSWER);
                bytes[4..8].copy_from_slice(&answer.incident.to_le_bytes());
                place_u64(&mut bytes, 8, answer.number);
                place_u64(&mut bytes, 16, answer.late.0);
                bytes
            }
        }
    }

    /// None for what no supervisor of this version says.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, kind) = versioned(bytes)?;
        match kind {
            END => Some(FromSupervisor::End),
            ANSWER => Some(FromSupervisor::Answer(Answer {
                number: u64_at(bytes, 8),
                incident: u32_at(bytes, 4),
                late: Duration(u64_at(bytes, 16)),
            })),
            _ => None,
        }
    }
}

/// Why nothing more comes, or goes.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The other process has ended.
    #[error("the other process has ended")]
    Gone,
    /// The other process does not take what it is sent.
    #[error("the supervisor does not take what it is told")]
    Full,
    /// Not a message: another version of the program?
    #[error("the other process sent what this version does not know")]
    Foreign,
    /// The system failed.
    #[error("the link between the processes failed")]
    System(#[source] std::io::Error),
}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Full,
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Gone,
            errno => Self::System(errno.into()),
        }
    }
}

/// One end.
#[derive(Debug)]
struct End {
    socket: OwnedFd,
}

impl End {
    fn send(&self, bytes: &[u8]) -> Result<(), LinkError> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::send(&self.socket, bytes, flags)?;
        Ok(())
    }

    /// None when there is nothing now.
    fn receive<T>(&self, decode: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, LinkError> {
        let mut bytes = [0; SIZE + 1];
        let mut receive = || rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT);
        let received = match receive() {
            // The other process has ended and left messages unread. The system reports that once, before
            // what that process sent: its messages are still there.
            Err(Errno::CONNRESET) => receive(),
            received => received,
        };
        match received {
            Ok((0, _)) => Err(LinkError::Gone),
            Ok((length, _)) => match bytes.get(..length).and_then(decode) {
                Some(message) => Ok(Some(message)),
                None => Err(LinkError::Foreign),
            },
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Both ends; the second is the vision process's standard input.
///
/// # Errors
/// When the system gives no sockets.
pub fn pair() -> std::io::Result<(SupervisorEnd, OwnedFd)> {
    // Records with an end, so that a dead peer is told at once.
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, SEND_BUFFER)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&theirs, SEND_BUFFER)?;
    Ok((SupervisorEnd(End { socket: ours }), theirs))
}

/// The supervisor's end.
#[derive(Debug)]
pub struct SupervisorEnd(End);

impl SupervisorEnd {
    /// The next message; None when there is none now.
    pub(super) fn receive(&self) -> Result<Option<FromVision>, LinkError> {
        self.0.receive(FromVision::decode)
    }

    /// Says it without waiting. A vision process that does not read loses its lease instead.
    pub(super) fn send(&self, what: FromSupervisor) {
        let _ = self.0.send(&what.encode());
    }

    /// What the vision process is given. To be called before anything else is said, and before that
    /// process is started: it waits in the link.
    ///
    /// # Errors
    /// When the system does not take it.
    pub fn hand_over(
        &self,
        handover: &Handover,
        descriptors: &[BorrowedFd<'_>],
    ) -> std::io::Result<()> {
        let bytes = handover.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(std::io::Error::other(
                "the output lines lie on more GPIO chips than can be handed over",
            ));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let parts = [IoSlice::new(&bytes)];
        rustix::net::sendmsg(&self.0.socket, &parts, &mut control, flags)?;
        Ok(())
    }
}

impl AsFd for SupervisorEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// The vision process's end.
#[derive(Debug)]
pub struct VisionEnd(End);

impl VisionEnd {
    /// The link that the supervisor gave this process as its standard input, and what else it gave.
    ///
    /// # Errors
    /// [`LinkError`] when there is no such thing: this process was not started by a supervisor.
    pub fn from_stdin() -> Result<(Self, Handover, Vec<OwnedFd>), LinkError> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        Self::new(socket.map_err(LinkError::System)?)
    }

    /// The link that `socket` is, and what came with it.
    ///
    /// # Errors
    /// As [`VisionEnd::from_stdin`].
    pub fn new(socket: OwnedFd) -> Result<(Self, Handover, Vec<OwnedFd>), LinkError> {
        let mut bytes = [0; Handover::SIZE + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // Sent before this process was started. Fails on anything but a socket.
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = rustix::net::recvmsg(&socket, &mut parts, &mut control, flags);
        let length = received?.bytes;
        let descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let descriptors = descriptors.collect();
        let handover = bytes.get(..length).and_then(Handover::decode);
        let handover = handover.ok_or(LinkError::Foreign)?;
        Ok((Self(End { socket }), handover, descriptors))
    }
}

/// Output lines that are in other hands. What can only stop parts is done here as well, at once and
/// round whoever holds them; setting one is one system call, or two.
pub struct LinkedOutputs {
    end: VisionEnd,
    watch: Watch,
    safe: Box<dyn SafeOutputs>,
    overdue: bool,
    asked_to_end: bool,
    /// Nobody holds the lines any more, and all of them have fallen.
    let_go: bool,
}

impl LinkedOutputs {
    /// `late`: a supervisor that takes longer to answer is late. `safe`: the way round it.
    pub fn new(end: VisionEnd, late: Duration, safe: Box<dyn SafeOutputs>) -> Self {
        Self {
            end,
            watch: Watch::new(late),
            safe,
            overdue: false,
            asked_to_end: false,
            let_go: false,
        }
    }

    fn send(&mut self, what: What) -> Result<(), DeviceError> {
        let now = clock::now();
        let command = FromVision::Command(self.watch.command(what, now));
        let sent = self.end.0.send(&command.encode());
        self.or_let_all_fall(sent)
    }

    /// Where nobody carries out any more what this process says, it lets all lines fall itself.
    fn or_let_all_fall(&mut self, done: Result<(), LinkError>) -> Result<(), DeviceError> {
        let Err(error) = done else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.let_go, true) {
            for line in FALL {
                if let Err(error) = self.safe.fall(line) {
                    log::error!("line {}: {error}", line.name());
                }
            }
        }
        Err(error.into())
    }

    /// Takes what the supervisor has said; how late it was, where it has found that out.
    fn receive(&mut self) -> Result<Option<Duration>, LinkError> {
        let mut was_late = None;
        while let Some(message) = self.end.0.receive(FromSupervisor::decode)? {
            match message {
                FromSupervisor::Answer(answer) => {
                    if self.watch.answer(answer) {
                        was_late = Some(answer.late);
                    }
                }
                FromSupervisor::End => self.asked_to_end = true,
            }
        }
        Ok(was_late)
    }
}

impl Outputs for LinkedOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        self.set_until(output, on, None)
    }

    fn set_until(
        &mut self,
        output: Output,
        on: bool,
        until: Option<Instant>,
    ) -> Result<(), DeviceError> {
        let fallen = if output.is_safe(on) {
            self.safe.fall(output)
        } else {
            Ok(())
        };
        // That nobody holds the lines weighs more than that one of them does not fall.
        self.send(What::Set { output, on, until })?;
        fallen
    }

    fn alive(&mut self) -> Result<(), DeviceError> {
        self.send(What::Alive)
    }

    fn holding(&mut self, now: Instant) -> Result<Holding, DeviceError> {
        let was_late = match self.receive() {
            Ok(was_late) => was_late,
            // It ends in an orderly way, and has gone on to do so.
            Err(LinkError::Gone) if self.asked_to_end => None,
            Err(error) => {
                self.or_let_all_fall(Err(error))?;
                None
            }
        };
        let overdue = self.watch.overdue(now);
        let mut fallen = Ok(());
        if overdue && !self.overdue {
            for output in [Output::Pass, Output::Ready, Output::Reject, Output::Fault] {
                fallen = fallen.and(self.safe.fall(output));
            }
        }
        self.overdue = overdue;
        if self.watch.must_fall_again(now) {
            fallen = fallen.and(self.safe.fall(Output::Pass));
        }
        fallen?;
        Ok(Holding {
            was_late,
            overdue,
            end: self.asked_to_end,
            // One that is overdue stays so for a while, and is not waited for in circles.
            ask_again: self.watch.deadline().max(now.after(NOT_SOONER)),
        })
    }

    fn remember(&mut self, alarm: LatchedAlarm) -> Result<(), DeviceError> {
        let sent = self.end.0.send(&FromVision::Alarm(alarm).encode());
        self.or_let_all_fall(sent)
    }
}

#[cfg(test)]
mod tests;
