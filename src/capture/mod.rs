//! Where frames come from. A source knows nothing of models.

pub mod folder_source;
pub(crate) mod pace;
pub mod recorded;
pub mod settings;
pub mod source;
pub mod v4l2;

pub use pace::Exposure;
