//! What each step does, and what it refuses.

use super::*;
use std::time::Duration;

const LIMITS: TrialLimits = TrialLimits {
    confirm_after: Some(100),
    parts: Some(1000),
    time: Duration::from_secs(3600),
    starts: 3,
    restarts: 3,
};

fn revision(store: &Store<SimDisk>) -> u32 {
    store.state().active().expect("active").1.identity.revision
}

#[test]
fn a_product_goes_from_trial_to_confirmed_and_back() {
    let mut store = with_one();
    assert_eq!(store.state().active, Some(Slot::A));
    assert_eq!(
        install(&mut store, "lid", 2).expect("installed"),
        Installed::Trial(Slot::B)
    );
    assert!(store.state().trial().is_some());
    let refused = install(&mut store, "lid", 3).expect_err("a trial runs");
    assert!(refused.to_string().contains("confirm"), "{refused}");
    assert_eq!(
        install(&mut store, "lid", 2).expect("the same again"),
        Installed::Already(Slot::B)
    );
    store
        .confirm(Some("ran a shift".into()), &who("anna"))
        .expect("confirmed");
    assert!(matches!(
        store.confirm(None, &who("anna")),
        Err(StoreError::NoTrial)
    ));
    // Both are confirmed, so a person can go back and forth.
    assert_eq!(store.rollback(None, &who("ben")).expect("back"), Slot::A);
    assert_eq!(revision(&store), 1);
    assert_eq!(store.rollback(None, &who("ben")).expect("forth"), Slot::B);
    assert_eq!(revision(&store), 2);
    let records = store.history().expect("read");
    assert_eq!(records.fault, None);
    let events: Vec<Event> = records.entries.iter().map(|e| e.event).collect();
    assert_eq!(
        events,
        [
            Event::Installed,
            Event::Confirmed,
            Event::Installed,
            Event::Confirmed,
            Event::RolledBack,
            Event::RolledBack
        ]
    );
    assert_eq!(records.entries[3].why.as_deref(), Some("ran a shift"));
    assert_eq!(records.entries[5].by, "ben");
    assert_eq!(records.entries[5].wall, "1970-01-01T00:00:00.000Z");
}

#[test]
fn an_older_revision_is_refused_until_a_person_insists() {
    let mut store = with_trial();
    // Seen, but not confirmed: the floor is still 1.
    store.rollback(None, &who("anna")).expect("back");
    store.confirm(None, &who("anna")).expect_err("no trial");
    install(&mut store, "lid", 3).expect("newer");
    store.confirm(None, &who("anna")).expect("confirmed");
    let refused = install(&mut store, "lid", 2).expect_err("older");
    let text = refused.to_string();
    assert!(
        text.contains("revision 2") && text.contains("revision 3"),
        "{text}"
    );
    install(&mut store, "cap", 1).expect("another product has its own revisions");
    store.confirm(None, &who("anna")).expect("confirmed");
    let (identity, bytes) = product("lid", 2);
    store
        .install(identity, &bytes, true, &who("anna"), |_| Ok(()))
        .expect("insisted");
    store.confirm(None, &who("anna")).expect("confirmed");
    // The floor survives the older revision.
    assert_eq!(store.state().floors["lid"], 3);
    let records = store.history().expect("read");
    let last = records
        .entries
        .iter()
        .rev()
        .find(|e| e.event == Event::Installed);
    let why = last.and_then(|e| e.why.clone()).expect("said");
    assert!(why.contains("--allow-downgrade"), "{why}");
    let refused = records.entries.iter().find(|e| e.event == Event::Refused);
    assert_eq!(refused.expect("noted").product, Some(product("lid", 2).0));
}

#[test]
fn what_does_not_prove_itself_leaves_everything_as_it_was() {
    let mut store = with_one();
    let before = store.state().clone();
    let (identity, bytes) = product("lid", 2);
    let prove = |_: &[u8]| Err("it disagrees".to_owned());
    let refused = store.install(identity, &bytes, false, &who("anna"), prove);
    assert!(matches!(refused, Err(StoreError::Unproven(_))));
    assert_eq!(store.state().active, before.active);
    assert_eq!((&store.state().a, &store.state().b), (&before.a, &before.b));
    assert_eq!(
        store
            .disk()
            .names()
            .iter()
            .filter(|n| n.starts_with("slot"))
            .count(),
        1
    );
    assert_eq!(store.history().expect("read").entries.len(), 3);
}

