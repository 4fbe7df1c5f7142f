//! The line's configuration: one TOML file, strict.
//!
//! [`LineConfig::open`] reads a file and reports everything that is wrong with it at once, each
//! problem with its line number. The result is checked as far as the file alone allows.
//! [`LineConfig::check_files`] checks the bundle and folders that it names. The reference of all
//! keys is `docs/config.md`; the example is [`EXAMPLE`].

mod agreement;
mod assembly;
mod board;
mod example;
pub(crate) mod files;
mod place;
mod recipe;
mod sections;
mod station;
mod texts;
mod warnings;
mod wiring;

pub use crate::capture::settings::{Camera, CameraSource, Rendered, Timing, V4l2Camera};
pub use crate::keys::TrustSettings;
pub use crate::line::gate::ConfirmKind;
pub use crate::line::settings::{Alarm, Capture, Confirm, Gate, Handshake, Trigger, TriggerKind};
pub use crate::record::{DriftSettings, Record};
pub use crate::sanity::SanitySettings;
pub use crate::settings::{ConfigError, Known, Problem};
pub use crate::store::{RecipeSettings, StoreSettings};
pub use board::{Bias, Board, Direction, Drive, LineSpec, NoLine, Pin};
pub use example::{EXAMPLE, example};
pub use place::{ProductPlace, ProductPlaceError, StorePlace};
pub use station::{Challenge, Control, Inference, Metrics, Plant, Supervisor};
pub use texts::Texts;
pub use wiring::Lines;

use crate::keys::{Origin, TrustedKeys};
use crate::product::Signature;
use crate::settings::Document;
use sections::Settings;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Largest configuration that is read, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// The configuration of one line.
#[derive(Clone, Debug, PartialEq)]
pub struct LineConfig {
    /// The file, as the caller named it.
    pub file: PathBuf,
    /// Where the product comes from.
    pub product: ProductPlace,
    /// Whose products are accepted.
    pub trust: TrustSettings,
    /// The inputs that choose the product.
    pub recipe: RecipeSettings,
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
    /// What confirms that the ejector did what it should; None: nothing does.
    pub confirm: Option<Confirm>,
    /// Lengths of the pulses for the PLC.
    pub handshake: Handshake,
    /// How often a known-bad part must be rejected; None: off.
    pub challenge: Option<Challenge>,
    /// When there are too many rejects.
    pub alarm: Alarm,
    /// The inspector.
    pub inference: Inference,
    /// Which frames cannot be real pictures.
    pub sanity: SanitySettings,
    /// Alarm on rising scores; None: off.
    pub drift: Option<DriftSettings>,
    /// Inputs and outputs, with their pins.
    pub lines: Lines,
    /// Inputs and outputs through text instead of a GPIO chip; None: real pins.
    pub plant: Option<Plant>,
    /// The process that holds the outputs.
    pub supervisor: Supervisor,
    /// The event log and the kept images.
    pub record: Record,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// Commands to the running line.
    pub control: Control,
    places: BTreeMap<String, usize>,
}

impl LineConfig {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong, each problem with its line number.
    pub fn open(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_file(file)?, file)
    }

    /// Reads `text`. Errors name it `file`, and its paths are relative to that file's folder.
    ///
    /// # Errors
    /// As [`LineConfig::open`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::of(text, None, file)
    }

    /// Makes the configuration of `texts`, which were read before. Opens no file.
    ///
    /// # Errors
    /// As [`LineConfig::open`].
    pub(crate) fn of_texts(texts: &Texts, file: &Path) -> Result<Self, ConfigError> {
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

    /// Whether the line accepts a product with this signature, by the keys that are trusted now.
    ///
    /// # Errors
    /// A refusal, or why the keys cannot be read.
    pub fn judge(&self, signature: &Signature) -> Result<Origin, Box<dyn Error + Send + Sync>> {
        let keys = TrustedKeys::open(&self.trust.keys)?;
        Ok(keys.judge(signature.signer(), self.trust.policy())?)
    }

    /// The line number of `key` (dotted) in the file; None if the key is not in it.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Time for the inspection of one part: from the latest time at which its frame can arrive to
    /// its gate. None if the gate is in encoder counts.
    pub fn inspection_budget(&self) -> Option<std::time::Duration> {
        let after = self.gate.after_time?;
        Some(after.saturating_sub(self.capture.latest()))
    }
}

/// Every key that a line's configuration can have, in the order of the example.
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
    // Reading a pipe or a device could block forever.
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
