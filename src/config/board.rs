//! Board profiles: the kernel's names for the pins of a header, the usual camera of a board, and
//! which pin a text in a configuration means.

use crate::settings::kind::{decimal, device, text, texts, whole, word};
use crate::settings::{Absent, ConfigError, Document, Section, nearest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Profiles in the binary: name and text, sorted by name.
pub(crate) const PROFILES: &[(&str, &str)] =
    include!(concat!(env!("OUT_DIR"), "/board_profiles.rs"));

/// A pin as a configuration states it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LineSpec {
    /// The text in the configuration.
    pub text: String,
    /// `gpiochip0`, or the chip's label such as `tegra234-gpio`; None: the chip that has the pin.
    pub chip: Option<String>,
    /// Offset in the chip; None: the pin is found by `name`.
    pub offset: Option<u32>,
    /// The kernel's name of the pin; None: it is found by `offset`.
    pub name: Option<String>,
    /// Whether the low level means on.
    pub active_low: bool,
    /// Pull resistor; for inputs.
    pub bias: Bias,
    /// How an output drives its pin.
    pub drive: Drive,
}

impl LineSpec {
    /// The pin in the form that `gpio` reads: `CHIP:OFFSET`, `CHIP:NAME` or `line NAME`.
    pub fn wire(&self) -> String {
        match (&self.chip, self.offset, &self.name) {
            (Some(chip), Some(offset), _) => format!("{chip}:{offset}"),
            (Some(chip), None, Some(name)) => format!("{chip}:{name}"),
            (_, _, name) => format!("line {}", name.as_deref().unwrap_or_default()),
        }
    }

    /// Whether both are certainly the same pin, as far as the texts show. A chip can be written in
    /// two ways, and a name with or without its chip. What only the machine knows is checked by
    /// `doctor`.
    pub(crate) fn same_wire(&self, other: &Self) -> bool {
        let chip = |spec: &Self| {
            let chip = spec.chip.as_deref()?;
            Some(chip.strip_prefix("/dev/").unwrap_or(chip).to_string())
        };
        let chips = match (chip(self), chip(other)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let named = self.name.is_some() && self.name == other.name;
        let numbered = self.offset.is_some() && self.offset == other.offset;
        chips && (named || numbered)
    }
}

/// The pull resistor of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// As the board set it.
    #[default]
    AsIs,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
}

/// How an output drives its pin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drive {
    /// Both levels.
    #[default]
    PushPull,
    /// Only the low level; a resistor pulls the pin high.
    OpenDrain,
}

/// In which direction a pin can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// As an input or an output.
    Both,
    /// The board can only read it.
    Input,
    /// The board can only drive it.
    Output,
}

/// One pin of a header.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pin {
    /// Number on the header.
    pub number: u32,
    /// Chip label; None if labels differ between kernels and the name is enough.
    pub chip: Option<String>,
    /// The kernel's name of the pin.
    pub line: String,
    /// In which direction it can be used.
    pub usable: Direction,
    /// Note for whoever wires it; can be empty.
    pub note: String,
}

/// A board: pins and defaults.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Board {
    /// Name in configurations.
    pub name: String,
    /// Full name, for people.
    pub title: String,
    /// Entries of `/proc/device-tree/compatible` that identify this board; can be empty.
    pub compatible: Vec<String>,
    /// Sources of the facts.
    pub sources: Vec<String>,
    /// What was tried on hardware, for people.
    pub verified: String,
    /// Notes to read before wiring.
    pub note: String,
    /// Level of the pins, volts; None if it depends on the adapter.
    pub volts: Option<f64>,
    /// `cpu` or `cuda`: what the board could run the network on.
    pub accelerator: String,
    /// Hardware watchdog; None if there is none or none is known.
    pub watchdog: Option<PathBuf>,
    /// Device node of the camera.
    pub camera_device: Option<PathBuf>,
    /// Camera width, pixels.
    pub camera_width: Option<u32>,
    /// Camera height, pixels.
    pub camera_height: Option<u32>,
    /// Pins by number.
    pub pins: BTreeMap<u32, Pin>,
    /// Pins by a name of the profile's own, such as `trigger` of the simulated chip. The values
    /// are the kernel's names.
    pub names: BTreeMap<String, String>,
    /// Wiring that `partgate config example` shows: name of the input or output, and pin.
    pub example: BTreeMap<String, String>,
}

