//! Inputs and outputs between processes: one text entry per change.
//!
//! A test that starts a real `partgate run` acts as the plant through these. Outputs arrive as
//! `<monotonic_ns> <output> <0|1>`. Inputs are sent as `<monotonic_ns> <input> [off] [<lost>]`: an
//! on-edge or an off-edge. After its first off-edge the level of an input can be read.
//! `<monotonic_ns> <input> level <0|1>` changes it without an edge, as when the kernel loses one.

use super::SimulatedError;
use crate::clock;
use crate::line::devices::{DeviceError, Edge, Input, Inputs, Outputs, SafeOutputs};
use crate::line::gate::Output;
use crate::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Longest text of one change or edge, bytes: 20 digits, the longest name, a word, 10 digits, and
/// the separators.
const LONGEST: usize = 64;

/// Where changes go.
#[derive(Debug)]
enum Sink {
    Stream(File),
    Datagrams(UnixDatagram),
}

/// The plant's end of the outputs, and its path.
#[derive(Debug)]
struct Plant {
    path: PathBuf,
    sink: Sink,
}

impl Plant {
    /// Opens `path`. If nothing is there, it becomes a plain file.
    fn open(path: &Path) -> Result<Self, SimulatedError> {
        let fail = |problem| {
            move |source| SimulatedError::Text {
                path: path.into(),
                problem,
                source,
            }
        };
        let kind = std::fs::metadata(path).map(|m| m.file_type());
        let sink = if kind.as_ref().is_ok_and(FileTypeExt::is_socket) {
            let socket = UnixDatagram::unbound().map_err(fail("no socket can be made"))?;
            socket
                .set_nonblocking(true)
                .map_err(fail("cannot be made to not wait"))?;
            socket
                .connect(path)
                .map_err(fail("cannot be reached; does the plant listen?"))?;
            Sink::Datagrams(socket)
        } else {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                // A FIFO without a reader gives an error at once, and a full FIFO gives one when it
                // is written.
                .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
                .open(path)
                .map_err(fail(
                    "cannot be opened for writing; does the plant read it?",
                ))?;
            Sink::Stream(file)
        };
        Ok(Self {
            path: path.into(),
            sink,
        })
    }

    fn send(&mut self, output: Output, on: bool) -> Result<(), SimulatedError> {
        let mut buffer = [0u8; LONGEST];
        let mut rest = &mut buffer[..];
        let (now, level) = (clock::now().0, u8::from(on));
        let mut written = writeln!(rest, "{now} {} {level}", output.name());
        let left = rest.len();
        let text = &buffer[..LONGEST - left];
        if written.is_ok() {
            written = match &mut self.sink {
                // Shorter than PIPE_BUF, so it is written whole or not at all.
                Sink::Stream(file) => file.write_all(text),
                Sink::Datagrams(socket) => socket.send(text).map(|_| ()),
            };
        }
        written.map_err(|source| SimulatedError::Text {
            path: self.path.clone(),
            problem: match source.kind() {
                ErrorKind::WouldBlock => "the plant does not keep up",
                ErrorKind::BrokenPipe | ErrorKind::ConnectionRefused => "the plant is gone",
                _ => "cannot be written",
            },
            source,
        })
    }
}

/// Outputs that send every level that is set to a FIFO, a unix datagram socket or a plain file. A
/// level that an output has already is sent too, because [`TextSafeOutputs`] may have changed it.
///
/// At the start every output sends its unattended level once. When this is dropped, the outputs
/// return to those levels; when the process is killed, the reader of a FIFO gets end of file.
/// Nothing waits: if a reader does not keep up, setting fails.
#[derive(Debug)]
pub struct TextOutputs {
    plant: Plant,
    wired: [bool; Output::ALL.len()],
}

