//! The runtime's own files that decide whether a part passes, compiled without camera, network and
//! outputs. Why: Cargo.toml.

/// The modules of the program's `line` that need no other part of it.
#[path = "../../../src/line"]
pub mod line {
    pub mod controller;
    pub mod gate;
    pub mod lease;
    pub mod pairing;
    pub mod quadrature;
}

#[path = "../../../src/time.rs"]
pub mod time;
