//! `partgate-train`: fits products from good images, validates and calibrates them.

// The functions of tests may be longer.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod budgets;
mod cli;
mod damage;
mod dataset;
mod error;
mod export;
mod fit;
mod fleet;
mod metrics;
mod oms;
mod png;
mod progress;
mod report;
mod validation;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
