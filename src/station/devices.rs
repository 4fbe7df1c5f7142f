//! Makes devices from a configuration.

use crate::capture::Exposure;
use crate::capture::folder_source::FolderSource;
use crate::capture::recorded::RecordedSource;
use crate::capture::source::{CaptureError, FrameSource, Handled, Handling};
use crate::capture::v4l2;
use crate::config::{self, CameraSource, LineConfig, Rendered, TriggerKind};
use crate::frame::file::ImageFileError;
use crate::gpio::{
    self, ChardevInputs, ChardevOutputs, ChardevSafeOutputs, Debounce, InputLine, OutputLine,
};
use crate::line::controller::ControllerSettings;
use crate::line::devices::{DeviceError, Input, Inputs, Outputs, SafeOutputs};
use crate::line::gate::{AlarmSettings, ConfirmSettings, Output, Settings};
use crate::line::pairing::PairingSettings;
use crate::product::{GoldenKind, Product};
use crate::sanity::{Finding, Sanity, SanityError, SanitySettings};
use crate::time::Duration;
use std::os::fd::OwnedFd;
use std::path::Path;
use thiserror::Error;

/// Why the devices of a configuration cannot be made.
#[derive(Debug, Error)]
pub enum DeviceSetupError {
    /// The camera cannot be used.
    #[error("camera")]
    Camera(#[from] CaptureError),
    /// A pin of `[lines]` cannot be parsed.
    #[error("lines.{name}")]
    LineName {
        /// Name of the input or output.
        name: &'static str,
        /// Why it cannot be parsed.
        source: gpio::LineSpecError,
    },
    /// A simulated input or output cannot be used.
    #[error("plant")]
    Plant(#[source] DeviceError),
    /// A pin cannot be used.
    #[error("lines")]
    Gpio(#[from] gpio::GpioError),
    /// The picture checks cannot be made.
    #[error("sanity")]
    Sanity(#[from] SanityError),
    /// A golden image for the picture checks cannot be read.
    #[error("[sanity]: the bundle's golden image cannot be read")]
    Golden(#[from] ImageFileError),
    /// The product's own good parts violate a limit of the picture checks.
    #[error(
        "sanity.{key}: golden good image {name} of the product is {finding}, so good parts would be UNKNOWN; change the limit or leave it out"
    )]
    Unfit {
        /// Key of the limit.
        key: &'static str,
        /// The golden image.
        name: String,
        /// The violation.
        finding: Finding,
    },
}

/// Opens devices of a configuration that have no hardware. The station itself opens only real
/// devices, so the caller passes this in.
pub trait SimulatedDevices {
    /// The camera of `camera.source = "rendered"`, not opened yet. `defective_percent` of its
    /// parts (0 to 100) have a defect. The same `seed` gives the same parts.
    fn camera(&self, seed: u64, defective_percent: f64, exposure: Exposure)
    -> Box<dyn FrameSource>;

    /// The inputs of a `[plant]`, which receives edges through `path`.
    ///
    /// # Errors
    /// If `path` cannot be used.
    fn inputs(&self, path: &Path) -> Result<Box<dyn Inputs>, DeviceError>;

    /// The outputs of a `[plant]`, which sends changes of `lines` through `path`. They start in
    /// the safe state.
    ///
    /// # Errors
    /// If `path` cannot be used.
    fn outputs(&self, path: &Path, lines: &[Output]) -> Result<Box<dyn Outputs>, DeviceError>;

    /// Lets this process switch off `lines`, which another process has opened at `path`.
    ///
    /// # Errors
    /// If `path` cannot be used.
    fn safe_outputs(
        &self,
        path: &Path,
        lines: &[Output],
    ) -> Result<Box<dyn SafeOutputs>, DeviceError>;
}

fn time(of: std::time::Duration) -> Duration {
    of.into()
}

/// The settings of the controller for the configured line.
pub fn controller_settings(config: &LineConfig) -> ControllerSettings {
    let (gate, trigger) = (&config.gate, &config.trigger);
    ControllerSettings {
        gate: Settings {
            gate: gate.after(),
            pulse: gate.pulse(),
            min_off: gate.min_off(),
            ejector: gate.ejector,
            // Only a contact bounces. Each command, count and tick is a part.
            bounce: match trigger.kind {
                TriggerKind::Gpio => time(trigger.bounce),
                TriggerKind::Socket | TriggerKind::Timer | TriggerKind::Encoder => Duration::ZERO,
            },
            min_pitch: time(trigger.min_pitch),
            late_output: time(gate.late_output),
            capacity: gate.capacity,
            max_waiting: config.inference.max_waiting,
            heartbeat: time(gate.heartbeat),
            spin_up: time(gate.spin_up),
            encoder_silence: time(gate.encoder_silence.unwrap_or_default()),
            occupied_max: trigger.occupied_max(),
            count_min: time(gate.count_min.unwrap_or_default()),
            confirm: config.confirm.map(|confirm| ConfirmSettings {
                kind: confirm.kind,
                tolerance: confirm.tolerance(),
            }),
            ack: time(config.handshake.ack),
            valid: time(config.handshake.valid),
            fault_hold: time(gate.fault_hold),
            alarm: AlarmSettings {
                consecutive: config.alarm.consecutive_rejects,
                rejects: config.alarm.rate_rejects().unwrap_or(0) as u16,
                window: config.alarm.rate_window as u16,
                stop_line: config.alarm.stop_line,
            },
        },
        pairing: PairingSettings {
            exposure_min: time(config.capture.exposure_min),
            exposure_max: time(config.capture.exposure_max),
            delivery: time(config.capture.delivery),
        },
        inspection: time(config.inference.timeout),
        level_every: trigger.level_every().map(time),
        quadrature: config.lines.input(Input::EncoderB).is_some(),
        indexed: config.lines.input(Input::Index).is_some(),
        every_counts: trigger.every_counts,
    }
}

/// The configured camera, not opened yet.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn source(
    config: &LineConfig,
    simulated: &dyn SimulatedDevices,
) -> Result<Box<dyn FrameSource>, DeviceSetupError> {
    let exposure = if config.camera.on_trigger() {
        Exposure::OnTrigger {
            delay: config.capture.exposure_min.into(),
        }
    } else {
        Exposure::FreeRunning {
            fps: config.camera.timing.fps,
        }
    };
    Ok(match &config.camera.source {
        CameraSource::V4l2(camera) => Box::new(Handled::new(
            v4l2::source(v4l2_settings(config, camera))?,
            Handling {
                warmup_frames: camera.warmup_frames,
                controls_every: camera.controls_every.into(),
                never_alike: !camera.allow_identical,
            },
        )),
        CameraSource::Folder { folder } => Box::new(FolderSource::new(folder, exposure)),
        CameraSource::Recorded { folder } => Box::new(RecordedSource::new(folder, true)),
        CameraSource::Rendered(Rendered {
            seed,
            defective_percent,
        }) => simulated.camera(*seed, *defective_percent, exposure),
    })
}

/// The settings for a V4L2 `camera` of this configuration.
pub fn v4l2_settings(config: &LineConfig, camera: &config::V4l2Camera) -> v4l2::V4l2Settings {
    v4l2::V4l2Settings {
        device: camera.device.clone(),
        width: camera.width as usize,
        height: camera.height as usize,
        format: camera.format,
        fps: config.camera.timing.fps,
        controls: config.camera.controls.clone(),
    }
}

fn spec(name: &'static str, line: &config::LineSpec) -> Result<gpio::LineSpec, DeviceSetupError> {
    let parsed = line.wire().parse();
    parsed.map_err(|source| DeviceSetupError::LineName { name, source })
}

/// The configured inputs; None if no input is wired.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn inputs(
    config: &LineConfig,
    simulated: &dyn SimulatedDevices,
) -> Result<Option<Box<dyn Inputs>>, DeviceSetupError> {
    if let Some(plant) = &config.plant {
        let inputs = simulated.inputs(&plant.inputs);
        return Ok(Some(inputs.map_err(DeviceSetupError::Plant)?));
    }
    let mut lines = Vec::new();
    for input in Input::ALL {
        let Some(line) = config.lines.named(input.name()) else {
            continue;
        };
        let debounce = match (config.trigger.kind, input) {
            (TriggerKind::Gpio, Input::Trigger) if !config.trigger.debounce.is_zero() => {
                Debounce::Program(config.trigger.debounce.into())
            }
            // A push button.
            (_, Input::Acknowledge) => Debounce::Kernel(Duration::from_millis(20)),
            _ => Debounce::Off,
        };
        lines.push(InputLine {
            input,
            spec: spec(input.name(), line)?,
            active_low: line.active_low,
            bias: match line.bias {
                config::Bias::AsIs => gpio::Bias::AsIs,
                config::Bias::PullUp => gpio::Bias::PullUp,
                config::Bias::PullDown => gpio::Bias::PullDown,
            },
            debounce,
            // As `Edge::on` promises.
            off_edges: match input {
                Input::Trigger => true,
                Input::Encoder | Input::EncoderB => config.lines.input(Input::EncoderB).is_some(),
                Input::Index | Input::Confirm | Input::Acknowledge => false,
                // Their edges only say when to read the levels.
                _ => true,
            },
        });
    }
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(ChardevInputs::open(lines)?)))
}

