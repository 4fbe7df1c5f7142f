//! Several products: which one runs, after cuts and failures too.

use super::super::choice::Choice;
use super::super::folder::Folder;
use super::sim::Fault;
use super::*;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

fn choice(product: &str, before: Option<&str>) -> Choice {
    let before = before.map(str::to_owned);
    Choice::new(
        product,
        before,
        "anna".into(),
        "1970-01-01T00:00:00.000Z".into(),
    )
}

/// A disk with this choice, if one is given.
fn disk(with: Option<&Choice>) -> SimDisk {
    let mut disk = SimDisk::default();
    if let Some(choice) = with {
        choice.write(&mut disk).expect("written");
    }
    disk.fresh()
}

#[test]
fn a_cut_or_a_failure_anywhere_leaves_the_old_choice_or_the_new_one() {
    let (lid, base) = (choice("lid", None), choice("base", Some("lid")));
    let (mut points, mut tried, mut distinct) = (0, 0, 0);
    for before in [None, Some(&lid)] {
        let start = disk(before);
        let mut done = start.clone();
        base.write(&mut done).expect("written");
        for at in 0..=done.calls {
            let faults = [
                Fault::Cut,
                Fault::Error(ErrorKind::StorageFull),
                Fault::Error(ErrorKind::Other),
            ];
            for fault in faults {
                let mut disk = start.clone();
                disk.fault = Some((at, fault));
                let written = base.write(&mut disk);
                assert_eq!(written.is_ok(), at == done.calls, "{at}");
                disk.fault = None;
                points += 1;
                let (after, images) = disk.after_cut();
                tried += images;
                let mut seen = BTreeSet::new();
                for mut disk in after {
                    let read = Choice::read(&disk).expect("whole");
                    let old = read.as_ref() == before && at < done.calls;
                    assert!(old || read.as_ref() == Some(&base), "{at}: {read:?}");
                    if seen.insert(disk.look()) {
                        distinct += 1;
                        // The next one works, whatever was left.
                        lid.write(&mut disk).expect("the next one");
                        assert_eq!(Choice::read(&disk).expect("read"), Some(lid.clone()));
                    }
                }
            }
        }
    }
    println!("choices: {points} points, {tried} crash images, {distinct} of them distinct");
    assert!(points >= 40 && tried >= 100, "{points}, {tried}");
}

#[test]
fn a_damaged_choice_is_no_choice() {
    let mut disk = disk(Some(&choice("lid", None)));
    disk.damage("chosen");
    let error = Choice::read(&disk).expect_err("damaged");
    assert!(error.to_string().contains("partgate choose"), "{error}");
}

fn put(products: &Products, name: &str, revision: u32) {
    let folder = products.store_of(name).expect("known");
    std::fs::create_dir_all(&folder).expect("folder");
    let mut store = Store::open(Folder::new(&folder)).expect("a store");
    let (identity, bytes) = product(name, revision);
    let installed = store.install(identity, &bytes, false, &who("anna"), |_| Ok(()));
    installed.expect("installed");
    store.confirm(None, &who("anna")).expect("confirmed");
}

fn of(folder: &Path, chooser: Chooser) -> Products {
    let names = ["lid", "", "base", "cap"].map(str::to_owned);
    Products::new(folder, &names, chooser)
}

fn name_of(products: &Products) -> String {
    products.current().expect("chosen").name.expect("a name")
}

#[test]
fn each_product_has_a_store_of_its_own_and_one_of_them_runs() {
    let folder = tempfile::tempdir().expect("folder");
    let products = of(folder.path(), Chooser::Person);
    assert_eq!(products.names().collect::<Vec<_>>(), ["lid", "base", "cap"]);
    assert_eq!(products.numbered(3), Some("base"));
    for number in [0, 2, 5, 31, 255] {
        assert_eq!(products.numbered(number), None, "{number}");
    }
    assert_eq!(products.number_of("cap"), Some(4));
    assert!(matches!(products.current(), Err(StoreError::Empty)));
    put(&products, "base", 1);
    assert_eq!(name_of(&products), "base", "the only one that is there");
    put(&products, "lid", 1);
    assert!(
        matches!(products.current(), Err(StoreError::NotChosen)),
        "nothing is guessed"
    );
    products
        .choose("lid", Some("the morning".into()), &who("anna"))
        .expect("chosen");
    assert_eq!(name_of(&products), "lid");
    let refused = |name: &str| products.choose(name, None, &who("anna")).expect_err(name);
    assert!(matches!(refused("cap"), StoreError::NotInstalled(_)));
    assert!(matches!(refused("lod"), StoreError::UnknownProduct { .. }));
    assert!(matches!(refused(""), StoreError::UnknownProduct { .. }));
    assert!(matches!(
        refused("../lid"),
        StoreError::UnknownProduct { .. }
    ));
    assert_eq!(name_of(&products), "lid", "as before");
    let store = Store::open(Folder::new(&products.store_of("lid").expect("known"))).expect("opens");
    let last = store
        .history()
        .expect("read")
        .entries
        .pop()
        .expect("an entry");
    assert_eq!((last.event, last.by.as_str()), (Event::Chosen, "anna"));
    // A folder without a configuration shows what is in it.
    let found = Products::found(folder.path()).expect("read");
    assert_eq!(found.names().collect::<Vec<_>>(), ["base", "lid"]);
    assert_eq!(name_of(&found), "lid");
    assert!(
        !Products::found(Path::new("/no/such/folder"))
            .expect("read")
            .several()
    );
}

