//! The recipe inputs against an observer that is written independently of them.

use super::*;
use proptest::prelude::*;

const MS: fn(u64) -> Instant = Instant::from_millis;
const STABLE: u64 = 50;

fn rules(strobe: bool, parity: bool) -> RecipeRules {
    RecipeRules {
        wires: Wires {
            bits: 0b111,
            parity,
            strobe,
        },
        stable: Duration::from_millis(STABLE),
        known: 0b0010_1110,
    }
}

fn shown(number: u8) -> Option<Reading> {
    Some(Reading {
        number,
        parity: false,
        strobe: true,
    })
}

fn off(number: u8) -> Option<Reading> {
    Some(Reading {
        strobe: false,
        ..shown(number)?
    })
}

#[test]
fn without_a_strobe_the_number_that_stays_decides() {
    let mut inputs = RecipeInputs::new(rules(false, false), 1, true, MS(0));
    assert_eq!(inputs.see(None, MS(0)).unclear, Some(Unclear::Unreadable));
    assert_eq!(
        inputs.see(shown(1), MS(10)).unclear,
        Some(Unclear::Settling)
    );
    let settled = inputs.see(shown(1), MS(60));
    assert!(!settled.hold && settled.acknowledged, "{settled:?}");
    // The PLC changes two wires, and one is seen before the other.
    let between = inputs.see(shown(3), MS(70));
    assert!(between.hold && !between.acknowledged && between.wanted.is_none());
    assert!(inputs.see(shown(2), MS(71)).wanted.is_none());
    let asked = inputs.see(shown(2), MS(121));
    assert_eq!((asked.hold, asked.wanted), (true, Some(2)));
    // It thinks better of it.
    inputs.see(shown(1), MS(130));
    assert!(inputs.see(shown(1), MS(179)).hold);
    assert!(!inputs.see(shown(1), MS(180)).hold);
    assert_eq!(
        inputs.see(shown(4), MS(200)).unclear,
        Some(Unclear::Settling)
    );
    assert_eq!(
        inputs.see(shown(4), MS(250)).unclear,
        Some(Unclear::Unknown(4))
    );
    inputs.see(shown(0), MS(260));
    assert_eq!(inputs.see(shown(0), MS(400)).unclear, Some(Unclear::Zero));
}

#[test]
fn a_spike_on_a_wire_holds_the_line_and_asks_for_nothing() {
    let mut inputs = RecipeInputs::new(rules(false, false), 1, false, MS(0));
    inputs.see(shown(1), MS(0));
    assert!(!inputs.see(shown(1), MS(50)).hold);
    for at in (100..1_000).step_by(20) {
        let number = if at % 40 == 0 { 1 } else { 3 };
        let asked = inputs.see(shown(number), MS(at));
        assert!(asked.hold && asked.wanted.is_none(), "{at}: {asked:?}");
    }
}

#[test]
fn a_broken_wire_is_not_another_recipe_where_there_is_parity() {
    let mut inputs = RecipeInputs::new(rules(false, true), 3, false, MS(0));
    let three = Reading {
        number: 3,
        parity: true,
        strobe: true,
    };
    inputs.see(Some(three), MS(0));
    assert!(!inputs.see(Some(three), MS(50)).hold);
    let wires = [
        Reading { number: 2, ..three },
        Reading { number: 1, ..three },
        Reading {
            parity: false,
            ..three
        },
    ];
    for (at, broken) in (1..).zip(wires) {
        inputs.see(Some(broken), MS(at * 1_000));
        let asked = inputs.see(Some(broken), MS(at * 1_000 + 500));
        assert_eq!(asked.unclear, Some(Unclear::Parity), "{broken:?}");
        assert!(asked.hold && asked.wanted.is_none());
    }
    let unplugged = Reading {
        number: 0,
        parity: false,
        strobe: true,
    };
    inputs.see(Some(unplugged), MS(9_000));
    let asked = inputs.see(Some(unplugged), MS(9_500));
    assert_eq!(asked.unclear, Some(Unclear::Zero));
}

#[test]
fn a_strobe_is_held_until_it_is_answered() {
    let mut inputs = RecipeInputs::new(rules(true, false), 1, false, MS(0));
    // Without a strobe the number means nothing.
    assert!(!inputs.see(off(5), MS(0)).hold);
    assert!(!inputs.see(off(7), MS(100)).hold);
    assert!(inputs.see(shown(1), MS(200)).hold);
    assert!(inputs.see(shown(1), MS(250)).acknowledged);
    assert!(!inputs.see(off(1), MS(260)).hold);
    // A number without a product: the line waits for a sound strobe.
    inputs.see(shown(4), MS(300));
    assert_eq!(
        inputs.see(shown(4), MS(350)).unclear,
        Some(Unclear::Unknown(4))
    );
    for at in [400, 10_000] {
        assert_eq!(inputs.see(off(0), MS(at)).unclear, Some(Unclear::Unserved));
    }
    assert!(inputs.unserved());
    inputs.see(shown(1), MS(11_000));
    assert!(inputs.see(shown(1), MS(11_050)).acknowledged);
    assert!(!inputs.see(off(0), MS(11_060)).hold);
    assert!(!inputs.unserved());
    // Too short.
    inputs.see(shown(2), MS(12_000));
    assert_eq!(
        inputs.see(off(2), MS(12_030)).unclear,
        Some(Unclear::Unserved)
    );
}

