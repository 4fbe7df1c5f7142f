//! The command line of the runtime: parses arguments, calls the library, prints.

// The functions of tests may be longer.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod cli;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    cli::main(started)
}