impl TextOutputs {
    /// Opens `path` for the given outputs. If nothing is there, it becomes a plain file.
    ///
    /// # Errors
    /// [`SimulatedError::Text`], for example if nobody reads the FIFO or socket.
    pub fn open(path: &Path, outputs: &[Output]) -> Result<Self, SimulatedError> {
        let mut opened = Self {
            plant: Plant::open(path)?,
            wired: wired(outputs),
        };
        for output in outputs {
            opened.plant.send(*output, output.when_unattended())?;
        }
        Ok(opened)
    }
}

fn wired(outputs: &[Output]) -> [bool; Output::ALL.len()] {
    Output::ALL.map(|output| outputs.contains(&output))
}

impl Outputs for TextOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        if self.wired[output as usize] {
            self.plant.send(output, on)?;
        }
        Ok(())
    }
}

impl Drop for TextOutputs {
    fn drop(&mut self) {
        for output in Output::ALL {
            // If the plant is gone, nobody can receive this.
            let _ = self.set(output, output.when_unattended());
        }
    }
}

/// Switches off the outputs of [`TextOutputs`] from another process.
#[derive(Debug)]
pub struct TextSafeOutputs {
    plant: Plant,
    wired: [bool; Output::ALL.len()],
}

impl TextSafeOutputs {
    /// Opens `path`, which another process has opened for `outputs`. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`TextOutputs::open`].
    pub fn open(path: &Path, outputs: &[Output]) -> Result<Self, SimulatedError> {
        Ok(Self {
            plant: Plant::open(path)?,
            wired: wired(outputs),
        })
    }
}

impl SafeOutputs for TextSafeOutputs {
    fn set_safe(&mut self, output: Output) -> Result<(), DeviceError> {
        if self.wired[output as usize] {
            self.plant.send(output, output.when_unattended())?;
        }
        Ok(())
    }
}

/// Inputs whose edges arrive as datagrams.
#[derive(Debug)]
pub struct TextInputs {
    path: PathBuf,
    socket: UnixDatagram,
    /// None until the plant sends them.
    levels: [Option<bool>; Input::ALL.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Edge(Edge),
    Level(Input, bool),
}

impl TextInputs {
    /// Makes the socket `path` and listens. A socket that an earlier process left there is
    /// replaced.
    ///
    /// # Errors
    /// [`SimulatedError::Text`].
    pub fn listen(path: &Path) -> Result<Self, SimulatedError> {
        let fail = |problem| {
            move |source| SimulatedError::Text {
                path: path.into(),
                problem,
                source,
            }
        };
        if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
            std::fs::remove_file(path).map_err(fail("the old socket cannot be removed"))?;
        }
        let socket = UnixDatagram::bind(path).map_err(fail("no socket can be made there"))?;
        socket
            .set_nonblocking(true)
            .map_err(fail("cannot be made to not wait"))?;
        Ok(Self {
            path: path.into(),
            socket,
            levels: [None; Input::ALL.len()],
        })
    }

    fn receive(&self) -> Result<Option<Message>, SimulatedError> {
        let mut buffer = [0u8; LONGEST];
        let length = match self.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(source) => {
                return Err(SimulatedError::Text {
                    path: self.path.clone(),
                    problem: "cannot be read",
                    source,
                });
            }
        };
        match parse(&buffer[..length]) {
            Some(message) => Ok(Some(message)),
            None => Err(SimulatedError::NoEdge {
                path: self.path.clone(),
                text: String::from_utf8_lossy(&buffer[..length]).into_owned(),
            }),
        }
    }
}

fn parse(text: &[u8]) -> Option<Message> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace().peekable();
    let at = Instant(words.next()?.parse().ok()?);
    let name = words.next()?;
    let input = Input::ALL.into_iter().find(|input| input.name() == name)?;
    let message = if words.next_if_eq(&"level").is_some() {
        let on = match words.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Message::Level(input, on)
    } else {
        let on = words.next_if_eq(&"off").is_none();
        let lost = match words.next() {
            Some(word) => word.parse().ok()?,
            None => 0,
        };
        Message::Edge(Edge {
            input,
            on,
            at,
            lost,
        })
    };
    words.next().is_none().then_some(message)
}

