//! Settings in TOML files, strict: each is declared once, by the room that it is for.
//!
//! [`section!`] declares the settings of one section: key, type, range, default and meaning. From that
//! come the values that the room takes, the reading of the file, and the page of all keys. The
//! [`Document`] that reads tells everything that is wrong at once, each with its line, and what a
//! misspelt key was probably meant to be.

mod document;
pub(crate) mod kind;
mod nearest;
mod problem;
mod section;
mod value;

pub use document::Known;
pub use problem::{ConfigError, Problem};

pub(crate) use document::{Absent, Document, Place, Section, Setting};
pub(crate) use nearest::nearest;
pub(crate) use problem::Problems;
pub(crate) use section::{Declared, section};
