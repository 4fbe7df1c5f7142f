//! The layout of a data set: named by the user or recognised, and printed in a line.

use crate::dataset::{Layout, Source};
use crate::error::TrainError;
use clap::Args;
use std::path::Path;

#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct LayoutArgs {
    /// How the images lie [default: recognised, and printed]
    #[arg(long, value_name = "LAYOUT")]
    pub(super) layout: Option<Layout>,
}

impl LayoutArgs {
    pub(super) fn source(self, at: &Path) -> Result<Source, TrainError> {
        Source::find(at, self.layout)
    }
}

/// Prints the layout that was found. JSON has it as `layout`.
pub(super) fn print_layout(layout: &str, json: bool) {
    if !json {
        println!("layout: {layout}");
    }
}
