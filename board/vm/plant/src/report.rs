//! Results of the checks, one per line on the console.

use std::fmt::Display;

/// Counts checks.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Reports a check: `what` must hold.
    pub fn check(&mut self, holds: bool, what: impl Display) -> bool {
        if holds {
            self.passed += 1;
            println!("ok      {what}");
        } else {
            self.failed += 1;
            println!("FAILED  {what}");
        }
        holds
    }

    /// Reports a check that could not be made.
    pub fn broken(&mut self, error: impl Display) {
        self.check(false, error);
    }

    /// Prints the last line. True if something was checked and nothing failed.
    pub fn close(&self) -> bool {
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}
