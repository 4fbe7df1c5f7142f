//! Triggers and outputs on the GPIO character device.
//!
//! - [`LineSpec`]: a pin, as a person writes it in a configuration.
//! - [`chips`]: the machine's chips and who uses their pins; `doctor` shows it.
//! - [`ChardevInputs`], [`ChardevOutputs`]: real inputs and outputs through the kernel's second
//!   user interface (Linux 5.10 or later). They are separate because two processes own them: the
//!   vision process waits for triggers, and the supervisor owns the outputs, so that READY goes off
//!   if the vision process dies. With [`ChardevSafeOutputs`] the vision process switches off the
//!   supervisor's outputs.

mod chardev;
mod chips;
mod error;
mod spec;

pub use chardev::{
    Bias, ChardevInputs, ChardevOutputs, ChardevSafeOutputs, Debounce, Drive, InputLine, OutputLine,
};
pub use chips::{ChipReport, LineReport, chips};
pub use error::GpioError;
pub use spec::{ChipSpec, LineRef, LineSpec, LineSpecError};
