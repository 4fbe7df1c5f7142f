//! Between the vision process and the supervisor that holds the output lines: messages of fixed
//! size over a socket pair, one way.
//!
//! The vision process says what the lines are to be; its silence says that they must fall.

use crate::line::devices::{DeviceError, Outputs};
use crate::line::gate::{Line, Nanos};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use thiserror::Error;

const SIZE: usize = 16;
const ALIVE: u8 = 1;
const SET: u8 = 2;

/// What the kernel may hold of what the supervisor has not taken, bytes asked for: some forty messages,
/// with what it counts beside each. A supervisor that hangs is then noticed in about two seconds, at
/// twenty-four messages a second and more; by default there is room for twelve.
const SEND_BUFFER: usize = 16 << 10;

/// What the vision process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It lives.
    Alive,
    /// A line takes a level; it falls by itself at `until`.
    Set {
        line: Line,
        on: bool,
        until: Option<Nanos>,
    },
}

impl Message {
    fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        match self {
            Message::Alive => bytes[0] = ALIVE,
            Message::Set { line, on, until } => {
                bytes[0] = SET;
                bytes[1] = line as u8;
                bytes[2] = u8::from(on);
                bytes[8..].copy_from_slice(&until.map_or(0, |t| t.0).to_le_bytes());
            }
        }
        bytes
    }

    /// None for what no vision process of this version says.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        match bytes[0] {
            ALIVE => Some(Message::Alive),
            SET => {
                let line = *Line::ALL.get(usize::from(bytes[1]))?;
                let mut until = [0; 8];
                until.copy_from_slice(&bytes[8..]);
                let until = u64::from_le_bytes(until);
                Some(Message::Set {
                    line,
                    on: bytes[2] == 1,
                    until: (until != 0).then_some(Nanos(until)),
                })
            }
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
    #[error("the vision process sent what this version does not know")]
    Foreign,
    /// The system failed.
    #[error("the link between the processes failed")]
    System(#[source] std::io::Error),
}

/// Both ends.
///
/// # Errors
/// When the system gives no sockets.
pub(super) fn pair() -> std::io::Result<(SupervisorEnd, OwnedFd)> {
    // Records with an end, so that a dead peer is told at once.
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((SupervisorEnd { socket: ours }, theirs))
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct SupervisorEnd {
    socket: OwnedFd,
}

impl SupervisorEnd {
    /// The next message; None when there is none now.
    pub(super) fn receive(&self) -> Result<Option<Message>, LinkError> {
        let mut bytes = [0; SIZE + 1];
        match rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(LinkError::Gone),
            Ok((length, _)) => match bytes.get(..length).and_then(Message::decode) {
                Some(message) => Ok(Some(message)),
                None => Err(LinkError::Foreign),
            },
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(Errno::CONNRESET | Errno::PIPE) => Err(LinkError::Gone),
            Err(errno) => Err(LinkError::System(errno.into())),
        }
    }
}

impl AsFd for SupervisorEnd {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The vision process's end: output lines that are in other hands. Setting one is one system call.
#[derive(Debug)]
pub struct LinkedOutputs {
    socket: OwnedFd,
}

impl LinkedOutputs {
    /// The link that the supervisor gave this process as its standard input.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_stdin() -> std::io::Result<Self> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        // Fails on anything but a socket: this process was not started by a supervisor.
        rustix::net::sockopt::socket_type(&socket)?;
        rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
        Ok(Self { socket })
    }

    fn send(&self, message: Message) -> Result<(), LinkError> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.socket, &message.encode(), flags) {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN) => Err(LinkError::Full),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(LinkError::Gone),
            Err(errno) => Err(LinkError::System(errno.into())),
        }
    }
}

impl Outputs for LinkedOutputs {
    fn set(&mut self, line: Line, on: bool) -> Result<(), DeviceError> {
        self.set_until(line, on, None)
    }

    fn set_until(&mut self, line: Line, on: bool, until: Option<Nanos>) -> Result<(), DeviceError> {
        Ok(self.send(Message::Set { line, on, until })?)
    }

    fn alive(&mut self) -> Result<(), DeviceError> {
        Ok(self.send(Message::Alive)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_arrive_as_they_were_sent_and_an_end_is_told() {
        let (ours, theirs) = pair().expect("sockets");
        let mut outputs = LinkedOutputs { socket: theirs };
        assert!(ours.receive().expect("open").is_none());
        outputs.alive().expect("sent");
        for line in Line::ALL {
            outputs
                .set_until(line, true, Some(Nanos(77)))
                .expect("sent");
        }
        outputs.set(Line::Pass, false).expect("sent");
        assert_eq!(ours.receive().expect("open"), Some(Message::Alive));
        for line in Line::ALL {
            let until = Some(Nanos(77));
            let expected = Message::Set {
                line,
                on: true,
                until,
            };
            assert_eq!(ours.receive().expect("open"), Some(expected));
        }
        drop(outputs);
        assert!(ours.receive().expect("the last one").is_some());
        assert!(matches!(ours.receive(), Err(LinkError::Gone)));
    }

    #[test]
    fn a_supervisor_that_is_gone_or_deaf_is_an_error_not_a_wait() {
        let (ours, theirs) = pair().expect("sockets");
        let mut outputs = LinkedOutputs { socket: theirs };
        let full = (0..1_000_000).find_map(|_| outputs.alive().err());
        assert!(full.is_some_and(|e| e.to_string().contains("does not take")));
        drop(ours);
        assert!(outputs.alive().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_supervisor_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(message) = Message::decode(&bytes) {
                prop_assert_eq!(Message::decode(&message.encode()), Some(message));
            }
        }
    }
}
