//! Where frames come from. A source knows nothing of models.

pub mod folder;
pub mod rendered;
pub mod source;
