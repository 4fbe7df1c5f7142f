//! Promise: the gate is a pure state machine. These are the runtime's own files, the gate and its
//! types of time, compiled into a crate without standard library, allocator and the rest of the
//! program.

#![no_std]

#[path = "../../../src/line/gate/mod.rs"]
pub mod gate;

#[path = "../../../src/time.rs"]
pub mod time;
