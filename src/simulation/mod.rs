//! Everything that is not real, for the commands that need no hardware and for tests. Only they and
//! `cli` use this room. The production rooms get what replaces a device as
//! [`SimulatedDevices`](crate::station::SimulatedDevices).
//!
//! - [`part`]: the demonstration part, drawn with or without a defect.
//! - [`camera`]: a camera that shows such parts.
//! - [`lines`]: inputs and outputs in memory, or as text between processes.
//! - [`faults`]: what can be broken on purpose, and the sources and inputs that break.
//! - [`Devices`]: the simulated devices that a configuration can ask for.
//! - `virtual_time`: the gate, both processes, and a plant that knows what is really on the belt.
//!   Hours take seconds, and the same seed gives the same run.
//! - `real_time`: such a plant around every thread of the running line.
//! - `outcome`: the results of a line, in virtual or real time.

pub mod camera;
mod devices;
pub mod faults;
pub mod lines;
mod outcome;
pub mod part;
mod real_time;
mod virtual_time;

pub use devices::Devices;
pub use faults::Kind;
pub use outcome::{Outcome, Times};
pub use real_time::{
    ComparingInspector, InspectionTimes, LineFigures, LineTrial, Picture, Soak, SoakError,
    SoakOutcome, inspection_times, rendered_pictures, soak, try_line,
};
pub use virtual_time::{Case, CaseError, Failure, PIECES, Stuck, classes, known_cases, shrink};
