//! What the gate thread passes to the recorder: values of fixed size, copied, without heap.

use crate::line::gate::{PartId, PartVerdict, Reason};
use crate::time::{Duration, Instant};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::{self, Write};
use std::time::SystemTime;

/// A text of at most `N` bytes that is copied like a number. A longer text is cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortText<const N: usize> {
    bytes: [u8; N],
    length: u16,
}

impl<const N: usize> ShortText<N> {
    /// The empty text.
    pub(crate) const EMPTY: Self = Self {
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
        // If a Display fails, the text written so far stays.
        let _ = write!(out, "{value}");
        out
    }

    fn push(&mut self, text: &str) -> bool {
        let from = usize::from(self.length);
        let mut take = text.len().min(N.min(u16::MAX.into()) - from);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.bytes[from..from + take].copy_from_slice(&text.as_bytes()[..take]);
        self.length += take as u16;
        take == text.len()
    }

    /// The text as written so far.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length.into()]).unwrap_or_default()
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> Write for ShortText<N> {
    /// Fails when the text is full, which ends the formatting early.
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

/// The product that inspects: its name and the beginning of its bundle's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductLabel {
    /// The product's name, cut after 48 bytes.
    pub name: ShortText<48>,
    /// First 16 hexadecimal digits of the bundle's BLAKE3 digest.
    pub digest: ShortText<16>,
    /// Who signed it, in words; empty if nobody looked.
    pub origin: ShortText<96>,
    /// Whether a production key signed it. If not, every entry says where it comes from.
    pub proven: bool,
    /// The threshold that a person has set on this board, in words; empty if it is the product's own.
    pub set: ShortText<32>,
}

impl ProductLabel {
    /// No product is loaded.
    pub const NONE: Self = Self {
        name: ShortText::EMPTY,
        digest: ShortText::EMPTY,
        origin: ShortText::EMPTY,
        proven: true,
        set: ShortText::EMPTY,
    };

    /// `digest` is hexadecimal; only its beginning is kept.
    pub fn new(name: &str, digest: &str) -> Self {
        Self {
            name: ShortText::new(name),
            digest: ShortText::new(digest),
            ..Self::NONE
        }
    }

    /// The same product with its origin in words.
    pub fn of_origin(mut self, origin: &str, proven: bool) -> Self {
        self.origin = ShortText::new(origin);
        self.proven = proven;
        self
    }

    /// The same product with a threshold that was set on this board.
    pub fn with_threshold(mut self, unknown: f32) -> Self {
        self.set = ShortText::of(format_args!("UNKNOWN above {unknown}"));
        self
    }

    /// The threshold that was set on this board, if one was.
    pub fn set_threshold(&self) -> Option<&str> {
        (!self.set.is_empty()).then(|| self.set.as_str())
    }

    /// The origin, if it must be shown with every part.
    pub(super) fn unproven(&self) -> Option<&str> {
        (!self.proven).then(|| self.origin.as_str())
    }
}

/// Times that are measured for each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Latency {
    /// From the trigger to the exposure of the frame.
    TriggerToFrame,
    /// From the exposure until the program has the frame.
    Delivery,
    /// From then until the inspector takes the frame.
    Waiting,
    /// How long the inspection takes.
    Inspection,
    /// From the trigger until the gate has the verdict.
    TriggerToVerdict,
    /// From the trigger until the output is set.
    TriggerToOutput,
    /// How much later than scheduled the output is set.
    OutputLateness,
}

impl Latency {
    /// All of them, in the order of their numbers.
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

/// Marks a time that was not measured. As microseconds it is 584,000 years, so no real time has
/// it.
const NOT_MEASURED: u64 = u64::MAX;

impl Latencies {
    /// No time is measured.
    pub const NONE: Self = Self {
        us: [NOT_MEASURED; Latency::ALL.len()],
    };

