//! Board profiles: what the pins of a header are called by the kernel, what camera a board usually
//! has, and which text in a configuration means which GPIO line.

use crate::settings::kind::{decimal, device, text, texts, whole, word};
use crate::settings::{Absent, ConfigError, Document, Known, Section, nearest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Profiles in the binary: name and text, sorted by name.
pub const PROFILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/board_profiles.rs"));

/// A GPIO line as a configuration means it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LineSpec {
    /// The text in the configuration.
    pub text: String,
    /// `gpiochip0`, or the chip's label such as `tegra234-gpio`; None: whichever chip has the line.
    pub chip: Option<String>,
    /// Offset in the chip; None: found by `name`.
    pub offset: Option<u32>,
    /// The kernel's name of the line; None: found by `offset`.
    pub name: Option<String>,
    /// Low on the wire means on.
    pub active_low: bool,
    /// Pull resistor, for inputs.
    pub bias: Bias,
    /// How an output drives.
    pub drive: Drive,
}

impl LineSpec {
    /// Which line it is, whatever the configuration calls it: `CHIP:OFFSET`, `CHIP:NAME` or
    /// `line NAME`, as `gpio` reads it.
    pub fn wire(&self) -> String {
        match (&self.chip, self.offset, &self.name) {
            (Some(chip), Some(offset), _) => format!("{chip}:{offset}"),
            (Some(chip), None, Some(name)) => format!("{chip}:{name}"),
            (_, _, name) => format!("line {}", name.as_deref().unwrap_or_default()),
        }
    }

    /// Whether both are certainly one wire, as far as their texts tell: two ways to write a chip, and
    /// a name with and without its chip. What only the machine knows is `doctor`'s.
    pub fn same_wire(&self, other: &Self) -> bool {
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
    /// As the board set it up.
    #[default]
    AsIs,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
}

/// How an output drives its wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drive {
    /// Both levels.
    #[default]
    PushPull,
    /// Low only; a resistor pulls it high.
    OpenDrain,
}

/// Which way a pin can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Either.
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
    /// Chip label; None where labels differ between kernels and the name says enough.
    pub chip: Option<String>,
    /// The kernel's name of the line.
    pub line: String,
    /// Which way it can be used.
    pub usable: Direction,
    /// What to know about it; may be empty.
    pub note: String,
}

/// A board: pins and defaults.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Board {
    /// Name in configurations.
    pub name: String,
    /// In words.
    pub title: String,
    /// Entries of `/proc/device-tree/compatible` that mean this board; may be empty.
    pub compatible: Vec<String>,
    /// Where the facts come from.
    pub sources: Vec<String>,
    /// What was tried on hardware, in words.
    pub verified: String,
    /// What to know before wiring.
    pub note: String,
    /// Level of the pins, volts; None where it depends on the adapter.
    pub volts: Option<f64>,
    /// `cpu` or `cuda`: what the board could inspect on.
    pub accelerator: String,
    /// Hardware watchdog; None where there is none, or none is known.
    pub watchdog: Option<PathBuf>,
    /// Camera node.
    pub camera_device: Option<PathBuf>,
    /// Camera width, pixels.
    pub camera_width: Option<u32>,
    /// Camera height, pixels.
    pub camera_height: Option<u32>,
    /// Pins by number.
    pub pins: BTreeMap<u32, Pin>,
    /// Lines by a name of the profile's own, such as `trigger` of the simulated chip: the kernel's
    /// line names.
    pub names: BTreeMap<String, String>,
    /// Wiring that `partgate config example` shows: role and text.
    pub example: BTreeMap<String, String>,
}

/// Why a text means no line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoLine(String);

/// Ways to write a line.
const FORMS: &str = r#""pin N" of the board's header, "gpiochipN:OFFSET", "LABEL:OFFSET", "LABEL:NAME" or "line NAME""#;

/// No chip has more lines.
const MAX_OFFSET: u32 = 65_536;

/// Longest name of a chip or line in the kernel's interface, bytes.
const LONGEST_NAME: usize = 31;

impl Board {
    /// Names of the profiles in the binary.
    pub fn known() -> impl Iterator<Item = &'static str> {
        PROFILES.iter().map(|(name, _)| *name)
    }

    /// The profile called `name` in the binary.
    ///
    /// # Errors
    /// None for an unknown name; a profile that does not parse is an error (a test parses all).
    pub fn embedded(name: &str) -> Option<Result<Self, ConfigError>> {
        let (name, text) = PROFILES.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(text, Path::new(&format!("{name}.toml"))))
    }

    /// The profile whose `compatible` names this machine's device tree; None on a machine without
    /// one, or an unknown one.
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

    /// Reads the profile in `text`; `file` is what errors call it.
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
            let message = format!("{key:?} is no pin number, 1 to 100");
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

    /// The line that `text` means on this board, for use as an input or an output.
    ///
    /// # Errors
    /// [`NoLine`], which says what would be known.
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
                "no name of a line: names have at most {LONGEST_NAME} bytes and no control characters; known: {FORMS}"
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
                    "no line of a GPIO chip: offsets are 0 to {}; known: {FORMS}",
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
                    "board {} has no line of this name{hint}; known: {FORMS}",
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

/// Every key of a profile.
pub fn profile_keys() -> Vec<Known> {
    let file = Path::new("profile.toml");
    let Ok((mut document, table)) = Document::parse("[pins.1]", file) else {
        return Vec::new();
    };
    let mut top = document.top(&table);
    let _ = Board::read(&mut document, &mut top, file);
    document.known
}
