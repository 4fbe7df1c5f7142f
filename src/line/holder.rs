//! The two processes that stand between the gate and the output lines, and how each knows that the
//! other is late. Pure: no clock, no socket, no lines. The supervisor runs [`Holder`], the vision
//! process runs [`Watch`], and the simulator runs both.
//!
//! - The vision process says what the lines are to be. Every command has a number and the time at
//!   which it was said; PASS has its end.
//! - The holder carries commands out, ends PASS by itself, and answers with the number of the last one
//!   that is done.
//! - What can only stop parts (PASS and READY off, REJECT and FAULT on) the vision process does itself
//!   as well, at once and round the holder ([`SafeOutputs`](super::devices::SafeOutputs)). What can let
//!   a part pass only the holder does.
//! - A holder that finds itself late lets the lines fall, and takes nothing that could let a part pass
//!   until the vision process has heard of it: commands carry the number of the last such incident.
//! - A holder that does not answer is late, whether or not it knows: the vision process lets the lines
//!   fall round it.

use super::gate::Output;
use crate::time::{Duration, Instant};

/// What the holder must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderSettings {
    /// The lines fall after so long without a word from the vision process.
    pub lease: Duration,
    /// A command that is carried out later than this, or a holder that is run later than this, is an
    /// incident.
    pub late: Duration,
    /// A vision process that has said nothing yet may take this long.
    pub start: Duration,
    /// The holder looks round at least this often.
    pub look: Duration,
}

/// What the vision process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It lives.
    Alive,
    /// A line takes a level; PASS that goes on falls by itself at `until`.
    Set {
        /// Which.
        output: Output,
        /// On or off.
        on: bool,
        /// PASS is never on without an end.
        until: Option<Instant>,
    },
}

/// A command as it goes to the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// From 1, one more each time.
    pub number: u64,
    /// The last incident of the holder that the vision process knows of.
    pub incident: u32,
    /// When it was said.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What the holder answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Everything up to this command is done.
    pub number: u64,
    /// Incidents so far.
    pub incident: u32,
    /// How late the holder was in the last of them.
    pub late: Duration,
}

/// What the holder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A line takes a level.
    Set(Output, bool),
    /// The vision process is told.
    Answer(Answer),
    /// The vision process has said nothing for so long: it is not believed again.
    Silent(Duration),
}

/// Carries out what the vision process says, for as long as it speaks and in time.
#[derive(Clone, Debug)]
pub struct Holder {
    settings: HolderSettings,
    lease_until: Instant,
    patience: Duration,
    pass_until: Option<Instant>,
    /// It had to be run by then.
    next_look: Instant,
    number: u64,
    unanswered: bool,
    incident: u32,
    late: Duration,
    was_ready: bool,
}

/// In the order in which they are to fall: what lets parts by first.
pub const FALL: [Output; 10] = [
    Output::Pass,
    Output::Ready,
    Output::Reject,
    Output::Fault,
    Output::ResultValid,
    Output::Ok,
    Output::TriggerAck,
    Output::Busy,
    Output::Heartbeat,
    Output::RecordLost,
];

impl Holder {
    /// Of lines that show what they show unattended.
    pub fn new(settings: HolderSettings, now: Instant) -> Self {
        Self {
            lease_until: now.after(settings.start),
            patience: settings.start,
            pass_until: None,
            next_look: now.after(settings.look),
            number: 0,
            unanswered: false,
            incident: 0,
            late: Duration::ZERO,
            was_ready: false,
            settings,
        }
    }

    /// Whether READY was ever on.
    pub fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// How often it was late.
    pub fn incidents(&self) -> u32 {
        self.incident
    }

    /// When [`tick`](Self::tick) must be called, whatever is heard before.
    pub fn deadline(&self) -> Instant {
        let end = self.pass_until.unwrap_or(Instant::MAX);
        self.lease_until.min(end).min(self.next_look)
    }

    /// A command has arrived.
    pub fn hear(&mut self, command: Command, now: Instant, act: &mut impl FnMut(Act)) {
        self.look(now, act);
        let underway = now.since(command.at);
        if underway > self.settings.late {
            self.was_late(underway, act);
        }
        self.patience = self.settings.lease;
        self.lease_until = now.after(self.patience);
        self.number = command.number;
        self.unanswered = true;
        let What::Set { output, on, until } = command.what else {
            return;
        };
        let knows = command.incident == self.incident;
        if !knows && !output.is_safe(on) {
            return;
        }
        if output != Output::Pass {
            self.was_ready |= output == Output::Ready && on;
            act(Act::Set(output, on));
            return;
        }
        // Heard of too late, its part has gone by, and the next one must not profit.
        let until = until.filter(|until| on && now < *until);
        self.pass_until = until;
        act(Act::Set(Output::Pass, until.is_some()));
    }

