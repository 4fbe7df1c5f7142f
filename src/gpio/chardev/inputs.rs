//! Inputs with edges timed by the kernel.

mod requesting;

use super::debouncer::Debouncer;
use super::sequence::Sequence;
use crate::clock;
use crate::gpio::error::{GpioError, errno};
use crate::gpio::spec::LineSpec;
use crate::line::devices::{DeviceError, Edge, Input, Inputs};
use crate::time::{Duration, Instant};
use gpiocdev::Request;
use gpiocdev::line::{EdgeKind, Value};
use requesting::request_all;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Longest debounce time. A longer one would filter parts, not contacts.
pub(crate) const LONGEST_DEBOUNCE: Duration = Duration::from_secs(1);

/// Number of edges that one read takes.
const READ: usize = 16;

/// Size of an edge as the kernel writes it, 64-bit words.
const EDGE_WORDS: usize = 6;

/// Shortest time between two attempts to open inputs that were lost.
const REOPEN: Duration = Duration::from_millis(100);

/// How far a kernel time can be ahead of this program's clock reading.
const CLOCK_SLACK: Duration = Duration::from_millis(1);

/// The resistor inside the chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// As on the board.
    #[default]
    AsIs,
    /// Pull-up to the supply.
    PullUp,
    /// Pull-down to ground.
    PullDown,
    /// No resistor.
    Disabled,
}

/// What filters a bouncing contact, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Debounce {
    /// Nothing: for clean electronic sensors and encoders.
    #[default]
    Off,
    /// The chip, if it can, or the kernel: a level counts after it has lasted that long, so spikes
    /// are filtered as well. **If the chip has no filter, the kernel uses a timer: the edge is
    /// stamped when the timer ends, later than the edge itself by the period rounded up to the
    /// kernel's tick (1 to 10 ms), with that much jitter.** No interface shows which of the two it
    /// is. If the driver refuses, this program filters as in `Program`, and logs a warning.
    Kernel(Duration),
    /// This program: the first edge counts at once with the kernel's exact time, and edges within
    /// the period after it do not count. A single spike counts as a part (and is rejected). It
    /// needs an interrupt for both edges.
    Program(Duration),
}

impl Debounce {
    fn period(self) -> Duration {
        match self {
            Debounce::Off => Duration::ZERO,
            Debounce::Kernel(period) | Debounce::Program(period) => period,
        }
    }
}

/// One input as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputLine {
    /// The meaning of the input.
    pub input: Input,
    /// Its pin.
    pub spec: LineSpec,
    /// Whether the low level means on.
    pub active_low: bool,
    /// The resistor inside the chip.
    pub bias: Bias,
    /// The filter against bouncing.
    pub debounce: Debounce,
    /// Whether off-edges matter too: for the length of a part, or for both channels of a quadrature
    /// encoder. If the driver cannot report them, the input works without them, and the log has a
    /// warning.
    pub off_edges: bool,
}

/// Inputs of the character device, and the edges of all of them that [`Edge::on`] promises: ordered
/// by time for the inputs of one chip, and nearly so for several chips. An off-edge of an input
/// that this program debounces comes when the input is quiet, so later than its time by the period.
///
/// If a chip is lost, [`Inputs::wait`] fails once. Later calls try to open the inputs again by
/// their pins, at most ten times per second.
#[derive(Debug)]
pub struct ChardevInputs {
    lines: Vec<InputLine>,
    /// Empty after a failure.
    chips: Vec<OpenChip>,
    last_try: Instant,
}

/// The GPIO lines of one chip.
#[derive(Debug)]
struct OpenChip {
    chip: String,
    request: Request,
    opened: Instant,
    watched: Vec<Watched>,
    words: [u64; READ * EDGE_WORDS],
    /// The part of `words` that is filled and not yet decoded, 64-bit words.
    next_word: usize,
    end_word: usize,
    /// The next edge to return, and the one that came with it.
    head: Option<Edge>,
    second: Option<Edge>,
}

#[derive(Debug)]
struct Watched {
    input: Input,
    offset: u32,
    sequence: Sequence,
    debouncer: Option<Debouncer>,
    /// Whether the kernel reports both edges.
    both: bool,
    /// Whether off-edges are wanted.
    off_edges: bool,
}

impl ChardevInputs {
    /// Requests `lines`, those of one chip together. Edges count from now on.
    ///
    /// # Errors
    /// [`GpioError`] that names the chip, pin or file and the fix.
    pub fn open(lines: Vec<InputLine>) -> Result<Self, GpioError> {
        let mut inputs = Self {
            lines,
            chips: Vec::new(),
            last_try: Instant(0),
        };
        inputs.reopen()?;
        Ok(inputs)
    }

