//! Which product is asked for, from the threads that know it to the gate thread, which lets no part pass
//! while it is another one than the product that runs.

use crate::line::recipe::{Asked, Unclear};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// Why no part may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AskedWhy {
    /// Nothing is wrong.
    #[default]
    Nothing,
    /// The recipe inputs cannot be read.
    Unreadable,
    /// They change.
    Settling,
    /// All of them are off.
    Zero,
    /// Their parity is wrong.
    Parity,
    /// They ask for a number without a product.
    Unknown,
    /// A strobe ended before its product ran.
    Unserved,
    /// Another product is on its way.
    Switching,
    /// The product is not installed, or not whole.
    NotInstalled,
    /// The product could not start.
    Failed,
}

impl AskedWhy {
    const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Unreadable,
        Self::Settling,
        Self::Zero,
        Self::Parity,
        Self::Unknown,
        Self::Unserved,
        Self::Switching,
        Self::NotInstalled,
        Self::Failed,
    ];

    /// Words for logs and people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nothing => "what is asked for runs",
            Self::Unreadable => "the recipe inputs cannot be read",
            Self::Settling => "the recipe inputs change",
            Self::Zero => "the recipe inputs are all off: no recipe, or an unplugged cable",
            Self::Parity => {
                "the parity of the recipe inputs is wrong: a broken or short-circuited wire"
            }
            Self::Unknown => "the recipe inputs ask for a number without a product",
            Self::Unserved => {
                "what was asked for last is not what runs; ask again for this product or for another one"
            }
            Self::Switching => "the product that is asked for is being loaded",
            Self::NotInstalled => "the product that is asked for is not installed here, or damaged",
            Self::Failed => "the product that is asked for could not start; see `partgate store`",
        }
    }
}

impl fmt::Display for AskedWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl From<Unclear> for AskedWhy {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Unreadable => Self::Unreadable,
            Unclear::Settling => Self::Settling,
            Unclear::Zero => Self::Zero,
            Unclear::Parity => Self::Parity,
            Unclear::Unknown(_) => Self::Unknown,
            Unclear::Unserved => Self::Unserved,
        }
    }
}

/// What is asked for, shared between threads. No locks.
#[derive(Debug, Default)]
pub struct AskedProduct {
    /// The recipe inputs let nothing pass.
    inputs_hold: AtomicBool,
    /// The choice on the disk lets nothing pass.
    choice_holds: AtomicBool,
    acknowledged: AtomicBool,
    /// The last request of the inputs is over: it was answered, or the strobe is off.
    over: AtomicBool,
    /// The last strobe was not answered.
    unserved: AtomicBool,
    wanted: AtomicU8,
    /// The number at the inputs, for logs.
    number: AtomicU8,
    by_inputs: AtomicU8,
    by_store: AtomicU8,
}

impl AskedProduct {
    /// Whether no part may pass.
    pub fn holds(&self) -> bool {
        self.inputs_hold.load(Relaxed) || self.choice_holds.load(Relaxed)
    }

    /// Whether the recipe inputs ask for what runs.
    pub fn acknowledged(&self) -> bool {
        self.acknowledged.load(Relaxed)
    }

    /// The number that the inputs show.
    pub fn number(&self) -> u8 {
        self.number.load(Relaxed)
    }

    /// Why no part may pass.
    pub fn why(&self) -> AskedWhy {
        let of = |why: &AtomicU8| {
            let why = AskedWhy::ALL.get(usize::from(why.load(Relaxed)));
            why.copied().unwrap_or_default()
        };
        match (self.holds(), of(&self.by_inputs), of(&self.by_store)) {
            (false, ..) => AskedWhy::Nothing,
            (true, AskedWhy::Nothing, AskedWhy::Nothing) if self.wanted() != 0 => {
                AskedWhy::Switching
            }
            (true, AskedWhy::Nothing, AskedWhy::Nothing) => AskedWhy::Unserved,
            (true, AskedWhy::Nothing, store) => store,
            (true, inputs, _) => inputs,
        }
    }

    /// The number of another product that the inputs ask for; 0: none.
    pub(super) fn wanted(&self) -> u8 {
        self.wanted.load(Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub(super) fn is_unserved(&self) -> bool {
        self.unserved.load(Relaxed)
    }

    /// The trigger thread has read the inputs. True: the gate thread must know at once.
    pub(super) fn see(&self, number: u8, idle: bool, asked: Asked, unserved: bool) -> bool {
        let why = asked.unclear.map_or(AskedWhy::Nothing, AskedWhy::from);
        self.number.store(number, Relaxed);
        self.by_inputs.store(why as u8, Relaxed);
        self.wanted.store(asked.wanted.unwrap_or(0), Relaxed);
        self.unserved.store(unserved, Relaxed);
        self.over.store(asked.acknowledged || idle, Relaxed);
        let held = self.inputs_hold.swap(asked.hold, Relaxed);
        let acknowledged = self.acknowledged.swap(asked.acknowledged, Relaxed);
        (held, acknowledged) != (asked.hold, asked.acknowledged)
    }

    /// The inputs have not been read yet.
    pub(super) fn hold_until_read(&self) {
        self.inputs_hold.store(true, Relaxed);
        self.by_inputs.store(AskedWhy::Settling as u8, Relaxed);
    }

    /// Whether the choice on the disk lets nothing pass.
    pub fn hold_by_choice(&self, holds: bool) {
        self.choice_holds.store(holds, Relaxed);
    }

    /// What came of the wish for a product.
    pub(super) fn store_says(&self, why: AskedWhy) {
        self.by_store.store(why as u8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_number() {
        for (number, why) in AskedWhy::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number, "{why}");
        }
    }

    #[test]
    fn the_inputs_speak_first_and_nothing_is_wrong_without_a_hold() {
        let asked = AskedProduct::default();
        assert_eq!(asked.why(), AskedWhy::Nothing);
        asked.hold_by_choice(true);
        assert_eq!((asked.holds(), asked.why()), (true, AskedWhy::Unserved));
        asked.store_says(AskedWhy::Failed);
        assert_eq!(asked.why(), AskedWhy::Failed);
        asked.hold_until_read();
        assert_eq!(asked.why(), AskedWhy::Settling);
        let wish = |wanted| Asked {
            hold: true,
            acknowledged: false,
            wanted,
            unclear: None,
        };
        asked.store_says(AskedWhy::Nothing);
        assert!(!asked.see(2, false, wish(Some(2)), false));
        assert_eq!(asked.why(), AskedWhy::Switching);
        asked.hold_by_choice(false);
        let served = Asked {
            hold: false,
            acknowledged: true,
            ..wish(None)
        };
        assert!(asked.see(2, false, served, false), "the gate must know");
        assert_eq!((asked.holds(), asked.why()), (false, AskedWhy::Nothing));
    }
}
