//! Checks what the accelerator of the configuration needs, and fills its cache of compiled kernels.

use super::finding::{Finding, Findings};
use super::inspector;
use partgate::config::LineConfig;
use partgate::network::{Accelerator, AcceleratorError, Need};
use std::time::Instant;

/// Checks everything that the accelerator needs; nothing for the CPU.
pub(super) fn check(config: &LineConfig, findings: &mut Findings) {
    findings.extend(config.inference.accelerator.needs().iter().map(finding));
}

fn finding(need: &Need) -> Finding {
    match &need.found {
        Ok(found) => match found.advice {
            None => Finding::ok(need.what, &*found.text),
            Some(advice) => Finding::warning(need.what, &*found.text, advice),
        },
        Err(AcceleratorError::Missing { found, fix }) => Finding::failed(need.what, found, fix),
        Err(error @ AcceleratorError::NotBuilt) => Finding::failed(
            need.what,
            error.to_string(),
            "a build with the feature, or inference.accelerator = \"cpu\"",
        ),
    }
}

/// Loads the product and inspects its golden images once, which compiles every kernel that is not
/// in the cache.
pub(super) fn warm(config: &LineConfig, findings: &mut Findings) {
    let check = "GPU kernels";
    if config.inference.accelerator == Accelerator::Cpu {
        let found = "nothing to compile: inference.accelerator is \"cpu\"";
        findings.push(Finding::ok(check, found));
        return;
    }
    let started = Instant::now();
    inspector::warm(config, findings);
    let found = format!(
        "{:.1} s from the start to the self-test",
        started.elapsed().as_secs_f64()
    );
    findings.push(Finding::ok("time", found));
    self::check(config, findings);
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use partgate::network::Found;

    #[test]
    fn what_is_missing_fails_with_its_own_fix() {
        let missing = AcceleratorError::Missing {
            found: "CUDA driver library not found".into(),
            fix: "install it".into(),
        };
        let state = |found: Result<Found, AcceleratorError>| {
            finding(&Need {
                what: "CUDA",
                found,
            })
        };
        let failed = state(Err(missing));
        assert_eq!(failed.state, State::Failed);
        assert_eq!(failed.found, "CUDA driver library not found");
        assert_eq!(failed.fix.as_deref(), Some("install it"));
        assert_eq!(state(Err(AcceleratorError::NotBuilt)).state, State::Failed);
        let met = |advice| {
            state(Ok(Found {
                text: "10 are compiled".into(),
                advice,
            }))
        };
        assert_eq!(met(None).state, State::Ok);
        assert_eq!(met(Some("run --warm")).state, State::Warning);
    }
}
