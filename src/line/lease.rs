//! The two processes between the gate and the outputs, and how each notices that the other is late.
//! Pure: no clock, no socket, no outputs. The supervisor runs [`Lease`], the vision process runs
//! [`Watch`], and the simulator runs both.
//!
//! - The vision process sends a command for each change of an output. Every command has a number and
//!   the time at which it was sent. PASS that goes on has its end.
//! - The supervisor carries commands out, ends PASS by itself, and acknowledges with the number of the
//!   last command that is done.
//! - What can only stop parts (PASS and READY off, REJECT and FAULT on) the vision process also does
//!   itself, at once and past the supervisor ([`SafeOutputs`](super::devices::SafeOutputs)). Only the
//!   supervisor does what can let a part pass.
//! - A supervisor that notices that it was late switches the outputs off. It takes nothing that can let
//!   a part pass until the vision process knows of it: every command carries the number of the last
//!   such incident that its sender knows.
//! - A supervisor that does not acknowledge is late, whether or not it knows: the vision process
//!   switches the outputs off past it.

use super::gate::Output;
use crate::time::{Duration, Instant};

/// Times of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The outputs are switched off after this long without a command from the vision process.
    pub lease: Duration,
    /// A command that is carried out later than this is an incident, and so is a supervisor that runs
    /// later than this.
    pub late: Duration,
    /// How long a vision process that has just started may take to its first command.
    pub start: Duration,
    /// The supervisor checks at least this often.
    pub look: Duration,
}

/// The content of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The vision process is alive.
    Alive,
    /// An output changes its level; PASS that goes on ends by itself at `until`.
    Set {
        /// Which output.
        output: Output,
        /// On or off.
        on: bool,
        /// When PASS ends; PASS is never on without an end.
        until: Option<Instant>,
    },
}

/// A command to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// From 1, one more for each command.
    pub number: u64,
    /// The last incident of the supervisor that the vision process knows of.
    pub incident: u32,
    /// When it was sent.
    pub at: Instant,
    /// Its content.
    pub what: What,
}

/// The supervisor's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Everything up to this command is done.
    pub number: u64,
    /// Incidents so far.
    pub incident: u32,
    /// How late the supervisor was in the last incident.
    pub late: Duration,
}

/// What the supervisor must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Set an output to a level.
    Set(Output, bool),
    /// Send an acknowledgement to the vision process.
    Answer(Answer),
    /// The vision process has sent nothing for this long: nothing from it is accepted again.
    Silent(Duration),
}

/// Carries out the commands of the vision process, as long as they come and are in time.
#[derive(Clone, Debug)]
pub struct Lease {
    settings: LeaseSettings,
    lease_until: Instant,
    patience: Duration,
    pass_until: Option<Instant>,
    /// It must run by then.
    next_look: Instant,
    number: u64,
    unanswered: bool,
    incident: u32,
    late: Duration,
    was_ready: bool,
}

/// The order in which outputs are switched off: what lets parts pass comes first.
pub const SAFE_ORDER: [Output; Output::ALL.len()] = [
    Output::Pass,
    Output::Ready,
    Output::Reject,
    Output::Fault,
    Output::RecipeAck,
    Output::ResultValid,
    Output::Ok,
    Output::TriggerAck,
    Output::Busy,
    Output::Heartbeat,
    Output::RecordLost,
];

