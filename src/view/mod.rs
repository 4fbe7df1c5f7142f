//! Pictures and pages for people: what a verdict looks like.
//!
//! - [`picture`]: a frame as the network sees it, and encoded pictures.
//! - [`mod@overlay`]: a score map over that picture, on a scale that all pictures of a product
//!   share.
//! - [`page`]: single-file HTML pages, made of [`content`] and [`histogram`].

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
