//! From the settings that were read to the configuration that the program takes.

use super::LineConfig;
use super::board::Board;
use super::sections::Settings;
use super::texts::is_path;
use super::{ProductPlace, StorePlace};
use super::{agreement, recipe};
use crate::capture::settings::{CameraRead, SourceName};
use crate::settings::{ConfigError, Declared, Problems, Setting, nearest};
use crate::store::StoreRead;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl Settings {
    /// Compares the values and makes the configuration. `profile` is the text of the board profile
    /// that the file names, if it was read before. None if there is a problem.
    pub(super) fn taken(
        mut self,
        file: &Path,
        profile: Option<&str>,
        problems: &mut Problems,
    ) -> Option<LineConfig> {
        agreement::check(&self, problems);
        let product = product_of(
            &self.product,
            self.store,
            recipe::chooses(&self.lines),
            problems,
        );
        let board = board(&self.board, file, profile, problems);
        let lines = self.lines.taken(board.as_ref(), problems);
        let board = board?;
        camera_of(&board, &mut self.camera, problems);
        watchdog_of(&board, &mut self.supervisor.watchdog, problems);
        Some(LineConfig {
            file: file.to_path_buf(),
            product: product?,
            recipe: self.recipe.taken()?,
            trust: self.trust.taken()?,
            board,
            camera: self.camera.taken()?,
            trigger: self.trigger.taken()?,
            capture: self.capture.taken()?,
            gate: self.gate.taken()?,
            confirm: self.confirm.taken_if_given()?,
            handshake: self.handshake.taken()?,
            challenge: self.challenge.taken_if_given()?,
            alarm: self.alarm.taken()?,
            inference: self.inference.taken()?,
            sanity: self.sanity.taken()?,
            drift: self.drift.taken_if_given()?,
            lines,
            plant: self.plant.taken_if_given()?,
            supervisor: self.supervisor.taken()?,
            record: self.record.taken()?,
            metrics: self.metrics.taken()?,
            control: self.control.taken()?,
            places: BTreeMap::new(),
        })
    }
}

/// A bundle file or a store, one of both.
fn product_of(
    file: &Setting<PathBuf>,
    store: StoreRead,
    by_inputs: bool,
    problems: &mut Problems,
) -> Option<ProductPlace> {
    let place = store.here();
    match (file.line, place.given) {
        (None, false) => {
            let message = "missing; name a bundle, or give the section [store]";
            problems.note(1, &file.key, message);
            None
        }
        (Some(line), true) => {
            let message = "the line can run a bundle file or what is active in [store], not both; remove one of them";
            problems.note(line, &file.key, message);
            None
        }
        (Some(_), false) => file.value.clone().map(ProductPlace::File),
        (None, true) => store.taken().map(|settings| {
            let products = settings.products(by_inputs);
            ProductPlace::Store(Box::new(StorePlace { settings, products }))
        }),
    }
}

fn board(
    setting: &Setting<String>,
    file: &Path,
    profile: Option<&str>,
    problems: &mut Problems,
) -> Option<Board> {
    let (text, line) = (setting.value.as_deref()?, setting.line.unwrap_or(1));
    let board = if is_path(text) {
        let path = file.parent().unwrap_or(Path::new("")).join(text);
        let board = match profile {
            Some(profile) => Board::parse(profile, &path),
            None => Board::open(&path),
        };
        board.map_err(|error| format!("no usable profile: {}", one_line(&error)))
    } else {
        match Board::embedded(text) {
            Some(board) => board.map_err(|error| one_line(&error)),
            None => {
                let meant = nearest(text, Board::known());
                let hint =
                    meant.map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
                let known: Vec<&str> = Board::known().collect();
                Err(format!(
                    "{text:?} is not a known board{hint}; known: {}, or the path of a profile",
                    known.join(", ")
                ))
            }
        }
    };
    board
        .map_err(|message| problems.note(line, &setting.key, message))
        .ok()
}

/// An error with its causes, in one text line.
fn one_line(error: &ConfigError) -> String {
    let cause = std::error::Error::source(error);
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}").replace('\n', "; ")
}

/// Fills in the values that a V4L2 camera takes from the board profile.
fn camera_of(board: &Board, camera: &mut CameraRead, problems: &mut Problems) {
    if camera.source.value != Some(SourceName::V4l2) {
        return;
    }
    let line = camera.source.line.unwrap_or(1);
    let mut missing = |key: &str| {
        let message = format!(
            "missing; camera.source = \"v4l2\" needs it, and board {} has no default",
            board.name
        );
        problems.note(line, key, message);
    };
    let v4l2 = &mut camera.v4l2;
    if !v4l2.device.given() {
        v4l2.device.value.clone_from(&board.camera_device);
        if v4l2.device.value.is_none() {
            missing(&v4l2.device.key);
        }
    }
    for (setting, default) in [
        (&mut v4l2.width, board.camera_width),
        (&mut v4l2.height, board.camera_height),
    ] {
        if !setting.given() {
            setting.value = default;
            if default.is_none() {
                missing(&setting.key);
            }
        }
    }
}

/// Fills in the watchdog of the board profile, if the file asks for it.
fn watchdog_of(board: &Board, setting: &mut Setting<PathBuf>, problems: &mut Problems) {
    if setting.value.as_deref() != Some(Path::new("board")) {
        return;
    }
    setting.value.clone_from(&board.watchdog);
    if board.watchdog.is_none() {
        let message = format!(
            "board {} has no known watchdog; give its device node",
            board.name
        );
        problems.note(setting.line.unwrap_or(1), &setting.key, message);
    }
}
