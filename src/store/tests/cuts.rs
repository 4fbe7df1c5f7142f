//! The power fails, the disk is full or broken, at every call of every step: afterwards the store is
//! as it was before the step or after it, its products and its history are whole, and the next step
//! works.

use super::sim::{Fault, SimDisk};
use super::*;
use std::collections::BTreeSet;
use std::io::ErrorKind;

type Step = fn(&mut Store<SimDisk>) -> Result<(), StoreError>;

fn put(store: &mut Store<SimDisk>, revision: u32) -> Result<(), StoreError> {
    install(store, "lid", revision).map(|_| ())
}

fn refuse(store: &mut Store<SimDisk>) -> Result<(), StoreError> {
    let (identity, bytes) = product("lid", 2);
    let prove = |_: &[u8]| Err("golden-1: 2.0 here, 3.0 in the fit".to_owned());
    match store.install(identity, &bytes, false, &who("anna"), prove) {
        Err(StoreError::Unproven(_)) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Every step, from a store that it fits.
fn steps() -> Vec<(&'static str, Store<SimDisk>, Step)> {
    let full = || {
        let mut store = with_trial();
        store.confirm(None, &who("anna")).expect("confirmed");
        store
    };
    vec![
        ("first install", opened(SimDisk::default()), |s| put(s, 1)),
        ("install into an empty slot", with_one(), |s| put(s, 2)),
        ("install over an older product", full(), |s| put(s, 3)),
        ("install of what the other slot holds", full(), |s| {
            let (identity, bytes) = product("lid", 1);
            let who = who("anna");
            s.install(identity, &bytes, true, &who, |_| Ok(()))
                .map(|_| ())
        }),
        ("refused install", with_one(), refuse),
        ("confirm", with_trial(), |s| s.confirm(None, &who("anna"))),
        ("threshold set", full(), |s| {
            s.set_threshold(Some(2.5), "scratches pass".into(), &who("anna"))
                .map(|_| ())
        }),
        (
            "threshold restored",
            {
                let mut store = full();
                store
                    .set_threshold(Some(2.5), "scratches pass".into(), &who("anna"))
                    .expect("set");
                store
            },
            |s| {
                s.set_threshold(None, "too many rejects".into(), &who("anna"))
                    .map(|_| ())
            },
        ),
        ("rollback of a trial", with_trial(), |s| {
            s.rollback(None, &who("anna")).map(|_| ())
        }),
        ("rollback", full(), |s| {
            s.rollback(Some("scratches pass".into()), &who("anna"))
                .map(|_| ())
        }),
        ("return by itself", with_trial(), |s| {
            s.give_up("crash loop".into(), &who("the line")).map(|_| ())
        }),
        (
            "return without another product",
            {
                let mut store = opened(SimDisk::default());
                put(&mut store, 1).expect("installed");
                store
            },
            |s| match s.give_up("crash loop".into(), &who("the line")) {
                Err(StoreError::NoOther(_)) => Ok(()),
                other => other.map(|_| ()),
            },
        ),
        ("counts of a trial", with_trial(), |s| {
            s.note(|t| t.parts += 100)
        }),
        (
            "confirm with a damaged history",
            {
                let mut store = with_trial().into_disk();
                store.damage(super::super::history::HISTORY);
                opened(store)
            },
            |s| s.confirm(None, &who("anna")),
        ),
    ]
}

/// The state without what a cut step may have counted on its way.
fn essence(state: &State) -> State {
    let mut state = state.clone();
    state.sequence = 0;
    state
}

/// What must hold whatever happened: the state is one of `allowed`, every product that can run is
/// whole, and so is the history.
fn whole(disk: &SimDisk, allowed: &[&State], broken_before: bool) -> State {
    let store = opened(disk.fresh());
    let state = store.state().clone();
    let known = allowed.iter().any(|a| essence(a) == essence(&state));
    assert!(known, "{state:#?} is none of {allowed:#?}");
    for slot in Slot::ALL {
        let sound = state
            .held(slot)
            .is_some_and(|held| !matches!(held.state, SlotState::Bad { .. }));
        if sound {
            store.bundle(slot).expect("a product that can run is whole");
        }
    }
    let records = store.history().expect("read");
    if !broken_before {
        assert_eq!(records.fault, None);
        assert_eq!(records.entries.len() as u64, state.history.entries);
    }
    state
}

/// A person tries again afterwards, whatever is there.
fn goes_on(disk: &SimDisk) {
    let mut store = opened(disk.fresh());
    if store.state().trial().is_some() {
        store.confirm(None, &who("anna")).expect("confirmed");
    }
    install(&mut store, "cap", 1).expect("the next install works");
    store.confirm(None, &who("anna")).expect("confirmed");
    let (after, _) = store.into_disk().after_cut();
    for disk in after {
        let store = opened(disk);
        let (_, held) = store.state().active().expect("active");
        assert_eq!(held.identity.product, "cap");
        assert_eq!(store.history().expect("read").fault, None);
    }
}

#[derive(Default)]
struct Count {
    points: usize,
    tried: usize,
    distinct: usize,
}

/// Cuts `step` at every call. `deep`: cuts the next step too, from everything that the first cut left.
fn cut_everywhere(name: &str, before: &Store<SimDisk>, step: Step, count: &mut Count) {
    let start = before.disk().fresh();
    let old = before.state().clone();
    let broken = before.history().expect("read").fault.is_some();
    let mut after = opened(start.clone());
    step(&mut after).expect(name);
    let new = after.state().clone();
    let done = after.into_disk();
    let mut images = BTreeSet::new();
    for at in 0..=done.calls {
        let mut disk = start.clone();
        disk.fault = Some((at, Fault::Cut));
        let mut store = opened(disk);
        let outcome = step(&mut store);
        let finished = at == done.calls;
        assert_eq!(
            outcome.is_ok(),
            finished || only_tidies(&done.log[at..]),
            "{name}, {at}"
        );
        let (disks, tried) = store.into_disk().after_cut();
        count.points += 1;
        count.tried += tried;
        for disk in disks {
            let allowed: &[&State] = if finished { &[&new] } else { &[&old, &new] };
            let state = whole(&disk, allowed, broken);
            if images.insert(disk.look()) {
                count.distinct += 1;
                goes_on(&disk);
                if essence(&state) == essence(&new) {
                    continue;
                }
                // Whoever repeats the step gets what was wanted.
                let mut store = opened(disk);
                step(&mut store).expect("repeated");
                assert_eq!(store.state().active, new.active, "{name}");
            }
        }
    }
}

/// Whether these calls only remove what nothing names.
fn only_tidies(calls: &[String]) -> bool {
    calls.iter().all(|call| call.starts_with("remove "))
}

#[test]
fn a_cut_anywhere_leaves_the_old_product_or_the_new_one_and_a_whole_history() {
    let mut all = Count::default();
    for (name, before, step) in steps() {
        let mut count = Count::default();
        cut_everywhere(name, &before, step, &mut count);
        println!(
            "{name}: {} points, {} crash images, {} of them distinct",
            count.points, count.tried, count.distinct
        );
        all.points += count.points;
        all.tried += count.tried;
        all.distinct += count.distinct;
    }
    println!(
        "in all: {} points, {} crash images, {} of them distinct",
        all.points, all.tried, all.distinct
    );
    // Fewer would mean that something is not tried any more.
    assert!(all.points >= 145 && all.tried >= 5_000 && all.distinct >= 230);
}

#[test]
fn a_full_or_failing_disk_leaves_the_old_product_or_the_new_one_and_a_whole_history() {
    let (mut points, mut images) = (0, 0);
    for (name, before, step) in steps() {
        let start = before.disk().fresh();
        let old = before.state().clone();
        let broken = before.history().expect("read").fault.is_some();
        let mut after = opened(start.clone());
        step(&mut after).expect(name);
        let new = after.state().clone();
        let calls = after.disk().log.clone();
        for (at, call) in calls.iter().enumerate() {
            for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
                let what = format!("{name}: {kind} at call {at}, {call}");
                let mut disk = start.clone();
                disk.fault = Some((at, Fault::Error(kind)));
                let mut store = opened(disk);
                let outcome = step(&mut store);
                assert!(outcome.is_err() || call.starts_with("remove "), "{what}");
                let mut disk = store.into_disk();
                disk.fault = None;
                points += 1;
                // The program goes on, or the power fails after the error.
                whole(&disk, &[&old, &new], broken);
                let (cut, tried) = disk.after_cut();
                images += tried;
                for disk in &cut {
                    whole(disk, &[&old, &new], broken);
                }
                goes_on(&disk);
            }
        }
    }
    println!("{points} failures, {images} crash images after them");
    assert!(points > 150);
}

#[test]
fn cuts_of_the_step_after_a_cut_change_nothing() {
    let mut points = 0;
    for revision in [1, 2] {
        let before = if revision == 1 {
            opened(SimDisk::default())
        } else {
            with_one()
        };
        let start = before.disk().fresh();
        let mut after = opened(start.clone());
        put(&mut after, revision).expect("installed");
        let calls = after.disk().calls;
        let mut images = BTreeSet::new();
        for at in 0..calls {
            let mut disk = start.clone();
            disk.fault = Some((at, Fault::Cut));
            let mut store = opened(disk);
            let _ = put(&mut store, revision);
            for disk in store.into_disk().after_cut().0 {
                if !images.insert(disk.look()) {
                    continue;
                }
                let store = opened(disk);
                let step: Step = match store.state().trial() {
                    Some(_) => |s| s.confirm(None, &who("anna")),
                    None => |s| put(s, 7),
                };
                let mut count = Count::default();
                cut_everywhere("second step", &store, step, &mut count);
                points += count.points;
            }
        }
    }
    println!("{points} points of second steps");
    assert!(points > 300);
}
