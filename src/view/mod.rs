//! Pictures and pages for people: what a verdict looks like.
//!
//! - [`picture`]: a frame as the network sees it, and encoded pictures.
//! - [`mod@defects`]: the regions of a score map above the limit, in pixels of the picture.
//! - [`mod@overlay`]: a score map over that picture, on a scale that all pictures of a product
//!   share.
//! - [`page`]: single-file HTML pages, made of [`content`], [`histogram`] and [`curves`].

pub mod content;
pub mod curves;
pub mod defects;
pub mod histogram;
pub mod overlay;
pub mod page;
pub mod picture;

pub use content::{Badge, Card, Cell, Figure, ScoreBar, Tone};
pub use curves::{Curve, Curves, Mark};
pub use defects::{Defect, Ground, defects};
pub use histogram::{Group, Histogram};
pub use overlay::{over_picture, overlay};
pub use page::Page;
pub use picture::{NetworkView, Picture, PictureError};
