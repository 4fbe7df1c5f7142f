//! Settings in TOML files, strict. Each setting is declared once, in the room that uses it.
//!
//! [`section!`] declares the settings of one section: key, type, range, default and meaning. From
//! the declaration come the values for the room, the code that reads the file, and the page of all
//! keys. The [`Document`] reports everything that is wrong at once, each problem with its line
//! number, and for a misspelt key the one that was probably meant.

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
