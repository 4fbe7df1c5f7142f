//! Several products on the line: what a person and the PLC ask for, and what the vision process runs. The
//! recipe inputs are read by the running line's own state machine.
//!
//! The line has the products 1 and 2. Product 3 does not prove itself at its start, product 4 is not
//! installed, and the number 5 has no product.

use super::{Delivery, Event, World};
use crate::line::gate::{Ejector, Fault, Output, PartVerdict};
use crate::line::recipe::{Reading, RecipeInputs, RecipeRules, Wires};
use crate::simulation::faults::Kind;
use crate::simulation::virtual_time::line::MS;
use crate::time::{Duration, Instant};

/// How often the inputs are read.
const LOOK: u64 = 10 * MS;
/// How long they must stay as they are.
const STABLE: u64 = 50 * MS;
/// Within this time the thread that watches the store does what was asked for.
const STORE: u64 = 250 * MS;
/// How long a gap between two parts is waited for.
const GAP: u64 = 10_000 * MS;
/// A product that does not prove itself.
const FAILS: u8 = 3;
/// A product that is not installed.
const MISSING: u8 = 4;
/// The gate has this long to act on what it was told.
const TOLD: u64 = 2 * MS;

const RULES: RecipeRules = RecipeRules {
    wires: Wires {
        bits: 0b111,
        parity: false,
        strobe: false,
    },
    stable: Duration(STABLE),
    known: 0b1_1110,
};

/// A product and its revision; the digest of its bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    number: u8,
    revision: u64,
}

/// What is asked for, chosen and run.
#[derive(Debug)]
pub(super) struct Products {
    /// What the vision process that runs was started with.
    loaded: Digest,
    /// What the store says is to run.
    chosen: Digest,
    /// The product that ran before, if another one was asked for.
    before: Option<Digest>,
    /// The number of the product that could not start.
    refused: Option<u8>,
    /// The revision in each product's active slot.
    revisions: [u64; 3],
    /// What the PLC shows at the inputs.
    shown: u8,
    inputs: RecipeInputs,
    /// Which other product the inputs ask for.
    wanted: Option<u8>,
    /// A read of the inputs is on its way.
    reading: bool,
    /// A wish of the inputs is on its way to the store.
    serving: bool,
    /// When the gate was told to let nothing pass.
    pub(super) held_since: Option<u64>,
    /// Until when a gap is waited for; None: no other product is to run.
    gap_until: Option<u64>,
    /// Since when READY is off for a switch that has begun.
    off_since: Option<u64>,
    /// When READY last went off.
    ready_off: u64,
    /// When PASS last went on.
    pub(super) pass_on: u64,
}

impl Products {
    pub(super) fn new() -> Self {
        let loaded = Digest {
            number: 1,
            revision: 1,
        };
        Self {
            loaded,
            chosen: loaded,
            before: None,
            refused: None,
            revisions: [1; 3],
            shown: 1,
            inputs: RecipeInputs::new(RULES, 1, false, Instant(0)),
            wanted: None,
            reading: false,
            serving: false,
            held_since: None,
            gap_until: None,
            off_since: None,
            ready_off: 0,
            pass_on: 0,
        }
    }

    pub(super) fn loaded(&self) -> Digest {
        self.loaded
    }

    /// The active product with this number.
    fn numbered(&self, number: u8) -> Digest {
        let at = usize::from(number).saturating_sub(1);
        Digest {
            number,
            revision: self.revisions.get(at).copied().unwrap_or(1),
        }
    }
}

impl World {
    fn has_products(&self) -> bool {
        self.rates[Kind::ProductSwitch as usize] > 0
    }

    /// Somebody asks for something at the arrival of part `number`.
    pub(super) fn ask_for_something(&mut self, number: u64) {
        if !self.strikes(Kind::ProductSwitch, number) {
            return;
        }
        let now = self.now;
        let other = 3 - self.products.shown.clamp(1, 2);
        match self.of(Kind::ProductSwitch, number, 0, 100) {
            // The next revision is installed, or a person goes back to the one before.
            0..25 => self.at(now, Event::Install(true)),
            25..40 => self.at(now, Event::Install(false)),
            40..70 => self.at(now, Event::Show(other)),
            // Inputs that flicker before they settle.
            70..80 => {
                for step in 0..self.draw(2, 9) {
                    let shown = if step % 2 == 0 { other } else { 3 - other };
                    let later = now + step * self.draw(5 * MS, 40 * MS);
                    self.at(later, Event::Show(shown));
                }
                let later = now + 400 * MS;
                self.at(later, Event::Show(other));
            }
            rest => {
                let wrong = match rest {
                    80..87 => FAILS,
                    87..94 => MISSING,
                    94..97 => 5,
                    _ => 0,
                };
                self.at(now, Event::Show(wrong));
                let later = now + self.draw(300 * MS, 3000 * MS);
                self.at(later, Event::Show(other));
            }
        }
    }

    /// The PLC shows another number.
    pub(super) fn show(&mut self, number: u8) {
        let now = self.now;
        self.trace
            .note(now, || format!("the PLC asks for {number}"));
        self.products.shown = number;
        self.read_again();
    }

    fn read_again(&mut self) {
        if !self.products.reading {
            self.products.reading = true;
            let later = self.now + self.draw(0, LOOK);
            self.at(later, Event::ReadInputs);
        }
    }

