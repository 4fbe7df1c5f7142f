//! Too many rejects: something is wrong with the process, the camera or the product.

use super::settings::AlarmSettings;

/// Watches inspected parts. Rejects because the line was not ready do not count: they have faults of
/// their own.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    settings: AlarmSettings,
    in_a_row: u32,
    /// One bit per inspected part, 1 for a reject: a ring of `settings.window` bits.
    last: [u64; 4],
    at: u16,
    rejects: u16,
    raised: bool,
}

impl Alarm {
    pub(super) const fn new(settings: AlarmSettings) -> Self {
        Self {
            settings,
            in_a_row: 0,
            last: [0; 4],
            at: 0,
            rejects: 0,
            raised: false,
        }
    }

    /// Counts an inspected part; true if it raises the alarm.
    pub(super) fn inspected(&mut self, rejected: bool) -> bool {
        self.in_a_row = if rejected { self.in_a_row + 1 } else { 0 };
        if self.settings.window > 0 {
            let (word, bit) = (usize::from(self.at / 64), 1u64 << (self.at % 64));
            self.rejects -= u16::from(self.last[word] & bit != 0);
            self.rejects += u16::from(rejected);
            if rejected {
                self.last[word] |= bit;
            } else {
                self.last[word] &= !bit;
            }
            self.at = (self.at + 1) % self.settings.window;
        }
        let limits = self.settings;
        let over = (limits.consecutive > 0 && self.in_a_row >= limits.consecutive)
            || (limits.rejects > 0 && self.rejects >= limits.rejects);
        let new = over && !self.raised;
        self.raised |= over;
        new
    }

    /// An alarm of an earlier process is still latched. True if no alarm was raised here.
    pub(super) const fn raise(&mut self) -> bool {
        let new = !self.raised;
        self.raised = true;
        new
    }

    pub(super) const fn raised(&self) -> bool {
        self.raised
    }

    pub(super) const fn stops_the_line(&self) -> bool {
        self.raised && self.settings.stop_line
    }

    /// A person acknowledges: counting starts again. True if an alarm was raised.
    pub(super) fn acknowledge(&mut self) -> bool {
        let was = self.raised;
        *self = Self::new(self.settings);
        was
    }
}
