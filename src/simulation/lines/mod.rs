//! Lines without hardware, for tests and for `simulate`.
//!
//! - [`SimulatedInputs`], [`SimulatedOutputs`]: inside one process, through memory.
//! - [`TextInputs`], [`TextOutputs`]: between processes, one line of text a change, so that a test
//!   can play the plant around a real `partgate run`.

mod inputs;
mod outputs;
mod text;

pub use inputs::{InputFeed, SimulatedInputs};
pub use outputs::{Change, OutputView, SimulatedOutputs};
pub use text::{TextInputs, TextOutputs, TextSafeOutputs};

use std::path::PathBuf;
use thiserror::Error;

/// What simulated devices say when they fail.
#[derive(Debug, Error)]
pub enum SimulatedError {
    /// Unplugged by the test.
    #[error("simulated {0}: unplugged")]
    Unplugged(&'static str),
    /// A capacity that cannot be meant.
    #[error("a capacity of {0} is not between 1 and {LARGEST_CAPACITY}")]
    Capacity(usize),
    /// A pipe, socket or file that cannot be used.
    #[error("{}: {problem}", path.display())]
    Text {
        /// Pipe, socket or file.
        path: PathBuf,
        /// What is off, and the fix where one is known.
        problem: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A text that is no edge.
    #[error("{}: {text:?} is no edge; write \"<monotonic_ns> <trigger|encoder|encoder_b|confirm|acknowledge> [off] [<lost>]\", or \"<monotonic_ns> <input> level <0|1>\"", path.display())]
    NoEdge {
        /// The socket.
        path: PathBuf,
        /// The text, cut to a length fit for a message.
        text: String,
    },
    /// A probability outside [0, 1], or a time that cannot be meant.
    #[error("fault {name}: {value} is not between 0 and {limit}")]
    Fault {
        /// Which.
        name: &'static str,
        /// As given.
        value: f64,
        /// The largest.
        limit: f64,
    },
}

/// The most changes or edges that a ring holds.
pub const LARGEST_CAPACITY: usize = 1 << 20;

fn check_capacity(capacity: usize) -> Result<usize, SimulatedError> {
    if (1..=LARGEST_CAPACITY).contains(&capacity) {
        Ok(capacity)
    } else {
        Err(SimulatedError::Capacity(capacity))
    }
}
