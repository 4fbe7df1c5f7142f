//! From trigger to reject: the gate, and the program around it.
//!
//! - [`gate`]: the pure state machine that decides.
//! - [`pairing`]: which frame shows which part.
//! - [`quadrature`]: the two channels of an encoder.
//! - [`controller`]: gate, pairing and the inspector's queue in one; also pure.
//! - [`lease`]: the process that sets the outputs, and how two processes notice that the other is
//!   late.
//! - [`recipe`]: which product the recipe inputs ask for.
//! - [`devices`]: what the line needs from the outside world.

pub mod controller;
pub mod devices;
pub mod gate;
pub mod lease;
pub mod pairing;
pub mod quadrature;
pub mod recipe;
pub mod settings;
