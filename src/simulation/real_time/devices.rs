//! The ejector's outputs and the inspector of a line in real time, with their faults.

use super::injector::{Injector, SharedInjector};
use super::ledger::Ledger;
use crate::clock;
use crate::frame::RawFrame;
use crate::line::devices::{DeviceError, Outputs};
use crate::line::gate::{Output, PartVerdict};
use crate::simulation::faults::Kind;
use crate::simulation::lines::SimulatedOutputs;
use crate::station::{Inspected, InspectorError, PartInspector};
use crate::time::{Duration, Instant};
use std::sync::{Arc, Mutex, PoisonError};

/// Outputs that report to the ledger what they do to the ejector.
pub(super) struct EjectorOutputs {
    pub(super) inner: SimulatedOutputs,
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<SharedInjector>,
}

impl Outputs for EjectorOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        self.set_until(output, on, None)
    }

    fn set_until(
        &mut self,
        output: Output,
        on: bool,
        until: Option<Instant>,
    ) -> Result<(), DeviceError> {
        if output != Output::Pass {
            return self.inner.set(output, on);
        }
        let stall = self.faults.with(|f| {
            f.strikes(Kind::GateStall)
                .then(|| f.between(5_000_000, 50_000_000))
        });
        if let Some(stall) = stall {
            // The gate's thread is not run, so its next action is late.
            clock::sleep(Duration(stall));
        }
        // PASS counts as on for the longest time possible.
        let before = clock::now();
        self.inner.set(output, on)?;
        let at = if on { before } else { clock::now() };
        self.ledger.pass(at, on, until.unwrap_or(Instant::MAX));
        Ok(())
    }
}

/// An inspector that outlives the station in which it works, because a product takes a second to
/// load.
pub(super) type KeptInspector = Arc<Mutex<Box<dyn PartInspector>>>;

/// An inspector that reports every OK to the ledger, before the line gets it.
pub(super) struct ReportingInspector {
    pub(super) inner: KeptInspector,
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<SharedInjector>,
    /// How long inspection takes without a fault.
    pub(super) usual: Duration,
}

impl ReportingInspector {
    /// How much longer inspection takes this time, and whether it fails.
    fn trouble(&self) -> (Duration, bool) {
        let draw = |f: &mut Injector| {
            let mut more = 0;
            if f.strikes(Kind::SlowInference) {
                more = self.usual.0.saturating_mul(f.between(2, 8));
            }
            if f.strikes(Kind::StuckInference) {
                more = f.between(500_000_000, 2_000_000_000);
            }
            (Duration(more), f.strikes(Kind::FailedInference))
        };
        self.faults.with(draw)
    }
}

impl PartInspector for ReportingInspector {
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError> {
        let (more, fails) = self.trouble();
        clock::sleep(more);
        if fails {
            // The error of a camera that was set to another mode.
            let (width, height) = (raw.width / 2, raw.height / 2);
            return Err(InspectorError::other_size(width, height));
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inspected = inner.inspect(raw)?;
        if inspected.verdict == PartVerdict::Ok {
            self.ledger.inspected_ok(raw.sequence, clock::now());
        }
        Ok(inspected)
    }
}
