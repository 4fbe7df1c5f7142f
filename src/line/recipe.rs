//! Which product the recipe inputs ask for: a binary number on up to five inputs, which must stay as it
//! is for a while. With a strobe it counts only while the strobe is on; without one it counts always.
//!
//! Whatever is not a clear wish for the product that runs lets no part pass: inputs that change, a number
//! without a product, a wrong parity, a strobe that ends too early, inputs that cannot be read. The
//! product that runs stays as it is meanwhile.

use super::devices::Input;
use crate::time::{Duration, Instant};

/// What the inputs show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The binary number.
    pub number: u8,
    /// The parity input; false if it is not wired.
    pub parity: bool,
    /// The strobe; true if it is not wired.
    pub strobe: bool,
}

impl Reading {
    /// The inputs of the number, from 1 to 16.
    pub const BITS: [Input; 5] = [
        Input::Recipe1,
        Input::Recipe2,
        Input::Recipe4,
        Input::Recipe8,
        Input::Recipe16,
    ];

    /// Reads the wired inputs by `level`; None if one of them has no level.
    pub fn take(wires: Wires, mut level: impl FnMut(Input) -> Option<bool>) -> Option<Self> {
        let mut number = 0;
        for (at, input) in Self::BITS.into_iter().enumerate() {
            if wires.bits & (1 << at) != 0 {
                number |= u8::from(level(input)?) << at;
            }
        }
        Some(Self {
            number,
            parity: wires.parity && level(Input::RecipeParity)?,
            strobe: !wires.strobe || level(Input::RecipeStrobe)?,
        })
    }

    /// Number of the inputs that are on, without the strobe.
    fn ones(self) -> u32 {
        self.number.count_ones() + u32::from(self.parity)
    }
}

/// Which inputs are wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wires {
    /// Bit 0 is the input of 1, bit 1 that of 2, and so on.
    pub bits: u8,
    /// An input makes the number of inputs that are on odd.
    pub parity: bool,
    /// The number counts only while this input is on.
    pub strobe: bool,
}

/// What is asked of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipeRules {
    /// Which inputs there are.
    pub wires: Wires,
    /// They count after they have been as they are for so long.
    pub stable: Duration,
    /// Bit n: number n is a product of this line.
    pub known: u32,
}

/// Why the inputs ask for nothing that the line can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// They cannot be read.
    Unreadable,
    /// They have not been as they are for long enough.
    Settling,
    /// All are off, as with an unplugged cable.
    Zero,
    /// The number of inputs that are on is even: a wire is broken or short-circuited.
    Parity,
    /// A number without a product.
    Unknown(u8),
    /// What a strobe asked for was not done before the strobe went off, or it could not start.
    Unserved,
}

/// What the line does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// No part may pass.
    pub hold: bool,
    /// The PLC may rely on it: what it asks for now is what runs.
    pub acknowledged: bool,
    /// Another product of this line is to run.
    pub wanted: Option<u8>,
    /// Why nothing can be done.
    pub unclear: Option<Unclear>,
}

/// The recipe inputs of a line, over time.
#[derive(Clone, Copy, Debug)]
pub struct RecipeInputs {
    rules: RecipeRules,
    /// The number of the product that runs; 0: it has none.
    loaded: u8,
    /// What they showed last, and since when.
    last: Option<Reading>,
    since: Instant,
    /// A strobe is on that was not answered yet.
    open: bool,
    /// The last strobe was not answered with what it asked for.
    unserved: bool,
}

impl RecipeInputs {
    /// While the product with the number `loaded` runs. `unserved`: what was asked for before this
    /// process began is not what runs.
    pub fn new(rules: RecipeRules, loaded: u8, unserved: bool, now: Instant) -> Self {
        Self {
            rules,
            loaded,
            last: None,
            since: now,
            open: false,
            unserved: unserved && rules.wires.strobe,
        }
    }

    /// Whether the last strobe was not answered with what it asked for.
    pub fn unserved(&self) -> bool {
        self.unserved || self.open
    }

    /// The inputs show `reading` at `now`; None if they cannot be read.
    pub fn see(&mut self, reading: Option<Reading>, now: Instant) -> Asked {
        if reading != self.last {
            self.last = reading;
            self.since = now;
        }
        let hold = |why| Asked {
            hold: true,
            acknowledged: false,
            wanted: None,
            unclear: Some(why),
        };
        let Some(reading) = reading else {
            return hold(Unclear::Unreadable);
        };
        let strobed = self.rules.wires.strobe;
        if !reading.strobe {
            self.unserved |= std::mem::take(&mut self.open);
            if self.unserved {
                return hold(Unclear::Unserved);
            }
            return Asked {
                hold: false,
                acknowledged: false,
                wanted: None,
                unclear: None,
            };
        }
        if now.since(self.since) < self.rules.stable {
            self.open = strobed;
            return hold(Unclear::Settling);
        }
        let why = match reading.number {
            _ if self.rules.wires.parity && reading.ones() % 2 == 0 => Some(match reading.ones() {
                0 => Unclear::Zero,
                _ => Unclear::Parity,
            }),
            0 => Some(Unclear::Zero),
            number if self.rules.known & (1 << number) == 0 => Some(Unclear::Unknown(number)),
            _ => None,
        };
        let asked = match why {
            Some(why) => hold(why),
            None if reading.number == self.loaded => Asked {
                hold: false,
                acknowledged: true,
                wanted: None,
                unclear: None,
            },
            None => Asked {
                hold: true,
                acknowledged: false,
                wanted: Some(reading.number),
                unclear: None,
            },
        };
        if strobed {
            self.open = !asked.acknowledged;
            self.unserved &= !asked.acknowledged;
        }
        asked
    }
}

#[cfg(test)]
mod tests;
