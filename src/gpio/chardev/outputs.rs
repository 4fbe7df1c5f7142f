//! Outputs of the character device.

use super::{CONSUMER, check_distinct, explain};
use crate::gpio::chips::{FoundLine, find};
use crate::gpio::error::GpioError;
use crate::gpio::spec::LineSpec;
use crate::line::devices::{DeviceError, Outputs, SharedLines};
use crate::line::gate::Output;
use gpiocdev::line::Value;
use gpiocdev::{Request, UapiCall};
use gpiocdev_uapi::v2::{LineValues, get_line_values, set_line_values};
use std::fs::File;
use std::os::fd::AsFd;

/// How an output is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drive {
    /// Both levels are driven.
    #[default]
    PushPull,
    /// Low is driven, high comes from a resistor.
    OpenDrain,
    /// High is driven, low comes from a resistor.
    OpenSource,
}

/// One output as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLine {
    /// The meaning of the output.
    pub output: Output,
    /// Its pin.
    pub spec: LineSpec,
    /// Whether the low level means on.
    pub active_low: bool,
    /// How it is driven.
    pub drive: Drive,
}

/// Outputs of the character device, those of one chip in one request.
///
/// Every output starts at [`Output::when_unattended`] with the request itself, and returns to it
/// when this is dropped. If the process dies instead, the kernel releases the lines and most chips
/// keep the level. Only the wiring, and a supervisor that outlives the process, make that safe
/// (docs/wiring.md).
///
/// [`Outputs::set`] is one ioctl with one struct on the stack, [`Outputs::set_all`] and
/// [`Outputs::differs`] are one per chip. They allocate no memory unless they fail.
#[derive(Debug)]
pub struct ChardevOutputs {
    chips: Vec<HeldChip>,
    places: [Option<Place>; Output::ALL.len()],
}

#[derive(Debug)]
struct HeldChip {
    name: String,
    /// In the order of the request, each with its number on the chip.
    lines: Vec<(OutputLine, u32)>,
    set_to: LineValues,
    /// None while the chip is gone.
    held: Option<Held>,
    failed: bool,
}

#[derive(Debug)]
struct Held {
    request: Request,
    /// The same request a second time, for calls on several lines: the library's own calls allocate
    /// memory.
    values: File,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    chip: usize,
    /// Place in the chip's request.
    index: usize,
}

impl ChardevOutputs {
    /// Requests all `lines`, unattended.
    ///
    /// # Errors
    /// [`GpioError`] that names the chip, pin or file and the fix. Then nothing is open.
    pub fn open(lines: Vec<OutputLine>) -> Result<Self, GpioError> {
        let mut outputs = Self {
            chips: request_all(&lines)?,
            places: [None; Output::ALL.len()],
        };
        outputs.find_places();
        Ok(outputs)
    }

