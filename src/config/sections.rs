//! The whole file, key by key, before anything is compared or put together.

use super::station::{
    ChallengeRead, ControlRead, InferenceRead, MetricsRead, PlantRead, SupervisorRead,
};
use super::wiring::LinesRead;
use crate::capture::settings::CameraRead;
use crate::keys::TrustRead;
use crate::line::settings::{
    AlarmRead, CaptureRead, ConfirmRead, GateRead, HandshakeRead, TriggerRead,
};
use crate::record::{DriftRead, RecordRead};
use crate::sanity::SanityRead;
use crate::settings::kind::{path, text};
use crate::settings::{Absent, Declared, Document, Section, Setting};
use crate::store::{RecipeRead, StoreRead};
use std::path::PathBuf;

/// Every section as it is read.
pub(super) struct Settings {
    pub(super) product: Setting<PathBuf>,
    pub(super) store: StoreRead,
    pub(super) recipe: RecipeRead,
    pub(super) trust: TrustRead,
    pub(super) board: Setting<String>,
    pub(super) camera: CameraRead,
    pub(super) trigger: TriggerRead,
    pub(super) capture: CaptureRead,
    pub(super) gate: GateRead,
    pub(super) confirm: ConfirmRead,
    pub(super) handshake: HandshakeRead,
    pub(super) challenge: ChallengeRead,
    pub(super) alarm: AlarmRead,
    pub(super) inference: InferenceRead,
    pub(super) sanity: SanityRead,
    pub(super) drift: DriftRead,
    pub(super) lines: LinesRead,
    pub(super) plant: PlantRead,
    pub(super) supervisor: SupervisorRead,
    pub(super) record: RecordRead,
    pub(super) metrics: MetricsRead,
    pub(super) control: ControlRead,
}

impl Settings {
    /// Reads every key; wrong ones are in the document's problems afterwards.
    pub(super) fn read(document: &mut Document, top: &mut Section<'_>) -> Self {
        let bundle = path("path of a bundle, relative to this file");
        let profile = text("name of a board profile, or path of one (with a / or .toml)");
        Self {
            product: document.setting(
                top,
                "product",
                bundle,
                Absent::Leaves("the product that is active in [store]"),
            ),
            board: document.setting(top, "board", profile, Absent::Refused),
            store: Declared::read(document, top),
            recipe: Declared::read(document, top),
            trust: Declared::read(document, top),
            camera: CameraRead::read(document, top),
            trigger: Declared::read(document, top),
            capture: Declared::read(document, top),
            gate: Declared::read(document, top),
            confirm: Declared::read(document, top),
            handshake: Declared::read(document, top),
            challenge: Declared::read(document, top),
            alarm: Declared::read(document, top),
            inference: Declared::read(document, top),
            sanity: Declared::read(document, top),
            drift: Declared::read(document, top),
            lines: LinesRead::read(document, top),
            plant: Declared::read(document, top),
            supervisor: Declared::read(document, top),
            record: Declared::read(document, top),
            metrics: Declared::read(document, top),
            control: Declared::read(document, top),
        }
    }
}
