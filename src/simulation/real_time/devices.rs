//! The ejector's lines and the inspector of a line in real time, with their faults.

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

/// Output lines that tell the ledger what they do to the ejector.
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
            // The gate's thread is not run: what it does next, it does late.
            clock::sleep(Duration(stall));
        }
        // PASS counts as on for the longest time that it can have been.
        let before = clock::now();
        self.inner.set(output, on)?;
        let at = if on { before } else { clock::now() };
        self.ledger.pass(at, on, until.unwrap_or(Instant::MAX));
        Ok(())
    }
}

/// A inspector that outlives the station it works in: a product takes a second to load.
pub(super) type KeptInspector = Arc<Mutex<Box<dyn PartInspector>>>;

/// A inspector whose every OK the ledger hears of, before the line does.
pub(super) struct HeardInspector {
    pub(super) inner: KeptInspector,
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<SharedInjector>,
    /// How long inspection takes without a fault.
    pub(super) usual: Duration,
}

impl HeardInspector {
    /// How much longer it takes this time, and whether it fails.
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

impl PartInspector for HeardInspector {
    fn inspect(&mut self, raw: &RawFrame) -> Result<Inspected, InspectorError> {
        let (more, fails) = self.trouble();
        clock::sleep(more);
        if fails {
            // What a camera that was set to another mode brings about.
            let (width, height) = (raw.width / 2, raw.height / 2);
            return Err(InspectorError::OtherView { width, height });
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inspected = inner.inspect(raw)?;
        if inspected.verdict == PartVerdict::Ok {
            self.ledger.said_ok(raw.sequence, clock::now());
        }
        Ok(inspected)
    }
}
