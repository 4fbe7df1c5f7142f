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
//! - [`frame`]: pixels with time and number, as a camera gives them.
//! - [`backbone`]: preprocessing and the quantised ONNX network that turns a frame into two
//!   feature maps.
//! - [`network`]: ONNX files to something that runs, and the report of the kernels that run it.
//! - [`sanity`]: is this a picture of a part at all? Checks for dark, saturated, blurred and misplaced
//!   pictures.
//! - [`score`]: feature vectors, the masked nearest neighbour in the bank, the score map.
//! - [`refine`]: a small network that may lift cell scores.
//! - [`verdict`]: score to OK / NG / UNKNOWN, with the evidence behind the thresholds.
//! - [`time`]: times, durations, readings and distances of the encoder.
//! - [`mod@line`]: from trigger to reject: the gate (a pure state machine) and what belongs to it.
//! - [`gpio`]: digital inputs and outputs.
//! - [`record`]: event log, kept images, metrics.
//! - [`station`]: the running line: threads and the supervisor; connects all rooms.
//! - [`store`]: which product this board runs: two slots, a state and a history.
//! - `settings`: keys of TOML files, each declared once by the room that uses it.
//! - [`simulation`]: everything that is not real: drawn parts, simulated devices, injected faults, a
//!   production line in virtual time with the same controller.
//! - [`config`]: the configuration file, which states what is wired to what.
//! - [`product`]: the bundle with everything that was fitted, checked byte by byte.
//! - [`keys`]: keys that sign products, and which of them this board trusts.
//! - [`inspection`]: the whole chain with its times, as the programs call it.
//! - [`lanes`]: sixteen f32 at a time on any instruction set; the kernels are written with it.
//! - [`view`]: overlays and pages for people.
//! - [`causes`]: an error with the chain of its causes, as text.
//! - [`size`]: width and height of pictures, feature grids and maps.
//! - [`seed`]: random numbers whose sequence never changes.
//!
//! The trainer (`trainer/`) calls the same functions for everything that a board does again, so that
//! what is fitted and what is inspected cannot become different.

// The functions of tests may be longer.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod backbone;
pub mod capture;
pub mod causes;
pub mod clock;
pub mod config;
pub mod frame;
pub mod gpio;
pub mod inspection;
pub mod keys;
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
pub mod size;
pub mod station;
pub mod store;
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
