//! Pictures and pages for people: what a verdict looks like.
//!
//! - [`picture`]: a frame as the network saw it, and encoded pictures.
//! - [`mod@overlay`]: a score map over that picture, on a scale that two pictures share.
//! - [`page`]: single-file HTML pages, built from [`content`] and [`histogram`].

pub mod content;
pub mod histogram;
pub mod overlay;
pub mod page;
pub mod picture;

pub use content::{Badge, Card, Cell, Figure, ScoreBar, Tone};
pub use histogram::{Group, Histogram};
pub use overlay::overlay;
pub use page::Page;
pub use picture::{NetworkView, Picture, PictureError};
