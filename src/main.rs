//! The command line of the runtime: arguments to library calls to text.

mod cli;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    cli::main(started)
}