    /// Releases the GPIO lines and requests them again; edges from before are dropped.
    ///
    /// # Errors
    /// As [`ChardevInputs::open`]; then nothing is open.
    pub fn reopen(&mut self) -> Result<(), GpioError> {
        self.chips.clear();
        self.last_try = clock::now();
        self.chips = request_all(&self.lines)?;
        Ok(())
    }

    /// The level of every input, on or off, for `partgate doctor`.
    ///
    /// # Errors
    /// [`GpioError::Lost`] if a chip is gone.
    pub fn levels(&self) -> Result<Vec<(Input, bool)>, GpioError> {
        let mut levels = Vec::new();
        for chip in &self.chips {
            for line in &chip.watched {
                let value = chip.request.value(line.offset);
                let value = value.map_err(|source| chip.lost(Some(source)))?;
                levels.push((line.input, value == Value::Active));
            }
        }
        Ok(levels)
    }

    /// Opens the inputs after a failure, unless the last attempt was a moment ago.
    fn open_again(&mut self, at_most: Duration) -> Result<(), GpioError> {
        let pause = clock::until(self.last_try.after(REOPEN));
        clock::sleep(pause.min(at_most));
        if pause > at_most {
            return Err(self.away());
        }
        self.reopen()?;
        log::warn!("GPIO inputs are back after a loss; parts in between were not seen");
        Ok(())
    }

    fn away(&self) -> GpioError {
        let list = |text: &dyn Fn(&InputLine) -> String| {
            let texts: Vec<String> = self.lines.iter().map(text).collect();
            texts.join(", ")
        };
        GpioError::Lost {
            chip: list(&|line| line.spec.to_string()),
            used_for: list(&|line| line.input.name().into()),
            source: None,
        }
    }

    fn wait_open(&mut self, deadline: Instant) -> Result<Option<Edge>, GpioError> {
        loop {
            for chip in &mut self.chips {
                chip.fill_head()?;
            }
            // With several chips, the earliest known edge.
            let heads = self.chips.iter_mut().map(|chip| &mut chip.head);
            let earliest = heads
                .filter(|head| head.is_some())
                .min_by_key(|head| head.map_or(Instant::MAX, |edge| edge.at));
            if let Some(edge) = earliest.and_then(Option::take) {
                return Ok(Some(edge));
            }
            let watched = self.chips.iter().flat_map(|chip| &chip.watched);
            let settles = watched.filter_map(Watched::settles_at).min();
            let now = clock::now();
            let until = settles.unwrap_or(deadline).min(deadline);
            if self.read_ready(until.since(now))? {
                continue;
            }
            // Nothing was left to read, so the inputs were as quiet until `now` as they look.
            let mut watched = self.chips.iter_mut().flat_map(|chip| &mut chip.watched);
            if let Some(edge) = watched.find_map(|line| line.settle(now)) {
                return Ok(Some(edge));
            }
            if now >= deadline {
                return Ok(None);
            }
        }
    }

    /// Waits until a chip has edges and reads them; false if none came within `at_most`.
    fn read_ready(&mut self, at_most: Duration) -> Result<bool, GpioError> {
        let mut fds: heapless::Vec<PollFd<'_>, { Input::ALL.len() }> = self
            .chips
            .iter()
            .map(|chip| PollFd::new(&chip.request, PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&clock::timespec(at_most))) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            // A signal; the caller checks its deadline.
            Err(Errno::INTR) => return Ok(true),
            Err(e) => return Err(GpioError::Wait(e.into())),
        }
        let ready: heapless::Vec<PollFlags, { Input::ALL.len() }> =
            fds.iter().map(PollFd::revents).collect();
        drop(fds);
        for (chip, ready) in self.chips.iter_mut().zip(ready) {
            if ready.contains(PollFlags::IN) {
                chip.read()?;
            } else if !ready.is_empty() {
                return Err(chip.lost(None));
            }
        }
        Ok(true)
    }
}

impl Inputs for ChardevInputs {
    fn wait(&mut self, at_most: Duration) -> Result<Option<Edge>, DeviceError> {
        let deadline = clock::now().after(at_most);
        if self.chips.is_empty() && !self.lines.is_empty() {
            self.open_again(at_most)?;
        }
        match self.wait_open(deadline) {
            Ok(edge) => Ok(edge),
            Err(error) => {
                self.chips.clear();
                self.last_try = clock::now();
                Err(error.into())
            }
        }
    }

