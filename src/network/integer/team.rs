//! Who shares the work.

/// Who shares the work of a step.
pub(crate) trait Team: Sync {
    /// How many.
    fn count(&self) -> usize;
    /// Both, at the same time if there is somebody for the second.
    fn join(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send);
}

/// The calling thread.
#[cfg(test)]
pub(crate) struct Alone;

#[cfg(test)]
impl Team for Alone {
    fn count(&self) -> usize {
        1
    }

    fn join(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        first();
        second();
    }
}
