//! Output lines.

use super::{CONSUMER, check_distinct, explain};
use crate::gpio::chips::{FoundLine, find};
use crate::gpio::error::GpioError;
use crate::gpio::spec::LineSpec;
use crate::line::devices::{DeviceError, Outputs, SharedLines};
use crate::line::gate::Line;
use gpiocdev::Request;
use gpiocdev::line::Value;
use std::os::fd::AsFd;

/// How an output is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drive {
    /// Both levels are driven.
    #[default]
    PushPull,
    /// Low is driven, high is left to a resistor.
    OpenDrain,
    /// High is driven, low is left to a resistor.
    OpenSource,
}

/// One output line as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLine {
    /// What it means.
    pub line: Line,
    /// Which it is.
    pub spec: LineSpec,
    /// On is the low level.
    pub active_low: bool,
    /// How it is driven.
    pub drive: Drive,
}

/// Output lines of the character device, those of one chip in one request.
///
/// Every line starts as [`Line::when_unattended`] says, from the very request, and is put back
/// there when this is dropped. When the process dies instead, the kernel gives the lines back and
/// most chips leave the level as it was: only the wiring, and a supervisor that outlives the
/// process, make that safe (docs/wiring.md).
///
/// [`Outputs::set`] is one ioctl of one struct on the stack: it takes no memory unless it fails.
#[derive(Debug)]
pub struct ChardevOutputs {
    chips: Vec<HeldChip>,
    places: [Option<Place>; Line::ALL.len()],
}

#[derive(Debug)]
struct HeldChip {
    name: String,
    lines: Vec<(OutputLine, u32)>,
    /// None while the chip is gone.
    request: Option<Request>,
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    chip: usize,
    offset: u32,
}

impl ChardevOutputs {
    /// Requests `lines`.
    ///
    /// # Errors
    /// [`GpioError`] that names the chip, line or file and the fix. Nothing is held then.
    pub fn open(lines: Vec<OutputLine>) -> Result<Self, GpioError> {
        let mut outputs = Self {
            chips: request_all(&lines)?,
            places: [None; Line::ALL.len()],
        };
        outputs.find_places();
        Ok(outputs)
    }

    /// Requests the lines of every chip that failed anew, by their specs; they start unattended
    /// again. Lines of other chips are not touched. Takes memory and time: not for the gate's
    /// path.
    ///
    /// # Errors
    /// As [`ChardevOutputs::open`]; what could not be held stays failed, to be tried again.
    pub fn reopen(&mut self) -> Result<(), GpioError> {
        let mut lines = Vec::new();
        for chip in self.chips.iter_mut().filter(|chip| chip.failed) {
            // Given back first: a request that still exists makes its own lines busy.
            chip.request = None;
            lines.extend(chip.lines.iter().map(|(line, _)| line.clone()));
        }
        if lines.is_empty() {
            return Ok(());
        }
        let held = request_all(&lines)?;
        self.chips.retain(|chip| !chip.failed);
        self.chips.extend(held);
        self.find_places();
        Ok(())
    }

    /// Whether a chip failed and [`ChardevOutputs::reopen`] is due.
    pub fn failed(&self) -> bool {
        self.chips.iter().any(|chip| chip.failed)
    }

    /// Reads `line` back; None where it is not wired. Chips that cannot read an output back repeat
    /// what was set.
    ///
    /// # Errors
    /// [`GpioError::Lost`] when the chip is gone.
    pub fn level(&self, line: Line) -> Result<Option<bool>, GpioError> {
        let Some(place) = self.places[line as usize] else {
            return Ok(None);
        };
        let chip = &self.chips[place.chip];
        let value = match &chip.request {
            Some(request) => request.value(place.offset),
            None => return Err(chip.lost(line, None)),
        };
        match value {
            Ok(value) => Ok(Some(value == Value::Active)),
            Err(source) => Err(chip.lost(line, Some(source))),
        }
    }

    fn find_places(&mut self) {
        self.places = [None; Line::ALL.len()];
        for (chip, held) in self.chips.iter().enumerate() {
            for (line, offset) in &held.lines {
                self.places[line.line as usize] = Some(Place {
                    chip,
                    offset: *offset,
                });
            }
        }
    }
}

impl Outputs for ChardevOutputs {
    fn set(&mut self, line: Line, on: bool) -> Result<(), DeviceError> {
        let Some(place) = self.places[line as usize] else {
            return Ok(());
        };
        let chip = &mut self.chips[place.chip];
        let done = match &chip.request {
            Some(request) => request.set_value(place.offset, value(on)),
            None => return Err(chip.lost(line, None).into()),
        };
        done.map_err(|source| {
            chip.failed = true;
            chip.lost(line, Some(source)).into()
        })
    }

