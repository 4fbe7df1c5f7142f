//! The link between the vision process and the supervisor, which holds the outputs: messages of
//! fixed size over a socket pair.
//!
//! The first message comes from the supervisor: the [`Handover`] for the new vision process, with
//! the descriptors that belong to it. Then the vision process sends the levels of the outputs, and
//! the supervisor acknowledges them. Each process notices the silence of the other
//! ([`lease`](crate::line::lease)).

use crate::clock;
use crate::line::devices::{DeviceError, Holding, LatchedAlarm, Outputs, SafeOutputs};
use crate::line::gate::Output;
use crate::line::lease::{Answer, Command, SAFE_ORDER, Watch, What};
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

/// Send buffer of the link in bytes: about eighty messages, with the kernel's overhead for each.
/// At twenty-four messages per second or more, a supervisor that hangs is noticed in about three
/// seconds. The default buffer holds only twelve messages.
const SEND_BUFFER: usize = 32 << 10;

/// Most descriptors that go with a [`Handover`].
const DESCRIPTORS: usize = 16;

/// Messages of the vision process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromVision {
    /// A level of an output, or a sign that the process works.
    Command(Command),
    /// An alarm for the supervisor to remember.
    Alarm(LatchedAlarm),
}

/// Messages of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromSupervisor {
    /// Acknowledgement of commands.
    Answer(Answer),
    /// A request for an orderly end.
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

/// A message of this version of the program, and its kind.
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

    /// None for a message that no vision process of this version sends.
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

    /// None for a message that no supervisor of this version sends.
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

/// Why the link cannot be used any more.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The other process has ended.
    #[error("the other process has ended")]
    Gone,
    /// The other process does not read its messages.
    #[error("the supervisor does not take what it is told")]
    Full,
    /// A message of an unknown form: perhaps another version of the program.
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

    /// None if there is no message now.
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

/// Makes both ends. The second one becomes the vision process's standard input.
///
/// # Errors
/// If the system gives no sockets.
pub fn pair() -> std::io::Result<(SupervisorEnd, OwnedFd)> {
    // Messages with boundaries. The end of the peer is reported at once.
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

/// The supervisor's end of the link.
#[derive(Debug)]
pub struct SupervisorEnd(End);

impl SupervisorEnd {
    /// The next message; None if there is none now.
    pub(super) fn receive(&self) -> Result<Option<FromVision>, LinkError> {
        self.0.receive(FromVision::decode)
    }

    /// Sends without waiting. A vision process that does not read loses its lease.
    pub(super) fn send(&self, what: FromSupervisor) {
        let _ = self.0.send(&what.encode());
    }

    /// Sends what the vision process gets. To be called before any other message, and before that
    /// process is started: the message waits in the link.
    ///
    /// # Errors
    /// If the system does not accept it.
    pub fn hand_over(
        &self,
        handover: &Handover,
        descriptors: &[BorrowedFd<'_>],
    ) -> std::io::Result<()> {
        let bytes = handover.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = descriptors.len() <= DESCRIPTORS;
        let message = SendAncillaryMessage::ScmRights(descriptors);
        let handed = descriptors.is_empty() || (fits && control.push(message));
        if !handed {
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

/// The vision process's end of the link.
#[derive(Debug)]
pub struct VisionEnd(End);

impl VisionEnd {
    /// The link that the supervisor gave this process as standard input, with the handover and the
    /// descriptors.
    ///
    /// # Errors
    /// [`LinkError`] if standard input is not a link: a supervisor did not start this process.
    pub fn from_stdin() -> Result<(Self, Handover, Vec<OwnedFd>), LinkError> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        Self::new(socket.map_err(LinkError::System)?)
    }

    /// The link on `socket`, with the handover and the descriptors.
    ///
    /// # Errors
    /// As [`VisionEnd::from_stdin`].
    pub fn new(socket: OwnedFd) -> Result<(Self, Handover, Vec<OwnedFd>), LinkError> {
        let mut bytes = [0; Handover::SIZE + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // The message was sent before this process was started. This fails if standard input is
        // not a socket.
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

/// Outputs that the supervisor holds. What can only stop parts is also done here, at once and
/// without the supervisor. Setting an output costs one or two system calls.
pub struct LinkedOutputs {
    end: VisionEnd,
    watch: Watch,
    safe: Box<dyn SafeOutputs>,
    asked_to_end: bool,
    /// No supervisor holds the outputs any more, and all of them are switched off.
    let_go: bool,
}

impl LinkedOutputs {
    /// `late`: a supervisor that takes longer to answer is late. `safe`: switches outputs off
    /// without it.
    pub fn new(end: VisionEnd, late: Duration, safe: Box<dyn SafeOutputs>) -> Self {
        Self {
            end,
            watch: Watch::new(late),
            safe,
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

    /// If nobody executes this process's commands any more, it switches off all outputs itself.
    fn or_let_all_fall(&mut self, done: Result<(), LinkError>) -> Result<(), DeviceError> {
        let Err(error) = done else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.let_go, true) {
            for line in SAFE_ORDER {
                if let Err(error) = self.safe.set_safe(line) {
                    log::error!("line {}: {error}", line.name());
                }
            }
        }
        Err(error.into())
    }

    /// Reads the supervisor's messages. Returns how late the supervisor was, if it reports that.
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
            self.safe.set_safe(output)
        } else {
            Ok(())
        };
        // A lost supervisor is the more important error than one output that cannot be switched
        // off.
        self.send(What::Set { output, on, until })?;
        fallen
    }

    fn alive(&mut self) -> Result<(), DeviceError> {
        self.send(What::Alive)
    }

    fn holding(&mut self, now: Instant) -> Result<Holding, DeviceError> {
        let was_late = match self.receive() {
            Ok(was_late) => was_late,
            // The supervisor ended in an orderly way after its request.
            Err(LinkError::Gone) if self.asked_to_end => None,
            Err(error) => {
                self.or_let_all_fall(Err(error))?;
                None
            }
        };
        let overdue = self.watch.overdue(now);
        let mut fallen = Ok(());
        for output in self.watch.switched_off(now) {
            fallen = fallen.and(self.safe.set_safe(*output));
        }
        fallen?;
        Ok(Holding {
            was_late,
            overdue,
            end: self.asked_to_end,
            ask_again: self.watch.deadline(),
        })
    }

    fn remember(&mut self, alarm: LatchedAlarm) -> Result<(), DeviceError> {
        let sent = self.end.0.send(&FromVision::Alarm(alarm).encode());
        self.or_let_all_fall(sent)
    }
}

#[cfg(test)]
mod tests;
