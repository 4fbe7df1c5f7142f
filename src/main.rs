//! The command line of the runtime: parses arguments, calls the library, prints.

mod cli;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    cli::main(started)
}