    /// The trigger thread reads the inputs.
    pub(super) fn read_inputs(&mut self) {
        self.products.reading = false;
        if !self.vision.alive() {
            return;
        }
        if self.vision.process_stopped(self.now) {
            self.read_again();
            return;
        }
        let now = self.now;
        let reading = Reading {
            number: self.products.shown,
            parity: false,
            strobe: true,
        };
        let asked = self.products.inputs.see(Some(reading), Instant(now));
        self.hold(asked.hold);
        self.products.wanted = asked.wanted;
        if asked.acknowledged {
            self.products.refused = None;
        }
        if let Some(wanted) = asked.wanted {
            self.products.refused = self.products.refused.filter(|n| *n == wanted);
            if !self.products.serving && self.products.gap_until.is_none() {
                self.products.serving = true;
                let later = now + self.draw(0, STORE);
                let life = self.vision.life;
                self.at(later, Event::Serve(life));
            }
        }
        // Inputs that are clear are looked at again when they change.
        if asked.unclear == Some(crate::line::recipe::Unclear::Settling) {
            self.read_again();
        }
    }

    /// Tells the gate whether parts may pass.
    fn hold(&mut self, hold: bool) {
        if hold == self.products.held_since.is_some() {
            return;
        }
        let now = self.now;
        self.products.held_since = hold.then_some(now);
        self.deliver(now, Delivery::Fault(Fault::AskedProduct, hold));
    }

    /// The thread that watches the store does what the inputs ask for.
    pub(super) fn serve(&mut self, life: u64) {
        self.products.serving = false;
        let Some(wanted) = self.products.wanted else {
            return;
        };
        let sound = (1..=FAILS).contains(&wanted);
        let again = self.products.refused == Some(wanted);
        if life != self.vision.life {
            return;
        }
        if !sound || again {
            self.outcome.refused_switches += 1;
            return;
        }
        self.products.before = Some(self.products.loaded);
        self.products.chosen = self.products.numbered(wanted);
        self.another_is_to_run();
    }

    /// A person installs the next revision of the product that runs, or goes back to the one before.
    pub(super) fn install(&mut self, next: bool) {
        let number = self.products.chosen.number;
        let Some(revision) = self.products.revisions.get_mut(usize::from(number) - 1) else {
            return;
        };
        *revision = if next {
            *revision + 1
        } else {
            (*revision - 1).max(1)
        };
        self.products.chosen = self.products.numbered(number);
        if self.products.chosen != self.products.loaded && self.vision.alive() {
            self.another_is_to_run();
        }
    }

    fn another_is_to_run(&mut self) {
        let now = self.now;
        self.products.gap_until.get_or_insert(now + GAP);
        self.trace.note(now, || "another product is to run".into());
    }

    /// The gate thread ends between two parts if another product is to run. True: it has.
    pub(super) fn ends_for_another(&mut self, under_way: usize) -> bool {
        let Some(until) = self.products.gap_until else {
            return false;
        };
        let held = self.products.held_since.is_some();
        if under_way > 0 && self.now < until && !held {
            return false;
        }
        self.products.gap_until = None;
        self.outcome.switches += 1;
        let now = self.now;
        let ready = self.levels[Output::Ready as usize];
        let since = if ready { now } else { self.products.ready_off };
        self.products.off_since.get_or_insert(since);
        self.switch_off_all();
        self.vision_ends("another product is to run");
        true
    }

    /// A vision process begins with what the store says. False: it does not prove itself, and another
    /// process starts with the product before.
    pub(super) fn begins_with_a_product(&mut self) -> bool {
        if !self.has_products() {
            return true;
        }
        let products = &mut self.products;
        products.gap_until = None;
        products.serving = false;
        if products.chosen.number == FAILS {
            let before = products.before.take();
            products.refused = Some(FAILS);
            products.chosen = before.unwrap_or_else(|| products.numbered(1));
            self.outcome.refused_switches += 1;
            return false;
        }
        products.loaded = products.chosen;
        let (number, now) = (products.loaded.number, Instant(self.now));
        products.inputs = RecipeInputs::new(RULES, number, false, now);
        products.held_since = None;
        products.wanted = None;
        true
    }

    /// The inputs let nothing pass until they were read.
    pub(super) fn holds_until_read(&mut self) {
        if !self.has_products() {
            return;
        }
        let now = Instant(self.now);
        self.products.held_since = Some(self.now);
        self.fault_now(Fault::AskedProduct, true, now);
        self.read_again();
    }

    /// READY goes on or off.
    pub(super) fn ready_changes(&mut self, on: bool) {
        if !on {
            self.products.ready_off = self.now;
        } else if let Some(since) = self.products.off_since.take() {
            self.outcome
                .ready_off
                .record(self.now.saturating_sub(since));
        }
    }

    /// What the loaded product says of a part: every other revision rejects more.
    pub(super) fn verdict_here(&self, truth: PartVerdict, number: u64) -> PartVerdict {
        let Digest {
            number: product,
            revision,
        } = self.products.loaded;
        let strict = (u64::from(product) + revision) % 2 == 1;
        let differs = self.draws.percent(30, number, 40);
        match truth {
            PartVerdict::Ok if strict && differs && self.has_products() => PartVerdict::Ng,
            truth => truth,
        }
    }

    /// A part passes that the product `by` found OK: whether the gate knew, when it let the part pass,
    /// that another product is asked for. A pulse that has begun is not cut short.
    pub(super) fn passes_another_product(&self, by: Option<Digest>, gate_at: u64) -> bool {
        // The pulse of a part begins at most its length before the part is at its gate.
        let begins = gate_at.saturating_sub(self.line.pulse);
        let let_pass = match self.line.ejector {
            Ejector::Pass => begins.max(self.products.pass_on),
            Ejector::Reject => begins,
        };
        let held = self.products.held_since;
        let held = held.is_some_and(|at| at + TOLD < let_pass);
        held && by.is_some() && self.has_products()
    }
}
