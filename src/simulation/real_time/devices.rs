//! The ejector's lines and the judge of a line in real time, with their faults.

use super::injector::{Injector, SharedInjector};
use super::ledger::Ledger;
use crate::capture::source::RawFrame;
use crate::clock;
use crate::line::devices::{DeviceError, Outputs};
use crate::line::gate::{Judgement, Line};
use crate::simulation::faults::Kind;
use crate::simulation::lines::SimulatedOutputs;
use crate::station::{Judge, JudgeError, Judged};
use crate::time::{Duration, Instant};
use std::sync::{Arc, Mutex, PoisonError};

/// Output lines that tell the ledger what they do to the ejector.
pub(super) struct EjectorOutputs {
    pub(super) inner: SimulatedOutputs,
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<SharedInjector>,
}

impl Outputs for EjectorOutputs {
    fn set(&mut self, line: Line, on: bool) -> Result<(), DeviceError> {
        self.set_until(line, on, None)
    }

    fn set_until(
        &mut self,
        line: Line,
        on: bool,
        until: Option<Instant>,
    ) -> Result<(), DeviceError> {
        if line != Line::Pass {
            return self.inner.set(line, on);
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
        self.inner.set(line, on)?;
        let at = if on { before } else { clock::now() };
        self.ledger.pass(at, on, until.unwrap_or(Instant::MAX));
        Ok(())
    }
}

/// A judge that outlives the station it works in: a product takes a second to load.
pub(super) type KeptJudge = Arc<Mutex<Box<dyn Judge>>>;

/// A judge whose every OK the ledger hears of, before the line does.
pub(super) struct HeardJudge {
    pub(super) inner: KeptJudge,
    pub(super) ledger: Arc<Ledger>,
    pub(super) faults: Arc<SharedInjector>,
    /// How long judging takes without a fault.
    pub(super) usual: Duration,
}

impl HeardJudge {
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

impl Judge for HeardJudge {
    fn judge(&mut self, raw: &RawFrame) -> Result<Judged, JudgeError> {
        let (more, fails) = self.trouble();
        clock::sleep(more);
        if fails {
            // What a camera that was set to another mode brings about.
            let (width, height) = (raw.width / 2, raw.height / 2);
            return Err(JudgeError::OtherView { width, height });
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = inner.judge(raw)?;
        if judged.judgement == Judgement::Ok {
            self.ledger.said_ok(raw.sequence, clock::now());
        }
        Ok(judged)
    }
}
