//! Triggers and output lines on the GPIO character device.
//!
//! - [`LineSpec`]: which line, as a person writes it in a configuration.
//! - [`chips`]: what the machine has and who holds it; what `doctor` shows.
//! - [`ChardevInputs`], [`ChardevOutputs`]: real lines through the kernel's second user interface
//!   (Linux 5.10 or later). Inputs and outputs are separate because two processes hold them: the
//!   vision process waits for triggers, and a supervisor holds the outputs, so that READY falls
//!   when the vision process dies. [`ChardevSafeOutputs`]: by which the vision process lets the
//!   supervisor's lines fall.

mod chardev;
mod chips;
mod error;
mod spec;

pub use chardev::{
    Bias, ChardevInputs, ChardevOutputs, ChardevSafeOutputs, Debounce, Drive, InputLine,
    LONGEST_DEBOUNCE, OutputLine,
};
pub use chips::{ChipReport, LineReport, chips};
pub use error::GpioError;
pub use spec::{ChipSpec, LineRef, LineSpec, LineSpecError};
