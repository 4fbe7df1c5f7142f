//! A plant in real time around the running line itself: every thread of [`Station`], real clocks,
//! real inspection; only the wires are memory.
//!
//! - `ledger`: what really happens, which the line never sees.
//! - `camera`, `devices`: camera, ejector and inspect that the ledger hears of.
//! - `injector`: draws the faults that they bring about.
//! - `comparing`: a quick inspector.
//! - `life`: one life of the line.
//! - `soak`: hours of it with faults.
//! - `trial`: how fast parts may come.
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