    /// Sets one time, in whole microseconds, rounded down.
    pub fn set(&mut self, which: Latency, time: Duration) {
        self.us[which as usize] = time.as_micros();
    }

    /// The same times with one more set.
    #[must_use]
    pub fn with(mut self, which: Latency, time: Duration) -> Self {
        self.set(which, time);
        self
    }

    /// Microseconds; None if not measured.
    pub fn get(&self, which: Latency) -> Option<u64> {
        Some(self.us[which as usize]).filter(|&us| us != NOT_MEASURED)
    }

    /// The measured times, in microseconds.
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

/// The frame on which a part was inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStamp {
    /// Time of its exposure.
    pub time: Instant,
    /// The camera's frame number.
    pub sequence: u64,
}

/// All that is recorded of one part. The gate thread makes it, without heap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartEntry {
    /// The part's number.
    pub part: PartId,
    /// Time of the trigger.
    pub trigger: Instant,
    /// The wall clock at the trigger, for people only.
    pub wall: SystemTime,
    /// The frame on which it was inspected; None if there was none.
    pub frame: Option<FrameStamp>,
    /// The score; None if the part was not inspected.
    pub score: Option<f32>,
    /// The verdict, also if it came too late; None if there is none.
    pub verdict: Option<PartVerdict>,
    /// Why the part was rejected; None if it passed.
    pub reason: Option<Reason>,
    /// The measured times.
    pub latencies: Latencies,
    /// The product that inspected it.
    pub product: ProductLabel,
}

impl PartEntry {
    /// A part that was rejected for `reason`; nothing else is known of it.
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

    /// Whether the part passed.
    pub fn passed(&self) -> bool {
        self.reason.is_none()
    }
}

/// What an event entry reports. The log itself adds `log`, `torn`, `damaged`, `gap`,
/// `sync_failed`, `removed` and `images_dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// The line's program started.
    Start,
    /// The program stopped in an orderly way.
    Stop,
    /// READY went on.
    Ready,
    /// READY went off.
    NotReady,
    /// A fault was raised.
    FaultRaised,
    /// A fault was cleared.
    FaultCleared,
    /// An alarm was raised: consecutive rejects, reject rate, drift.
    Alarm,
    /// An alarm was cleared.
    AlarmCleared,
    /// A person acknowledged an alarm.
    Acknowledged,
    /// The vision process was started again.
    Restarted,
    /// One of the two processes ran late.
    WasLate,
    /// A file that the line was started with is different on the disk now.
    ChangedOnDisk,
    /// A person asked for a challenge: the next part is known to be bad.
    Challenge,
    /// The known-bad part got the verdict NG and was rejected.
    ChallengePassed,
    /// The known-bad part got the verdict OK, or passed the gate.
    ChallengeFailed,
    /// The challenge shows nothing and must be repeated.
    ChallengeVoid,
    /// Another product was loaded.
    Product,
    /// A person said what a part really is.
    Marked,
    /// Anything else that is worth an entry.
    Note,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [EventKind; 19] = [
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
        EventKind::Marked,
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
            EventKind::Marked => "marked",
            EventKind::Note => "note",
        }
    }
}

/// An event of the whole line, not of one part. No heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// Kind of the event.
    pub kind: EventKind,
    /// What it happened to: name of the fault or alarm, "camera", "product".
    pub subject: ShortText<32>,
    /// More detail for people; can be empty.
    pub detail: ShortText<192>,
    /// When it happened.
    pub at: Instant,
    /// The wall clock then, for people only.
    pub wall: SystemTime,
}

impl EventEntry {
    /// An event now. `detail` is formatted without heap and cut after 192 bytes.
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
        assert!(size_of::<PartEntry>() <= 336, "{}", size_of::<PartEntry>());
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
                // No character is cut that would have fitted.
                let next = whole[short.as_str().len()..].chars().next();
                prop_assert!(next.is_none_or(|c| short.as_str().len() + c.len_utf8() > 16));
            }
        }
    }
}
