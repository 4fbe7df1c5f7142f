//! What can be broken on purpose: one list of [kinds](Kind) for all of it, and devices that break.
//!
//! - [`FaultySource`]: a fault injector around any camera.
//! - [`FaultyInputs`]: one around any inputs.
//!
//! Both draw from a seed. What is beyond them, such as a process that dies, the simulated lines bring
//! about themselves.

mod frames;
mod inputs;
mod kind;
mod shares;

pub use frames::{FaultySource, FrameFaults};
pub use inputs::{FaultyInputs, InputFaults};
pub use kind::Kind;
pub use shares::{Injected, Shares};