/// Why a text is not a pin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoLine(String);

/// Ways to write a pin.
const FORMS: &str = r#""pin N" of the board's header, "gpiochipN:OFFSET", "LABEL:OFFSET", "LABEL:NAME" or "line NAME""#;

/// No chip has more pins.
const MAX_OFFSET: u32 = 65_536;

/// Longest name of a chip or pin in the kernel's interface, bytes.
const LONGEST_NAME: usize = 31;

impl Board {
    /// Names of the profiles in the binary.
    pub fn known() -> impl Iterator<Item = &'static str> {
        PROFILES.iter().map(|(name, _)| *name)
    }

    /// The profile in the binary with this name; None if there is none.
    ///
    /// # Errors
    /// [`ConfigError`] if the profile does not parse. A test parses all of them.
    pub fn embedded(name: &str) -> Option<Result<Self, ConfigError>> {
        let (name, text) = PROFILES.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(text, Path::new(&format!("{name}.toml"))))
    }

    /// The profile whose `compatible` names this machine's device tree. None if the machine has no
    /// device tree or an unknown one.
    pub fn of_this_machine() -> Option<&'static str> {
        let compatible = std::fs::read_to_string("/proc/device-tree/compatible").ok()?;
        let here: Vec<&str> = compatible.split('\0').collect();
        Self::known().find(|name| {
            Self::embedded(name)
                .and_then(Result::ok)
                .is_some_and(|board| board.compatible.iter().any(|c| here.contains(&&**c)))
        })
    }

    /// Reads the profile in `file`.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong with it.
    pub fn open(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(&super::read_file(file)?, file)
    }

    /// Reads the profile in `text`. Errors name it `file`.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong with it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let (mut document, table) = Document::parse(text, file).map_err(|p| p.into_error(file))?;
        let mut top = document.top(&table);
        let board = Self::read(&mut document, &mut top, file);
        document.close(&top);
        document.finish();
        match board {
            Some(board) if document.problems.is_empty() => Ok(board),
            _ => Err(document.problems.into_error(file)),
        }
    }

    fn read(document: &mut Document, top: &mut Section<'_>, file: &Path) -> Option<Self> {
        let none = Absent::Leaves("none");
        let title = document.setting(top, "title", text("text"), Absent::Refused);
        let names = texts("device tree names", 32);
        let compatible = document.setting(top, "compatible", names, none);
        let sources = document.setting(top, "sources", texts("texts", 32), none);
        let verified = document.setting(top, "verified", text("text"), Absent::Refused);
        let note = document.setting(top, "note", text("text"), none);
        let volts = document.setting(top, "volts", decimal(0.5..=48.0, "V"), none);
        let accelerators = word(&[("cpu", "cpu"), ("cuda", "cuda")]);
        let cpu = Absent::Means("\"cpu\"");
        let accelerator = document.setting(top, "accelerator", accelerators, cpu);
        let watchdog = document.setting(top, "watchdog", device("a device"), none);

        let mut camera = document.section(top, "camera");
        let camera_device = document.setting(&mut camera, "device", device("a device"), none);
        let side = || whole(16..=16384, "pixels");
        let camera_width = document.setting(&mut camera, "width", side(), none);
        let camera_height = document.setting(&mut camera, "height", side(), none);
        document.close(&camera);

        let mut pins = BTreeMap::new();
        let mut section = document.section(top, "pins");
        for (key, mut table) in document.tables(&mut section, "pins.N") {
            if let Some(pin) = Self::pin(document, &key, &mut table) {
                pins.insert(pin.number, pin);
            }
            document.close(&table);
        }
        let names = document.pairs(top, "names");
        let example = document.pairs(top, "example");
        let name = file.file_stem().map(|stem| stem.to_string_lossy());
        Some(Self {
            name: name.unwrap_or_default().into_owned(),
            title: title.value?,
            compatible: compatible.value.unwrap_or_default(),
            sources: sources.value.unwrap_or_default(),
            verified: verified.value?,
            note: note.value.unwrap_or_default(),
            volts: volts.value,
            accelerator: accelerator.value?.into(),
            watchdog: watchdog.value,
            camera_device: camera_device.value,
            camera_width: camera_width.value,
            camera_height: camera_height.value,
            pins,
            names,
            example,
        })
    }

    fn pin(document: &mut Document, key: &str, table: &mut Section<'_>) -> Option<Pin> {
        let number = key.parse().ok().filter(|n| (1..=100).contains(n));
        if number.is_none() {
            let message = format!("{key:?} is not a pin number, 1 to 100");
            document.problems.note(table.here().line, "pins", message);
        }
        let chip = text("a chip label");
        let chip = document.setting(table, "chip", chip, Absent::Leaves("any chip"));
        let line = text("a kernel line name");
        let line = document.setting(table, "line", line, Absent::Refused);
        let usable = word(&[
            ("both", Direction::Both),
            ("input", Direction::Input),
            ("output", Direction::Output),
        ]);
        let usable = document.setting(table, "usable", usable, Absent::Means("\"both\""));
        let note = document.setting(table, "note", text("text"), Absent::Leaves("nothing"));
        Some(Pin {
            number: number?,
            chip: chip.value,
            line: line.value?,
            usable: usable.value?,
            note: note.value.unwrap_or_default(),
        })
    }

    /// The pin that `text` means on this board, for use as an input or an output.
    ///
    /// # Errors
    /// [`NoLine`], which states what is allowed.
    pub fn line(&self, text: &str, output: bool) -> Result<LineSpec, NoLine> {
        let spec = |chip: Option<&str>, offset, name: Option<&str>| LineSpec {
            text: text.into(),
            chip: chip.map(str::to_string),
            offset,
            name: name.map(str::to_string),
            active_low: false,
            bias: Bias::default(),
            drive: Drive::default(),
        };
        let part = text.rsplit([':', ' ']).next().unwrap_or_default();
        if text.chars().any(char::is_control) || part.len() > LONGEST_NAME || text.len() > 255 {
            return Err(NoLine(format!(
                "not the name of a pin: names have at most {LONGEST_NAME} bytes and no control characters; known: {FORMS}"
            )));
        }
        if let Some(number) = text.strip_prefix("pin ") {
            let pin = self.pin_numbered(number.trim())?;
            let fits = match pin.usable {
                Direction::Both => true,
                Direction::Input => !output,
                Direction::Output => output,
            };
            return if fits {
                Ok(spec(pin.chip.as_deref(), None, Some(&pin.line)))
            } else {
                Err(NoLine(format!(
                    "pin {} of {} can only be an {}",
                    pin.number,
                    self.name,
                    if output { "input" } else { "output" }
                )))
            };
        }
        if let Some(name) = text.strip_prefix("line ") {
            let name = name.trim();
            return if name.is_empty() {
                Err(NoLine(format!("no name after \"line\"; known: {FORMS}")))
            } else {
                Ok(spec(None, None, Some(name)))
            };
        }
        if let Some((chip, rest)) = text.rsplit_once(':') {
            let (chip, rest) = (chip.trim(), rest.trim());
            let number = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
            return match rest.parse::<u32>() {
                Ok(offset) if number && offset < MAX_OFFSET && !chip.is_empty() => {
                    Ok(spec(Some(chip), Some(offset), None))
                }
                _ if number || chip.is_empty() || rest.is_empty() => Err(NoLine(format!(
                    "not a pin of a GPIO chip: offsets are 0 to {}; known: {FORMS}",
                    MAX_OFFSET - 1
                ))),
                _ => Ok(spec(Some(chip), None, Some(rest))),
            };
        }
        match self.names.get(text) {
            Some(name) => Ok(spec(None, None, Some(name))),
            None => {
                let meant = nearest(text, self.names.keys().map(String::as_str));
                let hint = meant.map_or_else(String::new, |n| format!("; did you mean {n:?}?"));
                Err(NoLine(format!(
                    "board {} has no pin of this name{hint}; known: {FORMS}",
                    self.name
                )))
            }
        }
    }

    fn pin_numbered(&self, number: &str) -> Result<&Pin, NoLine> {
        let found = number.parse().ok().and_then(|n: u32| self.pins.get(&n));
        found.ok_or_else(|| {
            if self.pins.is_empty() {
                return NoLine(format!(
                    "board {} has no header; write \"gpiochipN:OFFSET\" or \"line NAME\" (`gpioinfo` lists them)",
                    self.name
                ));
            }
            let numbers: Vec<String> = self.pins.keys().map(u32::to_string).collect();
            NoLine(format!(
                "board {} has no GPIO on pin {number}; it has {}",
                self.name,
                numbers.join(", ")
            ))
        })
    }
}
