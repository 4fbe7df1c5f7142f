//! The line's configuration: one TOML file, strict.
//!
//! [`LineConfig::open`] reads a file and tells everything that is wrong with it at once, each with
//! its line. What it returns is checked as far as the file alone can tell; [`LineConfig::check_files`]
//! looks at the bundle and folders that it names. The file's reference is `docs/config.md`, its
//! example [`EXAMPLE`].

mod agreement;
mod assembly;
mod board;
mod example;
mod files;
mod sections;
mod station;
mod texts;
mod warnings;
mod wiring;

pub use crate::capture::settings::{Camera, CameraSource, Rendered, Timing, V4l2Camera};
pub use crate::line::gate::ConfirmKind;
pub use crate::line::settings::{Alarm, Capture, Confirm, Gate, Handshake, Trigger, TriggerKind};
pub use crate::record::{DriftSettings, Record};
pub use crate::sanity::SanitySettings;
pub use crate::settings::{ConfigError, Known, Problem};
pub use board::{Bias, Board, Direction, Drive, LineSpec, NoLine, PROFILES, Pin, profile_keys};
pub use example::{EXAMPLE, example};
pub use files::RENDERED_SIZE;
pub use station::{Challenge, Control, Inference, Metrics, Plant, Supervisor};
pub use texts::Texts;
pub use wiring::Lines;

use crate::settings::Document;
use sections::Settings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Configurations larger than this are not read, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// A line, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct LineConfig {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The product bundle.
    pub product: PathBuf,
    /// The board's profile.
    pub board: Board,
    /// Where frames come from.
    pub camera: Camera,
    /// What makes a part.
    pub trigger: Trigger,
    /// Which frame belongs to which part.
    pub capture: Capture,
    /// When the ejector acts.
    pub gate: Gate,
    /// What confirms that the ejector did what it was told; None: nothing.
    pub confirm: Option<Confirm>,
    /// How long the pulses for the PLC are.
    pub handshake: Handshake,
    /// How often a known-bad part must be rejected; None: off.
    pub challenge: Option<Challenge>,
    /// When rejects are too many.
    pub alarm: Alarm,
    /// The inspector.
    pub inference: Inference,
    /// Which pictures are no pictures.
    pub sanity: SanitySettings,
    /// Alarm on rising scores; None: off.
    pub drift: Option<DriftSettings>,
    /// What is wired to what.
    pub lines: Lines,
    /// Lines through text instead of a GPIO chip; None: real lines.
    pub plant: Option<Plant>,
    /// Who holds the output lines.
    pub supervisor: Supervisor,
    /// What is kept.
    pub record: Record,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Commands to the running line.
    pub control: Control,
    places: BTreeMap<String, usize>,
}

impl LineConfig {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong with it, each with its line.
    pub fn open(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_file(file)?, file)
    }

    /// Reads `text`; `file` is what errors call it, and what paths in it are relative to.
    ///
    /// # Errors
    /// As [`LineConfig::open`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::of(text, None, file)
    }

    /// Reads `texts`, which were read before: no file is opened.
    ///
    /// # Errors
    /// As [`LineConfig::open`].
    pub fn of_texts(texts: &Texts, file: &Path) -> Result<Self, ConfigError> {
        let profile = texts.profile.as_ref().map(|(_, text)| text.as_str());
        Self::of(&texts.line, profile, file)
    }

    fn of(text: &str, profile: Option<&str>, file: &Path) -> Result<Self, ConfigError> {
        let (mut document, table) = Document::parse(text, file).map_err(|p| p.into_error(file))?;
        let mut top = document.top(&table);
        let settings = Settings::read(&mut document, &mut top);
        document.close(&top);
        document.finish();
        match settings.taken(file, profile, &mut document.problems) {
            Some(mut config) if document.problems.is_empty() => {
                config.places = document.places.into_iter().collect();
                Ok(config)
            }
            _ => Err(document.problems.into_error(file)),
        }
    }

    /// The line of `key` (dotted) in the file; None where it is not in it.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Time for inspection a part: from the latest moment at which its frame can be here to its gate.
    /// None where the gate is in encoder counts.
    pub fn inspection_budget(&self) -> Option<std::time::Duration> {
        let after = self.gate.after_time?;
        Some(after.saturating_sub(self.capture.latest()))
    }
}

/// Every key that a line's configuration may have, in the order of the example.
pub fn known_keys() -> Vec<Known> {
    let Ok((mut document, table)) = Document::parse("", Path::new("")) else {
        return Vec::new();
    };
    let mut top = document.top(&table);
    Settings::read(&mut document, &mut top);
    document.known
}

fn read_file(file: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read {
        path: file.to_path_buf(),
        source,
    };
    let about = std::fs::metadata(file).map_err(read)?;
    // A pipe or a device could block for ever.
    if !about.is_file() {
        return Err(read(std::io::Error::other("not a regular file")));
    }
    if about.len() > MAX_FILE {
        return Err(ConfigError::TooLarge {
            path: file.to_path_buf(),
            size: about.len(),
            limit: MAX_FILE,
        });
    }
    let bytes = std::fs::read(file).map_err(read)?;
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..sound]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        ConfigError::Problems {
            file: file.to_path_buf(),
            problems: vec![Problem {
                line,
                key: String::new(),
                message: "not UTF-8: a letter here is in another encoding; save the file as UTF-8"
                    .into(),
            }],
        }
    })
}

#[cfg(test)]
mod tests;