impl Lease {
    /// For outputs in their safe state.
    pub fn new(settings: LeaseSettings, now: Instant) -> Self {
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

    /// Whether READY was on at least once.
    pub fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// How often the supervisor was late.
    pub fn incidents(&self) -> u32 {
        self.incident
    }

    /// When [`tick`](Self::tick) must be called at the latest.
    pub fn deadline(&self) -> Instant {
        let end = self.pass_until.unwrap_or(Instant::MAX);
        self.lease_until.min(end).min(self.next_look)
    }

    /// A command arrived.
    pub fn receive(&mut self, command: Command, now: Instant, act: &mut impl FnMut(Act)) {
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
        // If it arrives too late, its part has gone by, and the next part must not pass in its place.
        let until = until.filter(|until| on && now < *until);
        self.pass_until = until;
        act(Act::Set(Output::Pass, until.is_some()));
    }

    /// Does everything that is due, and acknowledges the commands that arrived.
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

    /// Nobody knows which levels the outputs had meanwhile, nor which parts went by.
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

/// Commands whose times are kept; a power of two.
const REMEMBERED: usize = 128;
/// What stops parts, whoever sets it.
const ROUND_THE_HOLDER: [Output; 4] = [Output::Pass, Output::Ready, Output::Reject, Output::Fault];
/// How soon an output is switched off again while the supervisor may still set it, or does not answer.
const AGAIN: Duration = Duration::from_millis(1);

/// What the vision process knows of the supervisor.
#[derive(Clone, Debug)]
pub struct Watch {
    late: Duration,
    /// The number of the last command.
    reported: u64,
    answered: u64,
    incident: u32,
    /// When each command was sent, by its number.
    times: [Instant; REMEMBERED],
    /// The number of the last command on PASS, if it switched PASS off.
    revoked: Option<u64>,
    again: Instant,
    /// Since the supervisor is overdue: when the outputs are switched off once more.
    all_again: Option<Instant>,
}

impl Watch {
    /// A supervisor whose acknowledgement takes longer than `late` is late.
    pub fn new(late: Duration) -> Self {
        Self {
            late,
            reported: 0,
            answered: 0,
            incident: 0,
            times: [Instant(0); REMEMBERED],
            revoked: None,
            again: Instant::MAX,
            all_again: None,
        }
    }

    /// A command with the content `what`, to be sent at `now`.
    pub fn command(&mut self, what: What, now: Instant) -> Command {
        self.reported += 1;
        self.times[self.reported as usize % REMEMBERED] = now;
        if let What::Set {
            output: Output::Pass,
            on,
            ..
        } = what
        {
            self.revoked = (!on).then_some(self.reported);
            self.again = if on { Instant::MAX } else { now.after(AGAIN) };
        }
        Command {
            number: self.reported,
            incident: self.incident,
            at: now,
            what,
        }
    }

    /// An acknowledgement arrived. True if it reports a new incident: every output must be sent again,
    /// and nobody knows which parts went by.
    pub fn answer(&mut self, answer: Answer) -> bool {
        self.answered = self.answered.max(answer.number.min(self.reported));
        if self.revoked.is_some_and(|number| number <= self.answered) {
            self.revoked = None;
            self.again = Instant::MAX;
        }
        let new = answer.incident != self.incident;
        self.incident = answer.incident;
        new
    }

    /// Whether an acknowledgement is overdue at `now`.
    pub fn overdue(&self, now: Instant) -> bool {
        self.waits_since()
            .is_some_and(|since| now.since(since) > self.late)
    }

    /// The outputs that the vision process switches off at `now` without the supervisor. All of them again
    /// and again while the supervisor is overdue, because an output may have failed the first time. PASS
    /// until the supervisor has answered its end: it may have set it on a command that was taken back.
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

    /// When to check again.
    pub fn deadline(&self) -> Instant {
        let overdue = self.all_again.unwrap_or_else(|| {
            self.waits_since().map_or(Instant::MAX, |since| {
                since.after(self.late).after(Duration(1))
            })
        });
        self.again.min(overdue)
    }

    /// When the oldest command without an acknowledgement was sent.
    fn waits_since(&self) -> Option<Instant> {
        let oldest = (self.answered + 1).max(self.reported.saturating_sub(REMEMBERED as u64 - 1));
        (oldest <= self.reported).then(|| self.times[oldest as usize % REMEMBERED])
    }
}

#[cfg(test)]
mod tests;
