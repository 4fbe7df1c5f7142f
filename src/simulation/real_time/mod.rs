//! A plant in real time around the running line itself: every thread of [`Station`], real clocks,
//! real inspection. Only inputs and outputs are in memory.
//!
//! - `ledger`: what really happens; the line never sees it.
//! - `camera`, `devices`: camera, ejector and inspector, which report to the ledger.
//! - `injector`: draws the faults that they inject.
//! - `comparing`: a fast inspector.
//! - `life`: one life of the line.
//! - `soak`: hours of a line with faults.
//! - `trial`: which part rates a line reaches.
//!
//! [`Station`]: crate::station::Station

mod camera;
mod comparing;
mod devices;
mod injector;
mod ledger;
mod life;
mod soak;
mod trial;

pub use camera::{Picture, rendered_pictures};
pub use comparing::ComparingInspector;
pub use life::SoakError;
pub use soak::{Soak, SoakOutcome, soak};
pub use trial::{InspectionTimes, LineFigures, LineTrial, inspection_times, try_line};
