//! The outputs, which keep their level if nobody sets them.

use super::{Event, World};
use crate::line::gate::Output;
use crate::line::lease::SAFE_ORDER;

impl World {
    pub(super) fn outputs(&mut self, work: bool) {
        self.broken.outputs = !work;
        let now = self.now;
        if work {
            self.ledger.outputs_away.to = now;
        } else {
            self.ledger.outputs_away.extend(now, u64::MAX);
            // An expander that lost its supply switches off; one that hangs keeps its levels.
            if self.draw(0, 2) == 0 {
                for output in SAFE_ORDER {
                    self.set_physical(output, output.when_unattended());
                }
            }
        }
    }

    pub(super) fn switch_off_all(&mut self) {
        for output in SAFE_ORDER {
            self.set_level(output, output.when_unattended());
        }
    }

    /// Sets an output; false if that is not possible.
    pub(super) fn set_level(&mut self, output: Output, on: bool) -> bool {
        if self.broken.outputs {
            return false;
        }
        self.set_physical(output, on);
        true
    }

    fn set_physical(&mut self, output: Output, on: bool) {
        let level = &mut self.levels[output as usize];
        if *level == on {
            return;
        }
        *level = on;
        let now = self.now;
        if output != Output::Heartbeat && output != Output::Busy {
            self.trace.note(now, || {
                format!("{} {}", output.name(), if on { "on" } else { "off" })
            });
        }
        if output == Output::Pass && on {
            self.products.pass_on = now;
        }
        if output == Output::Ready {
            self.ready_changes(on);
        }
        if output == Output::Ready && self.line.stops {
            let then = now + self.line.reaction;
            self.at(then, Event::Belt(on));
        }
    }
}