#[test]
fn what_cannot_start_is_left_for_the_one_before_and_nothing_passes_until_somebody_chooses() {
    let folder = tempfile::tempdir().expect("folder");
    let products = of(folder.path(), Chooser::Person);
    put(&products, "lid", 1);
    put(&products, "base", 1);
    let anna = who("anna");
    products.choose("lid", None, &anna).expect("chosen");
    assert_eq!(
        products.fall_back("failed", &anna).expect("read"),
        None,
        "none before"
    );
    products.choose("base", None, &anna).expect("chosen");
    assert!(!products.unserved().expect("read"));
    let back = products
        .fall_back("failed parity", &who("the line"))
        .expect("written");
    assert_eq!(back.as_deref(), Some("lid"));
    assert_eq!(name_of(&products), "lid");
    assert!(products.unserved().expect("read"));
    let choice = products.choice().expect("read").expect("chosen");
    let refused = choice.refused.expect("said");
    assert_eq!(
        (refused.product.as_str(), refused.why.as_str()),
        ("base", "failed parity")
    );
    assert_eq!(refused.digest, Some(product("base", 1).0.digest));
    // It cannot go on from there for ever.
    assert_eq!(products.fall_back("failed too", &anna).expect("read"), None);
    // The same product is asked for: a person knows now.
    products.choose("lid", None, &anna).expect("chosen");
    assert!(!products.unserved().expect("read"));
    assert_eq!(name_of(&products), "lid");
}

#[test]
fn the_configuration_or_the_inputs_choose_and_then_nobody_else() {
    let folder = tempfile::tempdir().expect("folder");
    let fixed = of(folder.path(), Chooser::Configuration("base".into()));
    put(&fixed, "lid", 1);
    assert_eq!(name_of(&fixed), "base", "also while it is missing");
    let refused = fixed.choose("lid", None, &who("anna")).expect_err("fixed");
    assert!(matches!(refused, StoreError::Fixed(_)));
    assert_eq!(
        fixed.fall_back("failed", &who("the line")).expect("read"),
        None
    );
    let inputs = of(folder.path(), Chooser::Inputs);
    assert_eq!(name_of(&inputs), "lid", "the first that is there");
    assert!(inputs.unserved().expect("read"), "nobody has asked for it");
    let refused = inputs
        .choose("lid", None, &who("anna"))
        .expect_err("inputs");
    assert!(matches!(refused, StoreError::ByInputs));
    inputs
        .note_unserved("lid", false, &who("inputs"))
        .expect("noted");
    assert!(!inputs.unserved().expect("read"));
    put(&inputs, "cap", 1);
    inputs
        .choose_by_inputs("cap", &who("inputs"))
        .expect("chosen");
    assert_eq!(name_of(&inputs), "cap");
    // A note about the product before comes too late.
    inputs
        .note_unserved("lid", true, &who("inputs"))
        .expect("noted");
    assert!(!inputs.unserved().expect("read"));
    inputs
        .note_unserved("cap", true, &who("inputs"))
        .expect("noted");
    assert!(inputs.unserved().expect("read"));
}

#[test]
fn names_of_stores_are_names_of_folders() {
    for name in ["lid", "Lid-4.2_b", "7"] {
        assert!(is_store_name(name), "{name:?}");
    }
    let long = "x".repeat(65);
    for name in [
        "", ".", "..", "../lid", "a/b", "-x", ".x", "lid 2", "lid\n", "dé", &long,
    ] {
        assert!(!is_store_name(name), "{name:?}");
    }
}
