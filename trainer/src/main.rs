//! `partgate-train`: fits products from good images, validates and calibrates them.

mod cli;
mod damage;
mod dataset;
mod error;
mod export;
mod fit;
mod metrics;
mod png;
mod progress;
mod report;
mod validation;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