    fn level(&mut self, input: Input) -> Result<Option<bool>, DeviceError> {
        if self.chips.is_empty() && !self.lines.is_empty() {
            return Err(self.away().into());
        }
        let mut lines = self.chips.iter().flat_map(|chip| {
            let watched = chip.watched.iter();
            watched.map(move |line| (chip, line))
        });
        let Some((chip, line)) = lines.find(|(_, line)| line.input == input) else {
            return Ok(None);
        };
        match chip.request.value(line.offset) {
            Ok(value) => Ok(Some(value == Value::Active)),
            Err(source) => {
                let error = chip.lost(Some(source));
                self.chips.clear();
                self.last_try = clock::now();
                Err(error.into())
            }
        }
    }
}

impl OpenChip {
    /// Reads the waiting edges into an empty buffer. The library's call for a single edge does not
    /// work here: it asks the kernel for eight, returns one and drops the rest.
    fn read(&mut self) -> Result<(), GpioError> {
        if self.next_word < self.end_word {
            return Ok(());
        }
        (self.next_word, self.end_word) = (0, 0);
        match self.request.read_edge_events_into_slice(&mut self.words) {
            Ok(words) => self.end_word = words.min(self.words.len()),
            Err(e) if matches!(errno(&e), Some(Errno::INTR | Errno::AGAIN)) => {}
            Err(source) => return Err(self.lost(Some(source))),
        }
        Ok(())
    }

    /// Decodes until the next edge that counts.
    fn fill_head(&mut self) -> Result<(), GpioError> {
        if self.head.is_none() {
            self.head = self.second.take();
        }
        while self.head.is_none() && self.next_word < self.end_word {
            let words = &self.words[self.next_word..self.end_word];
            let event = self.request.edge_event_from_slice(words);
            let event = match event {
                Ok(event) => event,
                Err(source) => return Err(self.lost(Some(source))),
            };
            self.next_word += EDGE_WORDS;
            let at = Instant(event.timestamp_ns);
            self.check_clock(event.offset, at)?;
            let Some(line) = self.watched.iter_mut().find(|w| w.offset == event.offset) else {
                continue;
            };
            let lost = line.sequence.lost_before(event.line_seqno);
            let [first, second] = line.edge(event.kind == EdgeKind::Rising, at, lost);
            (self.head, self.second) = match first {
                Some(_) => (first, second),
                None => (second, None),
            };
        }
        Ok(())
    }

    fn check_clock(&self, offset: u32, at: Instant) -> Result<(), GpioError> {
        let now = clock::now();
        if at.after(CLOCK_SLACK) >= self.opened && at <= now.after(CLOCK_SLACK) {
            return Ok(());
        }
        Err(GpioError::Clock {
            chip: self.chip.clone(),
            offset,
            at_ns: at.0,
            from_ns: self.opened.0,
            to_ns: now.0,
        })
    }

    fn lost(&self, source: Option<gpiocdev::Error>) -> GpioError {
        let names: Vec<&str> = self.watched.iter().map(|w| w.input.name()).collect();
        GpioError::Lost {
            chip: self.chip.clone(),
            used_for: names.join(", "),
            source,
        }
    }
}

impl Watched {
    /// The edges that count, in this order: one that was held back, and this one.
    fn edge(&mut self, rising: bool, at: Instant, lost: u32) -> [Option<Edge>; 2] {
        let input = self.input;
        let edge = |on, at, lost| Edge {
            input,
            on,
            at,
            lost,
        };
        // Of lost edges of both directions, at least every second one was an off-edge.
        let lost_on = if self.both {
            Debouncer::lost_on_edges(lost)
        } else {
            lost
        };
        let edges = match &mut self.debouncer {
            None => [Some(edge(rising, at, lost_on)), None],
            Some(debouncer) => {
                let [held, counts] = debouncer.edge(rising, at, lost > 0);
                [
                    held.map(|held| edge(held.on, held.at, 0)),
                    counts.map(|counts| edge(counts.on, counts.at, lost_on)),
                ]
            }
        };
        edges.map(|edge| edge.and_then(|edge| self.wanted(edge)))
    }

    /// An input that has both edges only for debouncing passes on-edges, and all losses.
    fn wanted(&self, edge: Edge) -> Option<Edge> {
        if self.off_edges || edge.on {
            return Some(edge);
        }
        (edge.lost > 0).then_some(Edge { on: true, ..edge })
    }

    fn settles_at(&self) -> Option<Instant> {
        self.debouncer.as_ref().and_then(Debouncer::settles_at)
    }

