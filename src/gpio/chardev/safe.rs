//! Lets the lines of [`ChardevOutputs`](super::ChardevOutputs) fall from another process, by the
//! descriptors of its requests.

use super::super::error::GpioError;
use crate::line::devices::{DeviceError, SafeOutputs};
use crate::line::gate::Output;
use gpiocdev_uapi::v2::{LineValues, set_line_values};
use std::fs::File;
use std::os::fd::OwnedFd;

/// The requests of another process, and where each line is in them.
///
/// A request lives for as long as anybody holds its descriptor: when the other process is killed the
/// lines stay as they are, and this one has to let all of them fall before it ends.
#[derive(Debug)]
pub struct ChardevSafeOutputs {
    requests: Vec<File>,
    /// Request and bit of each line.
    places: [Option<(usize, u8)>; Output::ALL.len()],
}

impl ChardevSafeOutputs {
    /// Lines by `places` (number in `requests`, and bit); None where a line is not wired.
    ///
    /// # Errors
    /// [`GpioError::NoRequest`] for a place that is not there.
    pub fn new(
        requests: Vec<OwnedFd>,
        places: [Option<(u8, u8)>; Output::ALL.len()],
    ) -> Result<Self, GpioError> {
        let wired = Output::ALL.into_iter().zip(places);
        for (line, place) in wired {
            if place.is_some_and(|(at, bit)| usize::from(at) >= requests.len() || bit >= 64) {
                return Err(GpioError::NoRequest {
                    used_for: line.name(),
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
    fn fall(&mut self, output: Output) -> Result<(), DeviceError> {
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
    fn what_is_no_request_is_an_error_that_names_the_line_and_what_is_not_wired_falls_in_vain() {
        let mut places = [None; Output::ALL.len()];
        places[Output::Ready as usize] = Some((0, 0));
        let file = File::open("/dev/null").unwrap();
        let mut outputs = ChardevSafeOutputs::new(vec![file.into()], places).unwrap();
        let error = outputs.fall(Output::Ready).unwrap_err().to_string();
        assert!(error.contains("ready"), "{error}");
        outputs.fall(Output::Pass).unwrap();
    }
}
