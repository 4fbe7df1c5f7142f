//! Progress bars with the time left; silent when standard error is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// One bar, for one stage.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar named `what` over `total` steps.
    pub(crate) fn new(what: &str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        // The template is a constant; were it wrong, the plain style still shows progress.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} [{bar:32}] {pos}/{len}, {eta} left")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_string());
        Self(bar)
    }

    /// `steps` more are done.
    pub(crate) fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// `steps` are done in all.
    pub(crate) fn set(&self, steps: u64) {
        self.0.set_position(steps);
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
