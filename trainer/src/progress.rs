//! Progress bars as wide as the terminal, with the time left; silent when standard error is not a terminal.

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::Duration;

/// Until then nothing is known about the time left.
const UNSURE_FOR: Duration = Duration::from_secs(2);

/// The time left, as soon as steps say something about it.
fn time_left(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 && state.elapsed() >= UNSURE_FOR {
        let seconds = state.eta().as_secs_f64().ceil() as u64;
        let _ = match seconds {
            0..120 => write!(out, ", {seconds} s left"),
            _ => write!(out, ", {} min left", seconds.div_ceil(60)),
        };
    }
}

/// One bar, for one stage.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar named `what` over `total` steps.
    pub(crate) fn new(what: &str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        // The template is a constant; were it wrong, the plain style still shows progress.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} [{wide_bar}] {pos}/{len}{left}")
        {
            bar.set_style(style.progress_chars("=> ").with_key("left", time_left));
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
