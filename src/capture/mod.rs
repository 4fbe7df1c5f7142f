//! Where frames come from. A source knows nothing of models.

pub mod decode;
pub mod folder;
pub mod rendered;
pub mod source;
pub mod v4l2;