/// The configured outputs, requested and in the safe state.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn outputs(
    config: &LineConfig,
    simulated: &dyn SimulatedDevices,
) -> Result<Box<dyn Outputs>, DeviceSetupError> {
    let wired = Output::ALL.into_iter().filter_map(|output| {
        let spec = config.lines.named(output.name())?;
        Some((output, spec))
    });
    if let Some(plant) = &config.plant {
        let lines: Vec<Output> = wired.map(|(output, _)| output).collect();
        let outputs = simulated.outputs(&plant.outputs, &lines);
        return outputs.map_err(DeviceSetupError::Plant);
    }
    let lines = wired
        .map(|(output, wire)| {
            Ok(OutputLine {
                output,
                spec: spec(output.name(), wire)?,
                active_low: wire.active_low,
                drive: match wire.drive {
                    config::Drive::PushPull => gpio::Drive::PushPull,
                    config::Drive::OpenDrain => gpio::Drive::OpenDrain,
                },
            })
        })
        .collect::<Result<Vec<_>, DeviceSetupError>>()?;
    Ok(Box::new(ChardevOutputs::open(lines)?))
}

/// Lets this process switch off the outputs that the supervisor holds. `requests` are the
/// supervisor's descriptors; `places` states where each output is in them.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn safe_outputs(
    config: &LineConfig,
    requests: Vec<OwnedFd>,
    places: [Option<(u8, u8)>; Output::ALL.len()],
    simulated: &dyn SimulatedDevices,
) -> Result<Box<dyn SafeOutputs>, DeviceSetupError> {
    if let Some(plant) = &config.plant {
        let named = |line: &Output| config.lines.named(line.name()).is_some();
        let lines: Vec<Output> = Output::ALL.into_iter().filter(named).collect();
        let outputs = simulated.safe_outputs(&plant.outputs, &lines);
        return outputs.map_err(DeviceSetupError::Plant);
    }
    Ok(Box::new(ChardevSafeOutputs::new(requests, places)?))
}

/// The configured picture checks; None if there are none.
///
/// # Errors
/// [`DeviceSetupError`], also if a golden good image of the product does not pass the checks.
pub fn sanity(config: &LineConfig, product: &Product) -> Result<Option<Sanity>, DeviceSetupError> {
    let limits = config.sanity;
    if limits == SanitySettings::default() {
        return Ok(None);
    }
    let goldens = product.manifest().goldens.iter();
    let good = goldens.filter(|golden| golden.kind == GoldenKind::Good);
    let good = good
        .map(|golden| Ok((&golden.name, product.golden_frame(golden)?)))
        .collect::<Result<Vec<_>, ImageFileError>>()?;
    let reference = limits.max_shift_percent.and(good.first());
    let mut sanity = Sanity::new(limits, reference.map(|(_, frame)| frame))?;
    for (name, frame) in &good {
        if let Some(finding) = sanity.check(frame).finding {
            return Err(DeviceSetupError::Unfit {
                key: finding.key(),
                name: (*name).clone(),
                finding,
            });
        }
    }
    Ok(Some(sanity))
}
