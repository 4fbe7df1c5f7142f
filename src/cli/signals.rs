//! Signals that end a program which drives outputs.

use super::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Sets `stop` at every signal that ends a program by default. A closed terminal (SIGHUP), for
/// example, must not leave the outputs at their last level. SIGHUP stays ignored if it was ignored
/// at the start, as under `nohup`.
pub(crate) fn stop_at_signals(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let state = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        if signal == SIGHUP && ignored(&state, signal) {
            continue;
        }
        signal_hook::flag::register(signal, stop.clone()).map_err(Failure::unexpected)?;
    }
    Ok(())
}

/// Whether a process ignores `signal`; `state` is its `/proc/PID/status`.
fn ignored(state: &str, signal: i32) -> bool {
    let mask = state.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_ignored_if_its_bit_is_set() {
        let state = "Name:\tpartgate\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(ignored(state, SIGHUP));
        assert!(!ignored(state, SIGINT));
        assert!(!ignored(&state.replace("1001", "1000"), SIGHUP));
        assert!(!ignored("", SIGHUP));
        assert!(!ignored("SigIgn:\tof no number\n", SIGHUP));
    }
}
