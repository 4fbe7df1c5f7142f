//! Inputs and outputs without hardware, for tests and for `simulate`.
//!
//! - [`SimulatedInputs`], [`SimulatedOutputs`]: inside one process, through memory.
//! - [`TextInputs`], [`TextOutputs`]: between processes, one text entry per change, so that a test
//!   can act as the plant around a real `partgate run`.

mod inputs;
mod outputs;
mod text;

pub use inputs::{InputFeed, SimulatedInputs};
pub use outputs::{Change, OutputView, SimulatedOutputs};
pub use text::{TextInputs, TextOutputs, TextSafeOutputs};

use std::path::PathBuf;
use thiserror::Error;

/// Why a simulated device fails.
#[derive(Debug, Error)]
pub enum SimulatedError {
    /// The test unplugged it.
    #[error("simulated {0}: unplugged")]
    Unplugged(&'static str),
    /// A capacity outside 1 to 2^20.
    #[error("a capacity of {0} is not between 1 and {LARGEST_CAPACITY}")]
    Capacity(usize),
    /// A pipe, socket or file that cannot be used.
    #[error("{}: {problem}", path.display())]
    Text {
        /// Pipe, socket or file.
        path: PathBuf,
        /// What is wrong, and the fix if one is known.
        problem: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A text that is no edge.
    #[error("{}: {text:?} is no edge; write \"<monotonic_ns> <trigger|encoder|encoder_b|confirm|acknowledge> [off] [<lost>]\", or \"<monotonic_ns> <input> level <0|1>\"", path.display())]
    NoEdge {
        /// The socket.
        path: PathBuf,
        /// The text, cut to 64 bytes.
        text: String,
    },
    /// A share outside [0, 1], or a time that is too long.
    #[error("fault {name}: {value} is not between 0 and {limit}")]
    Fault {
        /// Name of the kind of fault or of the setting.
        name: &'static str,
        /// The value that was given.
        value: f64,
        /// The largest allowed value.
        limit: f64,
    },
}

/// The largest number of changes or edges that a ring holds.
pub(crate) const LARGEST_CAPACITY: usize = 1 << 20;

fn check_capacity(capacity: usize) -> Result<usize, SimulatedError> {
    if (1..=LARGEST_CAPACITY).contains(&capacity) {
        Ok(capacity)
    } else {
        Err(SimulatedError::Capacity(capacity))
    }
}