#[test]
fn what_was_given_up_is_not_returned_to() {
    let mut store = with_trial();
    let slot = store
        .give_up("crash loop".into(), &who("the line"))
        .expect("back");
    assert_eq!((slot, revision(&store)), (Slot::A, 1));
    let refused = store.rollback(None, &who("anna")).expect_err("bad");
    assert!(refused.to_string().contains("crash loop"), "{refused}");
    // A confirmed product without another one stays, and the caller hears why.
    let before = store.state().clone();
    store
        .give_up("failed parity".into(), &who("the line"))
        .expect_err("no other");
    assert_eq!(store.state(), &before);
    // The same product may be tried again: the cause may have been another one.
    install(&mut store, "lid", 2).expect("again");
    assert!(store.state().trial().is_some());
}

#[test]
fn damage_in_the_folder_is_said() {
    let mut disk = with_one().into_disk();
    let name = disk
        .names()
        .into_iter()
        .find(|n| n.starts_with("slot-a"))
        .map(str::to_owned);
    disk.damage(&name.expect("a slot"));
    let error = opened(disk).bundle(Slot::A).expect_err("damaged");
    assert!(
        error.to_string().contains("slot A: its file is damaged"),
        "{error}"
    );

    let mut disk = with_one().into_disk();
    disk.damage("state");
    assert!(matches!(Store::open(disk), Err(StoreError::State(_))));

    let mut disk = with_one().into_disk();
    disk.lose("state");
    assert!(matches!(Store::open(disk), Err(StoreError::NoState(_))));

    // A damaged history is put aside, and the next entry says so.
    let mut disk = with_one().into_disk();
    disk.damage("history");
    let mut store = opened(disk);
    assert!(store.history().expect("read").fault.is_some());
    install(&mut store, "lid", 2).expect("installed");
    let records = store.history().expect("read");
    assert_eq!(records.fault, None);
    assert_eq!(records.entries[0].event, Event::HistoryDamaged);
    assert_eq!(records.entries[1].event, Event::Installed);
    assert!(
        store
            .disk()
            .names()
            .iter()
            .any(|n| n.starts_with("history.damaged-"))
    );
}

#[test]
fn counts_and_running_time_end_a_trial_and_the_wall_clock_does_not() {
    let trial = Trial::default();
    assert_eq!(trial.end(&LIMITS), None);
    let returns = |trial: Trial| matches!(trial.end(&LIMITS), Some(TrialEnd::Return(_)));
    let starts = |starts| Trial { starts, ..trial };
    assert!(!returns(starts(3)) && returns(starts(4)));
    let restarts = |restarts| Trial { restarts, ..trial };
    assert!(!returns(restarts(3)) && returns(restarts(4)));
    assert!(returns(Trial {
        parts: 1000,
        good: 99,
        ..trial
    }));
    assert!(returns(Trial {
        seconds: 3600,
        ..trial
    }));
    let good = Trial {
        parts: 1000,
        good: 100,
        ..trial
    };
    assert_eq!(good.end(&LIMITS), Some(TrialEnd::Confirm));
    // A crash loop is one whatever passed before.
    assert!(returns(Trial { starts: 4, ..good }));
    for year in [0u64, 4_102_444_800] {
        let mut store = with_one();
        let mut later = who("anna");
        later.wall = SystemTime::UNIX_EPOCH + Duration::from_secs(year);
        let (identity, bytes) = product("lid", 2);
        store
            .install(identity, &bytes, false, &later, |_| Ok(()))
            .expect("installed");
        assert_eq!(store.state().trial().and_then(|t| t.end(&LIMITS)), None);
        store.confirm(None, &later).expect("confirmed");
        let (identity, bytes) = product("lid", 1);
        let refused = store.install(identity, &bytes, false, &later, |_| Ok(()));
        assert!(matches!(refused, Err(StoreError::Downgrade { .. })));
    }
}

#[test]
fn a_long_reason_fits_into_an_entry() {
    let mut store = with_trial();
    store
        .rollback(Some("ö".repeat(5000)), &who("anna"))
        .expect("back");
    let records = opened(store.into_disk()).history().expect("read");
    assert_eq!(records.fault, None);
    let why = records.entries.last().and_then(|e| e.why.clone());
    assert_eq!(why.expect("said").chars().count(), 1000);
}