    /// An edge that was held back, if it counts after all.
    fn settle(&mut self, now: Instant) -> Option<Edge> {
        let settled = self.debouncer.as_mut()?.settle(now)?;
        self.wanted(Edge {
            input: self.input,
            on: settled.on,
            at: settled.at,
            lost: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(spec: &str) -> InputLine {
        InputLine {
            input: Input::Trigger,
            spec: spec.parse().unwrap(),
            active_low: false,
            bias: Bias::AsIs,
            debounce: Debounce::Off,
            off_edges: true,
        }
    }

    #[test]
    fn a_chip_that_is_not_there_is_an_error_that_names_it() {
        let error = ChardevInputs::open(vec![line("gpiochip4711:17")]).unwrap_err();
        assert!(error.to_string().contains("gpiochip4711"), "{error}");
    }

    #[test]
    fn an_hour_of_debouncing_is_refused_before_anything_is_opened() {
        let mut long = line("gpiochip4711:17");
        long.debounce = Debounce::Kernel(Duration::from_secs(3600));
        let error = ChardevInputs::open(vec![long]).unwrap_err();
        assert!(
            matches!(error, GpioError::DebounceTooLong { .. }),
            "{error}"
        );
    }

    #[test]
    fn without_inputs_waiting_only_takes_time() {
        let mut inputs = ChardevInputs::open(Vec::new()).unwrap();
        let started = clock::now();
        assert_eq!(inputs.wait(Duration::from_millis(20)).unwrap(), None);
        assert!(clock::now().since(started).0 >= 20_000_000);
        assert_eq!(inputs.levels().unwrap(), []);
    }

    #[test]
    fn lost_inputs_are_requested_again_and_again_but_not_busily() {
        let mut inputs = ChardevInputs {
            lines: vec![line("gpiochip4711:17")],
            chips: Vec::new(),
            last_try: Instant(0),
        };
        let started = clock::now();
        for _ in 0..4 {
            let error = inputs.wait(Duration::from_secs(5)).unwrap_err();
            assert!(error.to_string().contains("gpiochip4711"), "{error}");
        }
        let took = clock::now().since(started);
        assert!(took.0 >= 3 * 100_000_000, "{took:?}");
        assert!(took.0 < 3_000_000_000, "{took:?}");
        // A call with no time to wait fails at once.
        let error = inputs.wait(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(
            error,
            "gpiochip4711:17 (trigger): lost; was it unplugged, or its driver unloaded?"
        );
    }

    #[test]
    fn the_kernels_edge_is_as_long_as_is_assumed() {
        assert_eq!(
            size_of::<gpiocdev_uapi::v2::LineEdgeEvent>(),
            EDGE_WORDS * 8
        );
    }

    #[test]
    fn lost_edges_are_reported_with_the_next_edge_on_or_off() {
        let mut rising = Watched {
            input: Input::Encoder,
            offset: 0,
            sequence: Sequence::default(),
            debouncer: None,
            both: false,
            off_edges: false,
        };
        let after_quiet = |[held, edge]: [Option<Edge>; 2]| {
            assert_eq!(held, None);
            edge.map(|edge| (edge.on, edge.at.0, edge.lost))
        };
        let first = |[edge, none]: [Option<Edge>; 2]| {
            assert_eq!(none, None);
            edge.map(|edge| (edge.on, edge.at.0, edge.lost))
        };
        assert_eq!(first(rising.edge(true, Instant(5), 3)), Some((true, 5, 3)));
        let mut both = Watched {
            input: Input::Trigger,
            both: true,
            off_edges: true,
            ..rising
        };
        assert_eq!(first(both.edge(true, Instant(5), 3)), Some((true, 5, 2)));
        assert_eq!(first(both.edge(false, Instant(9), 1)), Some((false, 9, 1)));
        let mut filtered = Watched {
            debouncer: Some(Debouncer::new(Duration(100), true)),
            ..both
        };
        let release = filtered.edge(false, Instant(500), 1);
        assert_eq!(after_quiet(release), Some((false, 500, 1)));
        let within = filtered.edge(true, Instant(550), 4);
        assert_eq!(after_quiet(within), Some((true, 550, 2)));
        assert_eq!(after_quiet(filtered.edge(true, Instant(560), 0)), None);
        // A button that has both edges only for debouncing.
        let button = || Watched {
            input: Input::Acknowledge,
            offset: 0,
            sequence: Sequence::default(),
            debouncer: Some(Debouncer::new(Duration(100), true)),
            both: true,
            off_edges: false,
        };
        let mut released = button();
        assert_eq!(released.edge(false, Instant(500), 0), [None, None]);
        assert_eq!(released.settle(Instant(5_000)), None);
        let lost = button().edge(false, Instant(500), 1);
        assert_eq!(after_quiet(lost), Some((true, 500, 1)));
    }
}