    /// Requests the outputs of every failed chip again, by their pins; they start unattended.
    /// Outputs of other chips do not change. It allocates memory and takes time, so the gate must
    /// not call it.
    ///
    /// # Errors
    /// As [`ChardevOutputs::open`]; outputs that could not be opened stay failed, and the caller
    /// tries again.
    pub fn reopen(&mut self) -> Result<(), GpioError> {
        let mut lines = Vec::new();
        for chip in self.chips.iter_mut().filter(|chip| chip.failed) {
            // Released first: a request that still exists makes its own lines busy.
            chip.held = None;
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

    /// Whether a chip failed and [`ChardevOutputs::reopen`] is needed.
    pub fn failed(&self) -> bool {
        self.chips.iter().any(|chip| chip.failed)
    }

    /// Reads `output` back; None if it is not wired. A chip that cannot read an output back returns
    /// the level that was set.
    ///
    /// # Errors
    /// [`GpioError::Lost`] if the chip is gone.
    pub fn level(&self, output: Output) -> Result<Option<bool>, GpioError> {
        let Some(place) = self.places[output as usize] else {
            return Ok(None);
        };
        let chip = &self.chips[place.chip];
        let Some(held) = &chip.held else {
            return Err(chip.lost(output, None));
        };
        match held.request.value(chip.lines[place.index].1) {
            Ok(value) => Ok(Some(value == Value::Active)),
            Err(source) => Err(chip.lost(output, Some(source))),
        }
    }

    fn find_places(&mut self) {
        self.places = [None; Output::ALL.len()];
        for (chip, held) in self.chips.iter().enumerate() {
            for (index, (line, _)) in held.lines.iter().enumerate() {
                self.places[line.output as usize] = Some(Place { chip, index });
            }
        }
    }
}

impl Outputs for ChardevOutputs {
    fn set(&mut self, output: Output, on: bool) -> Result<(), DeviceError> {
        let Some(place) = self.places[output as usize] else {
            return Ok(());
        };
        let chip = &mut self.chips[place.chip];
        let Some(held) = &chip.held else {
            return Err(chip.lost(output, None).into());
        };
        chip.set_to.set(place.index, on);
        let done = held.request.set_value(chip.lines[place.index].1, value(on));
        done.map_err(|source| {
            chip.failed = true;
            chip.lost(output, Some(source)).into()
        })
    }

    fn shared(&self) -> Vec<SharedLines<'_>> {
        let held = self.chips.iter();
        held.filter_map(|chip| {
            Some(SharedLines {
                descriptor: chip.held.as_ref()?.request.as_fd(),
                // An output's bit is its place in the request, which was made in this order.
                lines: chip.lines.iter().map(|(line, _)| line.output).collect(),
            })
        })
        .collect()
    }

    fn set_all(&mut self, levels: &[(Output, bool)]) -> Result<(), DeviceError> {
        let mut failed = None;
        for (number, chip) in self.chips.iter_mut().enumerate() {
            let mut change = LineValues::default();
            let mut first = None;
            for &(output, on) in levels {
                let place = self.places[output as usize].filter(|place| place.chip == number);
                if let Some(place) = place {
                    change.set(place.index, on);
                    first.get_or_insert(output);
                }
            }
            let Some(first) = first else {
                continue;
            };
            let done = match &chip.held {
                Some(held) => set_line_values(&held.values, &change)
                    .map_err(|e| Some(gpiocdev::Error::Uapi(UapiCall::SetLineValues, e))),
                None => Err(None),
            };
            chip.set_to.bits = (chip.set_to.bits & !change.mask) | (change.bits & change.mask);
            chip.set_to.mask |= change.mask;
            if let Err(source) = done {
                chip.failed = true;
                failed.get_or_insert(chip.lost(first, source));
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn differs(&mut self) -> Result<Option<Output>, DeviceError> {
        for chip in &mut self.chips {
            let Some((first, _)) = chip.lines.first() else {
                continue;
            };
            let first = first.output;
            let Some(held) = &chip.held else {
                return Err(chip.lost(first, None).into());
            };
            let mut found = LineValues {
                bits: 0,
                mask: chip.set_to.mask,
            };
            if let Err(e) = get_line_values(&held.values, &mut found) {
                chip.failed = true;
                let source = gpiocdev::Error::Uapi(UapiCall::GetLineValues, e);
                return Err(chip.lost(first, Some(source)).into());
            }
            if let Some(output) = chip.differing(found.bits) {
                return Ok(Some(output));
            }
        }
        Ok(None)
    }
}

impl Drop for ChardevOutputs {
    fn drop(&mut self) {
        let unattended = Output::ALL.map(|output| (output, output.when_unattended()));
        // A chip that is gone cannot be set, and nothing is left that could report it.
        let _ = self.set_all(&unattended);
    }
}

impl HeldChip {
    /// The first output whose level in `found`, one bit per output, is not as it was set. A level
    /// that comes from a resistor is not checked, because another device can pull it.
    fn differing(&self, found: u64) -> Option<Output> {
        let mut lines = self.lines.iter().enumerate();
        let differing = lines.find(|(index, (line, _))| {
            let of = |bits: u64| bits >> index & 1 == 1;
            let on = of(self.set_to.bits);
            let driven = match (line.drive, on != line.active_low) {
                (Drive::PushPull, _) | (Drive::OpenDrain, false) | (Drive::OpenSource, true) => {
                    true
                }
                (Drive::OpenDrain, true) | (Drive::OpenSource, false) => false,
            };
            driven && of(found) != on
        });
        differing.map(|(_, (line, _))| line.output)
    }

    fn lost(&self, output: Output, source: Option<gpiocdev::Error>) -> GpioError {
        GpioError::Lost {
            chip: self.name.clone(),
            used_for: output.name().into(),
            source,
        }
    }
}

fn value(on: bool) -> Value {
    if on { Value::Active } else { Value::Inactive }
}

fn request_all(lines: &[OutputLine]) -> Result<Vec<HeldChip>, GpioError> {
    let mut uses = Vec::new();
    for output in lines {
        uses.push((find(&output.spec)?, output.output.name()));
    }
    check_distinct(&uses)?;
    let mut chips: Vec<HeldChip> = Vec::new();
    for (found, _) in &uses {
        if chips.iter().any(|held| held.name == found.chip) {
            continue;
        }
        let mut on_chip: Vec<(OutputLine, FoundLine)> = lines
            .iter()
            .zip(&uses)
            .filter(|(_, (output, _))| output.path == found.path)
            .map(|(output, (found, _))| (output.clone(), found.clone()))
            .collect();
        // The request sorts its pins; a place in it is a bit of what is set and read at once.
        on_chip.sort_by_key(|(_, pin)| pin.offset);
        chips.push(request(on_chip)?);
    }
    Ok(chips)
}

/// Requests the outputs of one chip, all unattended from the start.
fn request(lines: Vec<(OutputLine, FoundLine)>) -> Result<HeldChip, GpioError> {
    let mut builder = Request::builder();
    builder.with_consumer(CONSUMER);
    for (line, found) in &lines {
        builder
            .on_chip(found.path.clone())
            .with_line(found.offset)
            .as_output(value(line.output.when_unattended()))
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
            .map(|(line, found)| (found.clone(), line.output.name()))
            .collect();
        explain(&uses, source)
    })?;
    let fail = |source| {
        let name = lines.first().map(|(_, found)| found.chip.clone());
        GpioError::Lost {
            chip: name.unwrap_or_default(),
            used_for: lines
                .first()
                .map_or("", |(line, _)| line.output.name())
                .into(),
            source: Some(gpiocdev::Error::from(source)),
        }
    };
    let values = request.as_fd().try_clone_to_owned().map_err(fail)?;
    let mut set_to = LineValues::default();
    for (index, (line, _)) in lines.iter().enumerate() {
        set_to.set(index, line.output.when_unattended());
    }
    Ok(HeldChip {
        set_to,
        name: lines
            .first()
            .map(|(_, found)| found.chip.clone())
            .unwrap_or_default(),
        lines: lines
            .into_iter()
            .map(|(line, found)| (line, found.offset))
            .collect(),
        held: Some(Held {
            request,
            values: values.into(),
        }),
        failed: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(output: Output, spec: &str) -> OutputLine {
        OutputLine {
            output,
            spec: spec.parse().unwrap(),
            active_low: false,
            drive: Drive::PushPull,
        }
    }

    #[test]
    fn a_chip_that_is_not_there_is_an_error_that_names_it() {
        let error = ChardevOutputs::open(vec![line(Output::Ready, "gpiochip4711:17")]).unwrap_err();
        assert!(error.to_string().contains("gpiochip4711"), "{error}");
    }

    #[test]
    fn setting_outputs_that_are_not_wired_has_no_effect_and_no_error() {
        let mut outputs = ChardevOutputs::open(Vec::new()).unwrap();
        for output in Output::ALL {
            outputs.set(output, true).unwrap();
            assert_eq!(outputs.level(output).unwrap(), None);
        }
        assert_eq!(outputs.differs().unwrap(), None);
        assert!(!outputs.failed());
        outputs.reopen().unwrap();
    }

    #[test]
    fn a_chip_that_is_gone_is_an_error_until_it_is_back() {
        let mut outputs = ChardevOutputs {
            chips: vec![HeldChip {
                name: "gpiochip4711".into(),
                lines: vec![(line(Output::Ready, "gpiochip4711:17"), 17)],
                set_to: LineValues::default(),
                held: None,
                failed: true,
            }],
            places: [None; Output::ALL.len()],
        };
        outputs.find_places();
        let error = outputs.set(Output::Ready, true).unwrap_err().to_string();
        assert!(error.contains("gpiochip4711 (ready): lost"), "{error}");
        assert!(outputs.level(Output::Ready).is_err());
        outputs.set(Output::Busy, true).unwrap();
        outputs.set_all(&[(Output::Busy, true)]).unwrap();
        let levels = [(Output::Busy, true), (Output::Ready, true)];
        let error = outputs.set_all(&levels).unwrap_err().to_string();
        assert!(error.contains("gpiochip4711 (ready): lost"), "{error}");
        assert!(outputs.differs().is_err());
        assert!(outputs.reopen().is_err());
        assert!(outputs.failed(), "must be tried again");
    }

    #[test]
    fn an_output_differs_if_it_is_driven_and_reads_another_level() {
        let mut open_drain = line(Output::Ok, "gpiochip0:3");
        open_drain.drive = Drive::OpenDrain;
        let mut low = line(Output::Fault, "gpiochip0:4");
        (low.drive, low.active_low) = (Drive::OpenDrain, true);
        let lines = [
            line(Output::Ready, "gpiochip0:1"),
            line(Output::Pass, "gpiochip0:2"),
            open_drain,
            low,
        ];
        let mut chip = HeldChip {
            name: "gpiochip0".into(),
            lines: lines.into_iter().zip(1..).collect(),
            set_to: LineValues::from_slice(&[true, false, true, true]),
            held: None,
            failed: false,
        };
        assert_eq!(chip.differing(0b1101), None);
        assert_eq!(chip.differing(0b1100), Some(Output::Ready));
        assert_eq!(chip.differing(0b1111), Some(Output::Pass));
        // High comes from a resistor, and another device on the same wire can pull it low.
        assert_eq!(chip.differing(0b1001), None);
        // On is low here, and low is driven.
        assert_eq!(chip.differing(0b0101), Some(Output::Fault));
        chip.set_to.set(2, false);
        assert_eq!(chip.differing(0b1101), Some(Output::Ok));
    }
}
