//! What the gate hands to the recorder: values of fixed size, copied, without heap.

use crate::line::gate::{PartId, PartVerdict, Reason};
use crate::time::{Duration, Instant};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::{self, Write};
use std::time::SystemTime;

/// A text of at most `N` bytes that is copied like a number; what does not fit is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortText<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> ShortText<N> {
    /// No text.
    pub const EMPTY: Self = Self {
        bytes: [0; N],
        length: 0,
    };

    /// The beginning of `text`, in whole characters.
    pub fn new(text: &str) -> Self {
        let mut out = Self::EMPTY;
        out.push(text);
        out
    }

    /// Formats `value` without heap: `ShortText::of(format_args!("{pin}: {error}"))`.
    pub fn of(value: impl fmt::Display) -> Self {
        let mut out = Self::EMPTY;
        // A Display that fails leaves what it wrote so far.
        let _ = write!(out, "{value}");
        out
    }

    fn push(&mut self, text: &str) -> bool {
        let room = N - self.length;
        let mut take = text.len().min(room);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.bytes[self.length..self.length + take].copy_from_slice(&text.as_bytes()[..take]);
        self.length += take;
        take == text.len()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> Write for ShortText<N> {
    /// Fails once the text is full, which ends the formatting early.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text) {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl<const N: usize> fmt::Debug for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Serialize for ShortText<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// Which product inspected: its name and the beginning of its bundle's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductLabel {
    /// The product's name, cut after 48 bytes.
    pub name: ShortText<48>,
    /// First 16 hexadecimal digits of the bundle's BLAKE3 digest.
    pub digest: ShortText<16>,
}

impl ProductLabel {
    /// No product loaded.
    pub const NONE: Self = Self {
        name: ShortText::EMPTY,
        digest: ShortText::EMPTY,
    };

    /// `digest` in hexadecimal; only its beginning is kept.
    pub fn new(name: &str, digest: &str) -> Self {
        Self {
            name: ShortText::new(name),
            digest: ShortText::new(digest),
        }
    }
}

/// Times that are measured for every part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Latency {
    /// From the trigger to the exposure of the frame.
    TriggerToFrame,
    /// From the exposure until the frame was in hand.
    Delivery,
    /// The frame waited for the inspector.
    Waiting,
    /// The inspector at work.
    Inspection,
    /// From the trigger until the gate knew the verdict.
    TriggerToVerdict,
    /// From the trigger until the output was set.
    TriggerToOutput,
    /// The output was set so much after its schedule.
    OutputLateness,
}

impl Latency {
    /// All of them.
    pub const ALL: [Latency; 7] = [
        Latency::TriggerToFrame,
        Latency::Delivery,
        Latency::Waiting,
        Latency::Inspection,
        Latency::TriggerToVerdict,
        Latency::TriggerToOutput,
        Latency::OutputLateness,
    ];

    /// Name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Latency::TriggerToFrame => "trigger_to_frame",
            Latency::Delivery => "delivery",
            Latency::Waiting => "waiting",
            Latency::Inspection => "judging",
            Latency::TriggerToVerdict => "trigger_to_verdict",
            Latency::TriggerToOutput => "trigger_to_output",
            Latency::OutputLateness => "output_lateness",
        }
    }
}

/// The times of one part, as far as they were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latencies {
    us: [u64; Latency::ALL.len()],
}

/// Marks a time that was not measured; 584,000 years, so it takes none that could be.
const NOT_MEASURED: u64 = u64::MAX;

impl Latencies {
    /// None measured.
    pub const NONE: Self = Self {
        us: [NOT_MEASURED; Latency::ALL.len()],
    };

    /// Sets one, in whole microseconds, rounded down.
    pub fn set(&mut self, which: Latency, time: Duration) {
        self.us[which as usize] = time.as_micros();
    }

    /// This with one more set.
    #[must_use]
    pub fn with(mut self, which: Latency, time: Duration) -> Self {
        self.set(which, time);
        self
    }

    /// Microseconds, where measured.
    pub fn get(&self, which: Latency) -> Option<u64> {
        Some(self.us[which as usize]).filter(|&us| us != NOT_MEASURED)
    }

    /// Those that were measured, in microseconds.
    pub fn measured(&self) -> impl Iterator<Item = (Latency, u64)> + '_ {
        Latency::ALL
            .into_iter()
            .filter_map(|which| Some((which, self.get(which)?)))
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (which, us) in self.measured() {
            map.serialize_entry(which.name(), &us)?;
        }
        map.end()
    }
}

/// The frame that a part was inspected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStamp {
    /// When it was exposed.
    pub time: Instant,
    /// The camera's counter.
    pub sequence: u64,
}

/// Everything that is kept about one part. Made by the gate thread: no heap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartEntry {
    /// Its number.
    pub part: PartId,
    /// When the trigger saw it.
    pub trigger: Instant,
    /// The wall clock at the trigger, for people only.
    pub wall: SystemTime,
    /// The frame that it was inspected by; None without one.
    pub frame: Option<FrameStamp>,
    /// The score; None where it was not inspected.
    pub score: Option<f32>,
    /// What the inspector said, even when it came too late; None where it said nothing.
    pub verdict: Option<PartVerdict>,
    /// Why it was rejected; None: it passed.
    pub reason: Option<Reason>,
    /// How long things took.
    pub latencies: Latencies,
    /// Which product inspected.
    pub product: ProductLabel,
}

