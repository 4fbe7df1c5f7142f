//! Quantised networks in integers.

mod description;
mod fuse;
pub(crate) mod kernels;
mod pack;
mod plan;
mod run;
mod shapes;
#[cfg(test)]
mod tests;
