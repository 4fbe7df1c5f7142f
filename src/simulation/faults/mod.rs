//! Injected faults: one list of [kinds](Kind) for all of them, and devices that break.
//!
//! - [`FaultySource`]: a fault injector around any camera.
//! - [`FaultyInputs`]: one around any inputs.
//!
//! Both draw from a seed. The simulated lines themselves inject all other faults, such as a process
//! that dies.

mod frames;
mod inputs;
mod kind;
mod shares;

pub use frames::{FaultySource, FrameFaults};
pub use inputs::{FaultyInputs, InputFaults};
pub use kind::Kind;
pub use shares::{Injected, Shares};