impl PartEntry {
    /// A part that was rejected for `reason` and of which nothing else is known.
    pub fn rejected(part: PartId, trigger: Instant, wall: SystemTime, reason: Reason) -> Self {
        Self {
            part,
            trigger,
            wall,
            frame: None,
            score: None,
            verdict: None,
            reason: Some(reason),
            latencies: Latencies::NONE,
            product: ProductLabel::NONE,
        }
    }

    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.reason.is_none()
    }
}

/// What an event line reports. The log itself adds `log`, `torn`, `damaged`, `gap`,
/// `sync_failed`, `removed` and `images_dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// The line's program started.
    Start,
    /// It stopped in an orderly way.
    Stop,
    /// READY went on.
    Ready,
    /// READY went off.
    NotReady,
    /// A fault appeared.
    FaultRaised,
    /// A fault went away.
    FaultCleared,
    /// An alarm appeared: consecutive rejects, reject rate, drift.
    Alarm,
    /// An alarm went away.
    AlarmCleared,
    /// A person acknowledged an alarm.
    Acknowledged,
    /// The vision process was started again.
    Restarted,
    /// One of the two processes was late.
    WasLate,
    /// A file that the line was started with is on disk otherwise now.
    ChangedOnDisk,
    /// A challenge was asked for: the next part is known to be bad.
    Challenge,
    /// The known-bad part was rejected on the inspector's word.
    ChallengePassed,
    /// The known-bad part was inspected OK, or passed.
    ChallengeFailed,
    /// The challenge proves nothing and has to be repeated.
    ChallengeVoid,
    /// Another product was loaded.
    Product,
    /// Anything else worth keeping.
    Note,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [EventKind; 18] = [
        EventKind::Start,
        EventKind::Stop,
        EventKind::Ready,
        EventKind::NotReady,
        EventKind::FaultRaised,
        EventKind::FaultCleared,
        EventKind::Alarm,
        EventKind::AlarmCleared,
        EventKind::Acknowledged,
        EventKind::Restarted,
        EventKind::WasLate,
        EventKind::ChangedOnDisk,
        EventKind::Challenge,
        EventKind::ChallengePassed,
        EventKind::ChallengeFailed,
        EventKind::ChallengeVoid,
        EventKind::Product,
        EventKind::Note,
    ];

    /// Name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Start => "start",
            EventKind::Stop => "stop",
            EventKind::Ready => "ready",
            EventKind::NotReady => "not_ready",
            EventKind::FaultRaised => "fault_raised",
            EventKind::FaultCleared => "fault_cleared",
            EventKind::Alarm => "alarm",
            EventKind::AlarmCleared => "alarm_cleared",
            EventKind::Acknowledged => "acknowledged",
            EventKind::Restarted => "restarted",
            EventKind::WasLate => "was_late",
            EventKind::ChangedOnDisk => "changed_on_disk",
            EventKind::Challenge => "challenge",
            EventKind::ChallengePassed => "challenge_passed",
            EventKind::ChallengeFailed => "challenge_failed",
            EventKind::ChallengeVoid => "challenge_void",
            EventKind::Product => "product",
            EventKind::Note => "note",
        }
    }
}

/// Something that happened to the line rather than to one part. No heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// What.
    pub kind: EventKind,
    /// To what: the fault's or alarm's name, "camera", "product".
    pub subject: ShortText<32>,
    /// The rest, for people; empty where there is no more to say.
    pub detail: ShortText<192>,
    /// When.
    pub at: Instant,
    /// The wall clock then, for people only.
    pub wall: SystemTime,
}

impl EventEntry {
    /// An event now; `detail` is formatted without heap and cut after 192 bytes.
    pub fn new(kind: EventKind, subject: &str, detail: impl fmt::Display, at: Instant) -> Self {
        Self {
            kind,
            subject: ShortText::new(subject),
            detail: ShortText::of(detail),
            at,
            wall: SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copied<T: Copy + Send + 'static>() {}

    #[test]
    fn what_the_gate_makes_is_copied() {
        copied::<PartEntry>();
        copied::<EventEntry>();
        assert!(size_of::<PartEntry>() <= 320, "{}", size_of::<PartEntry>());
        assert!(size_of::<EventEntry>() <= 320);
    }

    #[test]
    fn times_are_there_or_not() {
        let some = Latencies::NONE.with(Latency::Inspection, Duration(1_999));
        assert_eq!(some.get(Latency::Inspection), Some(1));
        assert_eq!(some.get(Latency::Waiting), None);
        assert_eq!(some.measured().count(), 1);
        let text = serde_json::to_string(&some).expect("JSON");
        assert_eq!(text, r#"{"judging":1}"#);
        for (i, which) in Latency::ALL.into_iter().enumerate() {
            assert_eq!(which as usize, i);
        }
    }

    proptest! {
        #[test]
        fn a_short_text_is_the_beginning_of_the_text(text in ".{0,40}", more in ".{0,40}") {
            let whole = format!("{text}{more}");
            for short in [ShortText::<16>::new(&whole), ShortText::of(format_args!("{text}{more}"))] {
                prop_assert!(whole.starts_with(short.as_str()));
                // Nothing is cut that would have fitted.
                let next = whole[short.as_str().len()..].chars().next();
                prop_assert!(next.is_none_or(|c| short.as_str().len() + c.len_utf8() > 16));
            }
        }
    }
}
