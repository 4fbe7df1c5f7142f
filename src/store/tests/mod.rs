//! The store on a disk that loses, reorders and refuses.

mod choices;
mod cuts;
mod sim;
mod steps;

use super::*;
use sim::SimDisk;
use std::time::SystemTime;

fn who(name: &str) -> Who {
    Who {
        name: name.into(),
        wall: SystemTime::UNIX_EPOCH,
    }
}

/// A product of a few bytes. The store does not look into it.
fn product(name: &str, revision: u32) -> (Identity, Vec<u8>) {
    let bytes = format!("{name} {revision}: what a board needs to inspect it").into_bytes();
    let identity = Identity {
        product: name.into(),
        revision,
        digest: blake3::hash(&bytes).to_hex().to_string(),
        origin: "signed by plant-7".into(),
    };
    (identity, bytes)
}

fn install(store: &mut Store<SimDisk>, name: &str, revision: u32) -> Result<Installed, StoreError> {
    let (identity, bytes) = product(name, revision);
    store.install(identity, &bytes, false, &who("anna"), |copy| {
        assert_eq!(copy, bytes);
        Ok(())
    })
}

fn opened(disk: SimDisk) -> Store<SimDisk> {
    Store::open(disk).expect("a store")
}

/// A store with lid 1 confirmed in slot A.
fn with_one() -> Store<SimDisk> {
    let mut store = opened(SimDisk::default());
    install(&mut store, "lid", 1).expect("installed");
    store.confirm(None, &who("anna")).expect("confirmed");
    store
}

/// As [`with_one`], with lid 2 on trial in slot B.
fn with_trial() -> Store<SimDisk> {
    let mut store = with_one();
    install(&mut store, "lid", 2).expect("installed");
    store
}
