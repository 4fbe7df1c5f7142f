//! The runtime of partgate: one frame of one part in, OK / NG / UNKNOWN out.
//!
//! Data flows one way:
//!
//! ```text
//! capture -> frame -> backbone -> score -> refine -> verdict -> line -> gpio
//!                        ^          ^        ^          ^         |
//!                        +----------- product ----------+         +-> record (listens)
//! ```
//!
//! - [`capture`]: where frames come from (cameras, image files).
//! - [`frame`]: one picture.
//! - [`backbone`]: preprocessing and the quantised ONNX network that turns a frame into two
//!   feature maps.
//! - [`network`]: ONNX files to something that runs, and the report of what runs.
//! - [`sanity`]: is this a picture of a part at all: dark, saturated, blurred, off its place.
//! - [`score`]: feature vectors, the masked nearest neighbour in the bank, the score map.
//! - [`refine`]: a small network that may lift cell scores.
//! - [`verdict`]: score to OK / NG / UNKNOWN, with the evidence behind the thresholds.
//! - [`time`]: instants and lengths of time, readings and distances of the encoder.
//! - [`mod@line`]: from trigger to reject: the gate (a pure state machine) and what runs round it.
//! - [`gpio`]: triggers and output lines.
//! - [`record`]: event log, kept images, metrics.
//! - [`station`]: the running line: threads and the supervisor; wires all rooms together.
//! - `settings`: keys of TOML files, each declared once by the room that it is for.
//! - [`simulation`]: everything that is not real: drawn parts, simulated devices, injected faults, a
//!   production line in virtual time that drives the same controller.
//! - [`config`]: the file that says what is wired to what.
//! - [`product`]: the bundle that holds all of it, checked byte by byte.
//! - [`inspection`]: the whole chain with its timings; what the programs call.
//! - [`lanes`]: sixteen f32 at a time on any instruction set; the kernels are written over it.
//! - [`view`]: overlays and pages for people.
//! - [`causes`]: an error with the chain of its causes, as text.
//! - [`seed`]: random numbers whose sequence is part of the format.
//!
//! The trainer (`trainer/`) calls the same functions for everything that a board will do again,
//! so that what is fitted and what is served cannot drift apart.

pub mod backbone;
pub mod capture;
pub mod causes;
pub mod clock;
pub mod config;
pub mod frame;
pub mod gpio;
pub mod inspection;
pub mod lanes;
pub mod line;
pub mod network;
pub mod product;
pub mod record;
pub mod refine;
pub mod sanity;
pub mod score;
pub mod seed;
pub(crate) mod settings;
pub mod simulation;
pub mod station;
pub mod time;
pub mod verdict;
pub mod view;

/// Version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// [`VERSION`] as numbers, for comparison with a bundle's minimum.
pub fn version_numbers() -> [u16; 3] {
    let mut numbers = [0; 3];
    for (slot, part) in numbers.iter_mut().zip(VERSION.split('.')) {
        *slot = part.parse().unwrap_or(0);
    }
    numbers
}

/// Backbones that ship with the project: name and BLAKE3 of the ONNX file.
pub const SHIPPED_BACKBONES: &[(&str, &str)] =
    include!(concat!(env!("OUT_DIR"), "/shipped_backbones.rs"));