impl Inputs for TextInputs {
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError> {
        let deadline = clock::now().after(at_most);
        loop {
            match self.receive()? {
                Some(Message::Edge(edge)) => {
                    let level = &mut self.levels[edge.input as usize];
                    // A plant that never sends off-edges has no levels.
                    if level.is_some() || !edge.on {
                        *level = Some(edge.on);
                    }
                    return Ok(Some(edge));
                }
                Some(Message::Level(input, on)) => {
                    self.levels[input as usize] = Some(on);
                    continue;
                }
                None => {}
            }
            let timeout = clock::timespec(clock::until(deadline));
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Box::new(std::io::Error::from(e))),
            }
        }
    }

    fn level(&mut self, input: Input) -> Result<Option<bool>, DeviceError> {
        Ok(self.levels[input as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::io::{BufRead, BufReader, Read};

    /// (output, level) of every change in `text`. The times must not go back.
    fn changes(text: &str) -> Vec<(String, String)> {
        let mut last = 0;
        text.lines()
            .map(|entry| {
                let words: Vec<&str> = entry.split(' ').collect();
                assert_eq!(words.len(), 3, "{entry:?}");
                let at: u64 = words[0].parse().unwrap();
                assert!(at >= last);
                last = at;
                (words[1].to_owned(), words[2].to_owned())
            })
            .collect()
    }

    fn pair(output: &str, level: &str) -> (String, String) {
        (output.to_owned(), level.to_owned())
    }

    fn fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn a_plain_file_holds_the_start_every_level_of_both_processes_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant");
        let mut outputs =
            TextOutputs::open(&path, &[Output::Ready, Output::Fault, Output::Heartbeat]).unwrap();
        outputs.set(Output::Ready, true).unwrap();
        let mut other = TextSafeOutputs::open(&path, &[Output::Ready]).unwrap();
        other.set_safe(Output::Ready).unwrap();
        other.set_safe(Output::Pass).unwrap();
        // Sent again, although this process set it before: the other process may have changed it.
        outputs.set(Output::Ready, true).unwrap();
        outputs.set(Output::Pass, true).unwrap();
        drop(outputs);
        assert_eq!(
            changes(&std::fs::read_to_string(&path).unwrap()),
            [
                pair("ready", "0"),
                pair("fault", "1"),
                pair("heartbeat", "0"),
                pair("ready", "1"),
                pair("ready", "0"),
                pair("ready", "1"),
                pair("ready", "0"),
                pair("fault", "1"),
                pair("heartbeat", "0"),
            ]
        );
    }

    #[test]
    fn a_fifo_needs_a_reader_and_shows_it_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant");
        fifo(&path);
        let error = TextOutputs::open(&path, &[Output::Ready]).unwrap_err();
        assert!(
            error.to_string().contains("does the plant read it"),
            "{error}"
        );
        let plant = path.clone();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            File::open(plant)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        });
        let mut outputs = loop {
            match TextOutputs::open(&path, &[Output::Ready]) {
                Ok(outputs) => break outputs,
                Err(_) => clock::sleep(Duration::from_millis(1)),
            }
        };
        outputs.set(Output::Ready, true).unwrap();
        drop(outputs);
        assert_eq!(
            changes(&reader.join().unwrap()),
            [pair("ready", "0"), pair("ready", "1"), pair("ready", "0")]
        );
    }

    #[test]
    fn a_plant_that_does_not_read_makes_setting_fail_instead_of_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant");
        fifo(&path);
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(&path)
            .unwrap();
        let mut outputs = TextOutputs::open(&path, &[Output::Busy]).unwrap();
        let failed = (0..100_000).find_map(|n| outputs.set(Output::Busy, n % 2 == 0).err());
        let error = failed.expect("a pipe is finite").to_string();
        assert!(error.contains("does not keep up"), "{error}");
        // What was written arrived whole.
        let mut entries = BufReader::new(reader);
        let mut entry = String::new();
        while entries.read_line(&mut entry).is_ok_and(|n| n > 0) {
            assert_eq!(changes(&entry).len(), 1);
            entry.clear();
        }
    }

    #[test]
    fn datagrams_carry_one_change_each_and_a_plant_that_left_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant");
        let plant = UnixDatagram::bind(&path).unwrap();
        let mut outputs = TextOutputs::open(&path, &[Output::Pass]).unwrap();
        outputs.set(Output::Pass, true).unwrap();
        let mut buffer = [0; 100];
        for level in ["0", "1"] {
            let length = plant.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert_eq!(changes(text), [pair("pass", level)]);
        }
        drop(plant);
        let error = outputs.set(Output::Pass, false).unwrap_err().to_string();
        assert!(error.contains("the plant is gone"), "{error}");
    }

    #[test]
    fn edges_arrive_and_nonsense_is_an_error_that_repeats_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edges");
        // As a process that was killed leaves it.
        drop(UnixDatagram::bind(&path).unwrap());
        let mut inputs = TextInputs::listen(&path).unwrap();
        assert_eq!(inputs.wait(Duration::from_millis(5)).unwrap(), None);
        let plant = UnixDatagram::unbound().unwrap();
        plant.connect(&path).unwrap();
        plant.send(b"17 trigger\n").unwrap();
        plant.send(b"18 encoder 3").unwrap();
        plant.send(b"19 lever").unwrap();
        let trigger = Edge {
            input: Input::Trigger,
            on: true,
            at: Instant(17),
            lost: 0,
        };
        let encoder = Edge {
            input: Input::Encoder,
            on: true,
            at: Instant(18),
            lost: 3,
        };
        let long = Duration::from_secs(20);
        assert_eq!(inputs.wait(long).unwrap(), Some(trigger));
        assert_eq!(inputs.wait(long).unwrap(), Some(encoder));
        let error = inputs.wait(long).unwrap_err().to_string();
        assert!(error.contains("19 lever"), "{error}");
        assert_eq!(inputs.level(Input::Trigger).unwrap(), None);
        plant.send(b"20 trigger off").unwrap();
        plant.send(b"21 trigger off 2").unwrap();
        plant.send(b"22 trigger level 1").unwrap();
        plant.send(b"23 trigger level 2").unwrap();
        for (at, lost) in [(20, 0), (21, 2)] {
            let off = Edge {
                on: false,
                at: Instant(at),
                lost,
                ..trigger
            };
            assert_eq!(inputs.wait(long).unwrap(), Some(off));
            assert_eq!(inputs.level(Input::Trigger).unwrap(), Some(false));
        }
        assert!(inputs.wait(long).is_err(), "no level");
        assert_eq!(inputs.level(Input::Trigger).unwrap(), Some(true));
        assert_eq!(inputs.wait(Duration::ZERO).unwrap(), None);
        // A file that is not a socket stays.
        let file = folder.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        assert!(TextInputs::listen(&file).is_err());
        assert!(file.exists());
    }

    proptest! {
        #[test]
        fn no_datagram_panics(text in proptest::collection::vec(any::<u8>(), 0..LONGEST)) {
            let _ = parse(&text);
        }

        #[test]
        fn written_edges_are_read_back(at: u64, lost: u32, on: bool, which in 0usize..Input::ALL.len()) {
            let input = Input::ALL[which];
            let off = if on { "" } else { "off " };
            let text = format!("{at} {} {off}{lost}", input.name());
            prop_assert!(text.len() <= LONGEST);
            let edge = Edge { input, on, at: Instant(at), lost };
            prop_assert_eq!(parse(text.as_bytes()), Some(Message::Edge(edge)));
        }
    }
}
