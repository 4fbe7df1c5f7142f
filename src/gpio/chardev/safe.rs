//! Switches off the outputs of [`ChardevOutputs`](super::ChardevOutputs) from another process, by
//! the descriptors of its requests.

use super::super::error::GpioError;
use crate::line::devices::{DeviceError, SafeOutputs};
use crate::line::gate::Output;
use gpiocdev_uapi::v2::{LineValues, set_line_values};
use std::fs::File;
use std::os::fd::OwnedFd;

/// The requests of another process, and the place of each output in them.
///
/// A request lives as long as a process has its descriptor. If the other process is killed, the
/// outputs keep their levels, and this process must switch all of them off before it ends.
#[derive(Debug)]
pub struct ChardevSafeOutputs {
    requests: Vec<File>,
    /// Request and bit of each output.
    places: [Option<(usize, u8)>; Output::ALL.len()],
}

impl ChardevSafeOutputs {
    /// Outputs by `places` (number in `requests`, and bit); None for an output that is not wired.
    ///
    /// # Errors
    /// [`GpioError::NoRequest`] for a place that does not exist.
    pub fn new(
        requests: Vec<OwnedFd>,
        places: [Option<(u8, u8)>; Output::ALL.len()],
    ) -> Result<Self, GpioError> {
        let wired = Output::ALL.into_iter().zip(places);
        for (output, place) in wired {
            if place.is_some_and(|(at, bit)| usize::from(at) >= requests.len() || bit >= 64) {
                return Err(GpioError::NoRequest {
                    used_for: output.name(),
                });
            }
        }
        Ok(Self {
            requests: requests.into_iter().map(File::from).collect(),
            places: places.map(|place| place.map(|(at, bit)| (usize::from(at), bit))),
        })
    }
}

impl SafeOutputs for ChardevSafeOutputs {
    fn set_safe(&mut self, output: Output) -> Result<(), DeviceError> {
        let Some((at, bit)) = self.places[output as usize] else {
            return Ok(());
        };
        let values = LineValues {
            bits: u64::from(output.when_unattended()) << bit,
            mask: 1 << bit,
        };
        set_line_values(&self.requests[at], &values).map_err(|source| {
            GpioError::Fall {
                used_for: output.name(),
                source,
            }
            .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_request_that_was_not_handed_over_is_refused() {
        let mut places = [None; Output::ALL.len()];
        assert!(ChardevSafeOutputs::new(Vec::new(), places).is_ok());
        places[Output::Pass as usize] = Some((0, 1));
        let error = ChardevSafeOutputs::new(Vec::new(), places).unwrap_err();
        assert!(error.to_string().contains("pass"), "{error}");
        let file = File::open("/dev/null").unwrap();
        places[Output::Pass as usize] = Some((0, 64));
        assert!(ChardevSafeOutputs::new(vec![file.into()], places).is_err());
    }

    #[test]
    fn a_file_that_is_no_request_is_an_error_and_an_unwired_output_is_ignored() {
        let mut places = [None; Output::ALL.len()];
        places[Output::Ready as usize] = Some((0, 0));
        let file = File::open("/dev/null").unwrap();
        let mut outputs = ChardevSafeOutputs::new(vec![file.into()], places).unwrap();
        let error = outputs.set_safe(Output::Ready).unwrap_err().to_string();
        assert!(error.contains("ready"), "{error}");
        outputs.set_safe(Output::Pass).unwrap();
    }
}