#[test]
fn what_was_not_served_before_a_restart_is_not_forgotten() {
    let mut inputs = RecipeInputs::new(rules(true, false), 1, true, MS(0));
    assert!(inputs.see(off(0), MS(0)).hold);
    inputs.see(shown(1), MS(10));
    assert!(inputs.see(shown(1), MS(60)).acknowledged);
    assert!(!inputs.see(off(0), MS(70)).hold);
}

#[test]
fn only_wired_inputs_are_read() {
    let wires = Wires {
        bits: 0b1_0001,
        parity: false,
        strobe: false,
    };
    let mut asked = Vec::new();
    let reading = Reading::take(wires, |input| {
        asked.push(input);
        Some(input == Input::Recipe16)
    });
    assert_eq!(reading, shown(16));
    assert_eq!(asked, [Input::Recipe1, Input::Recipe16]);
    assert_eq!(Reading::take(wires, |_| None), None);
}

/// What the inputs show for a while.
#[derive(Clone, Debug)]
struct Stretch {
    reading: Option<Reading>,
    /// Looks at it, and the time between them.
    looks: u64,
    every: u64,
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let reading = proptest::option::weighted(
        0.9,
        (0u8..8, any::<bool>(), any::<bool>()).prop_map(|(number, parity, strobe)| Reading {
            number,
            parity,
            strobe,
        }),
    );
    let stretch = (reading, 1u64..8, 1u64..40).prop_map(|(reading, looks, every)| Stretch {
        reading,
        looks,
        every,
    });
    proptest::collection::vec(stretch, 1..60)
}

proptest! {
    /// The observer keeps the whole past and asks it anew each time; the machine keeps five values.
    #[test]
    fn no_part_may_pass_unless_what_was_asked_for_last_is_what_runs(
        stretches in stretches(), strobe: bool, parity: bool, loaded in 0u8..8, before: bool,
    ) {
        let rules = rules(strobe, parity);
        let mut inputs = RecipeInputs::new(rules, loaded, before, MS(0));
        let mut past: Vec<(u64, Option<Reading>)> = Vec::new();
        let mut now = 0;
        let sound = |r: Reading| {
            let odd = (r.number.count_ones() + u32::from(r.parity)) % 2 == 1;
            (!parity || odd) && r.number != 0 && rules.known >> r.number & 1 == 1
        };
        for stretch in stretches {
            let reading = stretch.reading.map(|r| Reading {
                parity: r.parity && parity,
                strobe: r.strobe || !strobe,
                ..r
            });
            for _ in 0..stretch.looks {
                now += stretch.every;
                past.push((now, reading));
                let asked = inputs.see(reading, MS(now));
                // For how long every look before showed the same.
                let same = past.iter().rev().take_while(|(_, r)| *r == reading);
                let since = same.last().map_or(now, |(at, _)| *at);
                let settled = now - since >= STABLE;
                let served = reading.filter(|r| r.strobe && settled && sound(*r));
                // What the last strobe that was on led to.
                let mut last = strobe && before;
                for (at, (when, r)) in past.iter().enumerate() {
                    let Some(r) = r.filter(|r| r.strobe) else { continue };
                    let run = past[..=at].iter().rev().take_while(|(_, other)| *other == Some(r));
                    let began = run.last().map_or(*when, |(at, _)| *at);
                    let answered = when - began >= STABLE && sound(r) && r.number == loaded;
                    last = strobe && !answered;
                }
                let may_pass = match reading {
                    None => false,
                    Some(r) if r.strobe => served.is_some_and(|r| r.number == loaded),
                    Some(_) => !last,
                };
                prop_assert_eq!(asked.hold, !may_pass, "{:?} at {}", asked, now);
                prop_assert_eq!(asked.acknowledged, served.is_some_and(|r| r.number == loaded));
                let wanted = served.map(|r| r.number).filter(|n| *n != loaded);
                prop_assert_eq!(asked.wanted, wanted);
                prop_assert!(asked.hold == (asked.unclear.is_some() || asked.wanted.is_some()));
            }
        }
    }
}
