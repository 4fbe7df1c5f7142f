//! The pins between the gate and the plant: a gpio-sim chip.
//!
//! gpio-sim is the kernel's simulated GPIO chip. Inputs are set and outputs are read through
//! sysfs. For the program under test it is a character device like any other.

use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// Names of the chip's pins, by offset, as in the board profile `gpio-sim`.
pub const NAMES: [&str; 8] = [
    "trigger",
    "ready",
    "pass",
    "reject",
    "ok",
    "busy",
    "fault",
    "heartbeat",
];

pub const TRIGGER: usize = 0;
pub const READY: usize = 1;
pub const PASS: usize = 2;
pub const REJECT: usize = 3;
pub const OK: usize = 4;
pub const FAULT: usize = 6;
pub const HEARTBEAT: usize = 7;

const CONFIGFS: &str = "/sys/kernel/config/gpio-sim";

/// The simulated chip.
pub struct Pins {
    folder: PathBuf,
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .map_err(|e| Error::new(e.kind(), format!("{}: {text:?}: {e}", path.display())))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|e| Error::new(e.kind(), format!("{}: {e}", path.display())))
}

impl Pins {
    /// Creates the chip.
    pub fn make() -> Result<Self> {
        let device = Path::new(CONFIGFS).join("line");
        let bank = device.join("bank0");
        fs::create_dir_all(&bank)
            .map_err(|e| Error::new(e.kind(), format!("{}: {e}", bank.display())))?;
        write(&bank.join("label"), "plant")?;
        write(&bank.join("num_lines"), &NAMES.len().to_string())?;
        for (offset, name) in NAMES.iter().enumerate() {
            let line = bank.join(format!("line{offset}"));
            fs::create_dir(&line)?;
            write(&line.join("name"), name)?;
        }
        write(&device.join("live"), "1")?;
        let folder = Path::new("/sys/devices/platform")
            .join(read(&device.join("dev_name"))?)
            .join(read(&bank.join("chip_name"))?);
        Ok(Self { folder })
    }

    /// Folder of the chip in sysfs, for the log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets the level of an input.
    pub fn pull(&self, offset: usize, up: bool) -> Result<()> {
        let file = self.folder.join(format!("sim_gpio{offset}/pull"));
        write(&file, if up { "pull-up" } else { "pull-down" })
    }

    /// Level of a pin.
    pub fn level(&self, offset: usize) -> Result<bool> {
        Ok(read(&self.folder.join(format!("sim_gpio{offset}/value")))? == "1")
    }
}
