//! What was checked, one line each on the console.

use std::fmt::Display;

/// Counts checks.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// A check: `what` must hold.
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

    /// A check that could not even be made.
    pub fn broken(&mut self, error: impl Display) {
        self.check(false, error);
    }

    /// The closing line; true when nothing failed and something was checked.
    pub fn close(&self) -> bool {
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}
