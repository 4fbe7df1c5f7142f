//! What the supervisor gives a new vision process through the link: the number of earlier ones,
//! what is known of the alarm, and where the outputs are in the descriptors that come along.

use super::sealed_files::Changes;
use crate::line::devices::LatchedAlarm;
use crate::line::gate::Output;

/// First byte of every message between the processes. Another value is another version.
pub(super) const VERSION: u8 = 2;
const HANDOVER: u8 = 6;
/// Replaces the number of an alarm or a request that is not known.
const NOT_KNOWN: u8 = u8::MAX;

/// How the previous vision process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum EndedBy {
    /// There was no previous one.
    #[default]
    Nothing,
    /// It ended by itself, or it was killed.
    Itself,
    /// It was silent for longer than its lease.
    Silence,
    /// The outputs were lost.
    Outputs,
    /// It sent a message that the supervisor does not know.
    Words,
}

impl EndedBy {
    const ALL: [EndedBy; 5] = [
        EndedBy::Nothing,
        EndedBy::Itself,
        EndedBy::Silence,
        EndedBy::Outputs,
        EndedBy::Words,
    ];

    /// Text for the log.
    pub const fn words(self) -> &'static str {
        match self {
            EndedBy::Nothing => "there was none before",
            EndedBy::Itself => "the one before ended or was killed",
            EndedBy::Silence => "the one before said nothing for its lease",
            EndedBy::Outputs => "the output lines were lost under the one before",
            EndedBy::Words => "the one before said what the supervisor does not know",
        }
    }
}

/// What a vision process gets from the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Handover {
    /// Restarts of the vision process since the line was started.
    pub restarts: u32,
    /// Those of the last hour, and since the alarm was last acknowledged.
    pub restarts_within_hour: u32,
    /// How the previous one ended.
    pub ended_by: EndedBy,
    /// How many times the supervisor ran late since the line was started.
    pub late: u32,
    /// The alarm as the previous vision process reported it; None if none has reported.
    pub alarm: Option<LatchedAlarm>,
    /// Files that are different on the disk now than when the line was started.
    pub changed: Changes,
    /// Those of them that no vision process knows yet.
    pub newly_changed: Changes,
    /// The UNKNOWN threshold that was set on this board; None: the product's own.
    pub unknown: Option<f32>,
    /// Whether the board's profile is among the descriptors.
    pub with_board: bool,
    /// For each output, its request (the first is 0) and its bit there.
    pub places: [Option<(u8, u8)>; Output::ALL.len()],
}

impl Handover {
    pub(super) const SIZE: usize = 24 + 2 * Output::ALL.len();

    pub(super) fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&[
            VERSION,
            HANDOVER,
            self.ended_by as u8,
            self.alarm.map_or(NOT_KNOWN, |alarm| alarm as u8),
            self.changed.bits(),
            self.newly_changed.bits(),
            u8::from(self.with_board),
            0,
        ]);
        bytes[8..12].copy_from_slice(&self.restarts.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.restarts_within_hour.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.late.to_le_bytes());
        // A threshold is above 0.
        bytes[20..24].copy_from_slice(&self.unknown.unwrap_or(0.0).to_le_bytes());
        for (at, place) in self.places.iter().enumerate() {
            let (request, bit) = place.unwrap_or((NOT_KNOWN, 0));
            bytes[24 + 2 * at] = request;
            bytes[25 + 2 * at] = bit;
        }
        bytes
    }

    /// None for a message that no supervisor of this version sends.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().ok()?;
        if bytes[..2] != [VERSION, HANDOVER] {
            return None;
        }
        let number = |at: usize| {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(four)
        };
        let mut places = [None; Output::ALL.len()];
        for (place, pair) in places.iter_mut().zip(bytes[24..].chunks_exact(2)) {
            *place = (pair[0] != NOT_KNOWN).then_some((pair[0], pair[1]));
        }
        Some(Self {
            restarts: number(8),
            restarts_within_hour: number(12),
            late: number(16),
            unknown: match f32::from_bits(number(20)) {
                0.0 => None,
                unknown if unknown.is_finite() && unknown > 0.0 => Some(unknown),
                _ => return None,
            },
            ended_by: *EndedBy::ALL.get(usize::from(bytes[2]))?,
            alarm: match bytes[3] {
                NOT_KNOWN => None,
                alarm => Some(LatchedAlarm::numbered(alarm)?),
            },
            changed: Changes::from_bits(bytes[4])?,
            newly_changed: Changes::from_bits(bytes[5])?,
            with_board: bytes[6] == 1,
            places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everything_that_is_handed_over_arrives() {
        let mut changed = Changes::default();
        changed.add(1);
        let mut places = [None; Output::ALL.len()];
        places[Output::Pass as usize] = Some((1, 63));
        let handover = Handover {
            restarts: 7,
            restarts_within_hour: 3,
            ended_by: EndedBy::Silence,
            late: 9,
            alarm: Some(LatchedAlarm::Restarts),
            changed,
            newly_changed: Changes::default(),
            unknown: Some(2.5),
            with_board: true,
            places,
        };
        assert_eq!(Handover::decode(&handover.encode()), Some(handover));
        let none = Handover::default();
        assert_eq!(Handover::decode(&none.encode()), Some(none));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_vision_process_stumble(
            bytes in proptest::collection::vec(any::<u8>(), Handover::SIZE),
            genuine: bool,
        ) {
            let mut bytes = bytes;
            if genuine {
                bytes[..2].copy_from_slice(&[VERSION, HANDOVER]);
            }
            if let Some(handover) = Handover::decode(&bytes) {
                prop_assert_eq!(Handover::decode(&handover.encode()), Some(handover));
            }
        }
    }
}
