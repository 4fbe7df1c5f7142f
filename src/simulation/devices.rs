//! What replaces devices if a configuration asks for it.

use super::camera::{Production, RENDERED, RenderedSource};
use super::lines::{TextInputs, TextOutputs, TextSafeOutputs};
use crate::capture::Exposure;
use crate::capture::source::FrameSource;
use crate::line::devices::{DeviceError, Inputs, Outputs, SafeOutputs};
use crate::line::gate::Output;
use crate::station::SimulatedDevices;
use std::path::Path;

/// Drawn parts for `camera.source = "rendered"`, and text entries for a `[plant]`.
#[derive(Clone, Copy, Debug)]
pub struct Devices;

impl SimulatedDevices for Devices {
    fn camera(
        &self,
        seed: u64,
        defective_percent: f64,
        exposure: Exposure,
    ) -> Box<dyn FrameSource> {
        let production = Production::new(seed, RENDERED, defective_percent);
        Box::new(RenderedSource::new(production, exposure))
    }

    fn inputs(&self, path: &Path) -> Result<Box<dyn Inputs>, DeviceError> {
        Ok(Box::new(TextInputs::listen(path)?))
    }

    fn outputs(&self, path: &Path, outputs: &[Output]) -> Result<Box<dyn Outputs>, DeviceError> {
        Ok(Box::new(TextOutputs::open(path, outputs)?))
    }

    fn safe_outputs(
        &self,
        path: &Path,
        outputs: &[Output],
    ) -> Result<Box<dyn SafeOutputs>, DeviceError> {
        Ok(Box::new(TextSafeOutputs::open(path, outputs)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::config;
    use crate::simulation::part;

    #[test]
    fn the_configuration_knows_how_large_a_drawn_picture_is() {
        assert_eq!(config::files::RENDERED_SIZE, part::SIZE);
    }
}