    fn shared(&self) -> Vec<SharedLines<'_>> {
        let held = self.chips.iter();
        held.filter_map(|chip| {
            Some(SharedLines {
                descriptor: chip.request.as_ref()?.as_fd(),
                // A line's bit is its place in the request, which was made in this order.
                lines: chip.lines.iter().map(|(line, _)| line.line).collect(),
            })
        })
        .collect()
    }
}

impl Drop for ChardevOutputs {
    fn drop(&mut self) {
        for chip in &self.chips {
            for (line, offset) in &chip.lines {
                if let Some(request) = &chip.request {
                    // A chip that is gone cannot be told, and nobody is left to tell of it.
                    let _ = request.set_value(*offset, value(line.line.when_unattended()));
                }
            }
        }
    }
}

impl HeldChip {
    fn lost(&self, line: Line, source: Option<gpiocdev::Error>) -> GpioError {
        GpioError::Lost {
            chip: self.name.clone(),
            used_for: line.name().into(),
            source,
        }
    }
}

fn value(on: bool) -> Value {
    if on { Value::Active } else { Value::Inactive }
}

fn request_all(lines: &[OutputLine]) -> Result<Vec<HeldChip>, GpioError> {
    let mut uses = Vec::new();
    for line in lines {
        uses.push((find(&line.spec)?, line.line.name()));
    }
    check_distinct(&uses)?;
    let mut chips: Vec<HeldChip> = Vec::new();
    for (found, _) in &uses {
        if chips.iter().any(|held| held.name == found.chip) {
            continue;
        }
        let on_chip: Vec<(OutputLine, FoundLine)> = lines
            .iter()
            .zip(&uses)
            .filter(|(_, (line, _))| line.path == found.path)
            .map(|(line, (found, _))| (line.clone(), found.clone()))
            .collect();
        chips.push(request(on_chip)?);
    }
    Ok(chips)
}

/// Requests the lines of one chip, all unattended from the start.
fn request(lines: Vec<(OutputLine, FoundLine)>) -> Result<HeldChip, GpioError> {
    let mut builder = Request::builder();
    builder.with_consumer(CONSUMER);
    for (line, found) in &lines {
        builder
            .on_chip(found.path.clone())
            .with_line(found.offset)
            .as_output(value(line.line.when_unattended()))
            .with_drive(match line.drive {
                Drive::PushPull => gpiocdev::line::Drive::PushPull,
                Drive::OpenDrain => gpiocdev::line::Drive::OpenDrain,
                Drive::OpenSource => gpiocdev::line::Drive::OpenSource,
            });
        if line.active_low {
            builder.as_active_low();
        }
    }
    let request = builder.request().map_err(|source| {
        let uses: Vec<(FoundLine, &'static str)> = lines
            .iter()
            .map(|(line, found)| (found.clone(), line.line.name()))
            .collect();
        explain(&uses, source)
    })?;
    Ok(HeldChip {
        name: lines
            .first()
            .map(|(_, found)| found.chip.clone())
            .unwrap_or_default(),
        lines: lines
            .into_iter()
            .map(|(line, found)| (line, found.offset))
            .collect(),
        request: Some(request),
        failed: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: Line, spec: &str) -> OutputLine {
        OutputLine {
            line,
            spec: spec.parse().unwrap(),
            active_low: false,
            drive: Drive::PushPull,
        }
    }

    #[test]
    fn a_chip_that_is_not_there_is_an_error_that_names_it() {
        let error = ChardevOutputs::open(vec![line(Line::Ready, "gpiochip4711:17")]).unwrap_err();
        assert!(error.to_string().contains("gpiochip4711"), "{error}");
    }

    #[test]
    fn lines_that_are_not_wired_are_set_in_vain_and_without_error() {
        let mut outputs = ChardevOutputs::open(Vec::new()).unwrap();
        for line in Line::ALL {
            outputs.set(line, true).unwrap();
            assert_eq!(outputs.level(line).unwrap(), None);
        }
        assert!(!outputs.failed());
        outputs.reopen().unwrap();
    }

    #[test]
    fn a_chip_that_is_gone_is_an_error_until_it_is_back() {
        let mut outputs = ChardevOutputs {
            chips: vec![HeldChip {
                name: "gpiochip4711".into(),
                lines: vec![(line(Line::Ready, "gpiochip4711:17"), 17)],
                request: None,
                failed: true,
            }],
            places: [None; Line::ALL.len()],
        };
        outputs.find_places();
        let error = outputs.set(Line::Ready, true).unwrap_err().to_string();
        assert!(error.contains("gpiochip4711 (ready): lost"), "{error}");
        assert!(outputs.level(Line::Ready).is_err());
        outputs.set(Line::Busy, true).unwrap();
        assert!(outputs.reopen().is_err());
        assert!(outputs.failed(), "must be tried again");
    }
}