    /// Lets everything happen that is due, and answers what was heard.
    pub fn tick(&mut self, now: Instant, act: &mut impl FnMut(Act)) {
        self.look(now, act);
        if core::mem::take(&mut self.unanswered) {
            act(Act::Answer(Answer {
                number: self.number,
                incident: self.incident,
                late: self.late,
            }));
        }
        if now >= self.lease_until {
            act(Act::Silent(self.patience));
        }
    }

    fn look(&mut self, now: Instant, act: &mut impl FnMut(Act)) {
        let due = self
            .pass_until
            .map_or(self.next_look, |p| p.min(self.next_look));
        let late = now.since(due);
        if late > self.settings.late {
            self.was_late(late, act);
        }
        if self.pass_until.is_some_and(|until| now >= until) {
            self.pass_until = None;
            act(Act::Set(Output::Pass, false));
        }
        self.next_look = now.after(self.settings.look);
    }

    /// Nobody knows what the lines showed meanwhile, nor what went by.
    fn was_late(&mut self, by: Duration, act: &mut impl FnMut(Act)) {
        self.incident = self.incident.wrapping_add(1);
        self.late = by;
        self.unanswered = true;
        self.pass_until = None;
        for output in [Output::Pass, Output::Ready, Output::Reject, Output::Fault] {
            act(Act::Set(output, output.when_unattended()));
        }
    }
}

/// Commands whose times are remembered; a power of two.
const REMEMBERED: usize = 128;
/// What stops parts, whoever sets it.
const ROUND_THE_HOLDER: [Output; 4] = [Output::Pass, Output::Ready, Output::Reject, Output::Fault];
/// How soon an output is switched off again while the holder may still set it, or does not answer.
const AGAIN: Duration = Duration::from_millis(1);

/// What the vision process knows of the holder.
#[derive(Clone, Debug)]
pub struct Watch {
    late: Duration,
    /// The last command's number.
    said: u64,
    answered: u64,
    incident: u32,
    /// When each command was said, by its number.
    times: [Instant; REMEMBERED],
    /// The last command on PASS took it away: its number.
    revoked: Option<u64>,
    again: Instant,
    /// Since the holder is overdue: when the outputs are switched off once more.
    all_again: Option<Instant>,
}

impl Watch {
    /// A holder that takes longer than `late` to answer is late.
    pub fn new(late: Duration) -> Self {
        Self {
            late,
            said: 0,
            answered: 0,
            incident: 0,
            times: [Instant(0); REMEMBERED],
            revoked: None,
            again: Instant::MAX,
            all_again: None,
        }
    }

    /// `what`, ready to be sent at `now`.
    pub fn command(&mut self, what: What, now: Instant) -> Command {
        self.said += 1;
        self.times[self.said as usize % REMEMBERED] = now;
        if let What::Set {
            output: Output::Pass,
            on,
            ..
        } = what
        {
            self.revoked = (!on).then_some(self.said);
            self.again = if on { Instant::MAX } else { now.after(AGAIN) };
        }
        Command {
            number: self.said,
            incident: self.incident,
            at: now,
            what,
        }
    }

    /// The holder has answered. True when it was late: everything has to be said to it again, and
    /// nobody knows what went by.
    pub fn answer(&mut self, answer: Answer) -> bool {
        self.answered = self.answered.max(answer.number.min(self.said));
        if self.revoked.is_some_and(|number| number <= self.answered) {
            self.revoked = None;
            self.again = Instant::MAX;
        }
        let new = answer.incident != self.incident;
        self.incident = answer.incident;
        new
    }

    /// Whether the holder ought to have answered by `now`.
    pub fn overdue(&self, now: Instant) -> bool {
        self.waits_since()
            .is_some_and(|since| now.since(since) > self.late)
    }

    /// The outputs that the vision process switches off at `now` without the holder. All of them again
    /// and again while the holder is overdue, because an output may have failed the first time. PASS
    /// until the holder has answered its end: it may have set it on a command that was taken back.
    pub fn switched_off(&mut self, now: Instant) -> &'static [Output] {
        if !self.overdue(now) {
            self.all_again = None;
        } else if self.all_again.is_none_or(|again| now >= again) {
            self.all_again = Some(now.after(AGAIN));
            return &ROUND_THE_HOLDER;
        }
        if self.revoked.is_some() && now >= self.again {
            self.again = now.after(AGAIN);
            return &[Output::Pass];
        }
        &[]
    }

    /// When to look again.
    pub fn deadline(&self) -> Instant {
        let overdue = self.all_again.unwrap_or_else(|| {
            self.waits_since().map_or(Instant::MAX, |since| {
                since.after(self.late).after(Duration(1))
            })
        });
        self.again.min(overdue)
    }

    /// When the first command was said that is not answered.
    fn waits_since(&self) -> Option<Instant> {
        let oldest = (self.answered + 1).max(self.said.saturating_sub(REMEMBERED as u64 - 1));
        (oldest <= self.said).then(|| self.times[oldest as usize % REMEMBERED])
    }
}

#[cfg(test)]
mod tests;
