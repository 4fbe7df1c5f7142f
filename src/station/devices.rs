//! From a configuration to devices.

use crate::capture::Exposure;
use crate::capture::folder::FolderError;
use crate::capture::folder_source::FolderSource;
use crate::capture::recorded::RecordedSource;
use crate::capture::rendered_source::{Production, RENDERED, RenderedSource};
use crate::capture::source::{CaptureError, FrameSource, Handled, Handling};
use crate::capture::v4l2;
use crate::config::{self, CameraSource, LineConfig, TriggerKind};
use crate::gpio::simulated::{TextInputs, TextOutputs, TextSafeOutputs};
use crate::gpio::{
    self, ChardevInputs, ChardevOutputs, ChardevSafeOutputs, Debounce, InputLine, OutputLine,
};
use crate::line::controller::ControllerSettings;
use crate::line::devices::{DeviceError, Input, Inputs, Outputs, SafeOutputs};
use crate::line::gate::{AlarmSettings, ConfirmKind, ConfirmSettings, Line, Settings};
use crate::line::pairing::PairingSettings;
use crate::product::{GoldenKind, Product};
use crate::sanity::{Finding, Sanity, SanityError, SanitySettings};
use crate::time::Duration;
use std::os::fd::OwnedFd;
use thiserror::Error;

/// Why a configuration makes no devices.
#[derive(Debug, Error)]
pub enum DeviceSetupError {
    /// The camera.
    #[error("camera")]
    Camera(#[from] CaptureError),
    /// A line's name.
    #[error("lines.{name}")]
    LineName {
        /// Key.
        name: &'static str,
        /// Why.
        source: gpio::LineSpecError,
    },
    /// A simulated line.
    #[error("plant")]
    Plant(#[source] DeviceError),
    /// Real lines.
    #[error("lines")]
    Gpio(#[from] gpio::GpioError),
    /// The picture checks.
    #[error("sanity")]
    Sanity(#[from] SanityError),
    /// A golden image that the picture checks are held against.
    #[error("[sanity]: the bundle's golden image cannot be read")]
    Golden(#[from] FolderError),
    /// A limit that the product's own good parts do not keep.
    #[error(
        "sanity.{key}: golden good image {name} of the product is {finding}, so good parts would be UNKNOWN; change the limit or leave it out"
    )]
    Unfit {
        /// Key of the limit.
        key: &'static str,
        /// The golden image.
        name: String,
        /// What is wrong with it by that limit.
        finding: Finding,
    },
}

/// What the gate is told of the configured line.
pub fn controller_settings(config: &LineConfig) -> ControllerSettings {
    let gate = &config.gate;
    ControllerSettings {
        gate: Settings {
            gate: gate.after,
            pulse: gate.pulse,
            min_off: gate.min_off,
            ejector: gate.ejector,
            // Only a contact bounces: each command, count and tick is a part.
            bounce: match config.trigger.kind {
                TriggerKind::Gpio { .. } => config.trigger.bounce,
                TriggerKind::Socket | TriggerKind::Timer { .. } | TriggerKind::Encoder { .. } => {
                    Duration::ZERO
                }
            },
            min_pitch: config.trigger.min_pitch,
            late_output: gate.late_output,
            capacity: gate.capacity,
            max_waiting: config.inference.max_waiting,
            heartbeat: gate.heartbeat,
            spin_up: gate.spin_up,
            encoder_silence: gate.encoder_silence,
            occupied_max: config.trigger.occupied_max,
            count_min: gate.count_min.unwrap_or_default(),
            confirm: config.confirm.map(|confirm| ConfirmSettings {
                kind: match confirm.kind {
                    config::ConfirmKind::Part => ConfirmKind::Part,
                    config::ConfirmKind::Reject => ConfirmKind::Reject,
                },
                tolerance: confirm.tolerance,
            }),
            ack: config.handshake.ack,
            valid: config.handshake.valid,
            fault_hold: gate.fault_hold,
            alarm: AlarmSettings {
                consecutive: config.alarm.consecutive_rejects,
                rejects: config.alarm.rate_rejects().unwrap_or(0) as u16,
                window: config.alarm.rate_window as u16,
                stop_line: config.alarm.stop_line,
            },
        },
        pairing: PairingSettings {
            exposure_min: config.capture.exposure_min,
            exposure_max: config.capture.exposure_max,
            delivery: config.capture.delivery,
        },
        judging: config.inference.timeout,
        level_every: config.trigger.level,
        quadrature: config.lines.encoder_b.is_some(),
        by_command: config.trigger.kind == TriggerKind::Socket,
        indexed: config.lines.index.is_some(),
        every_counts: match config.trigger.kind {
            TriggerKind::Encoder { every } => Some(every),
            _ => None,
        },
    }
}

/// The configured camera, not opened yet.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn source(config: &LineConfig) -> Result<Box<dyn FrameSource>, DeviceSetupError> {
    let exposure = |on_trigger| {
        if on_trigger {
            Exposure::OnTrigger {
                delay: config.capture.exposure_min,
            }
        } else {
            Exposure::FreeRunning {
                fps: config.camera.fps,
            }
        }
    };
    Ok(match &config.camera.source {
        CameraSource::V4l2(camera) => Box::new(Handled::new(
            v4l2::source(v4l2_settings(config, camera))?,
            Handling {
                warmup_frames: camera.warmup_frames,
                controls_every: camera.controls_every,
                never_alike: !camera.allow_identical,
            },
        )),
        CameraSource::Folder { folder, on_trigger } => {
            Box::new(FolderSource::new(folder, exposure(*on_trigger)))
        }
        CameraSource::Recorded { folder } => Box::new(RecordedSource::new(folder, true)),
        CameraSource::Rendered {
            seed,
            defective_percent,
            on_trigger,
        } => {
            let production = Production::new(*seed, RENDERED, *defective_percent);
            Box::new(RenderedSource::new(production, exposure(*on_trigger)))
        }
    })
}

/// What a V4L2 `camera` of this configuration is asked for.
pub fn v4l2_settings(config: &LineConfig, camera: &config::V4l2Camera) -> v4l2::V4l2Settings {
    let set = &camera.controls;
    let exposure = set.exposure.map(|t| t.as_micros() as i64);
    let named = [
        ("exposure_us", exposure),
        ("gain", set.gain),
        ("focus", set.focus),
        ("white_balance_k", set.white_balance_k.map(i64::from)),
    ];
    let named = named
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_string(), value?)));
    let controls = named.chain(set.others.iter().cloned()).collect();
    v4l2::V4l2Settings {
        device: camera.device.clone(),
        width: camera.width as usize,
        height: camera.height as usize,
        format: camera.format,
        fps: config.camera.fps,
        controls,
    }
}

fn spec(name: &'static str, line: &config::LineSpec) -> Result<gpio::LineSpec, DeviceSetupError> {
    let parsed = line.wire().parse();
    parsed.map_err(|source| DeviceSetupError::LineName { name, source })
}

/// The configured input lines; None where nothing is wired to an input.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn inputs(config: &LineConfig) -> Result<Option<Box<dyn Inputs>>, DeviceSetupError> {
    if let Some(plant) = &config.plant {
        let plant =
            TextInputs::listen(&plant.inputs).map_err(|e| DeviceSetupError::Plant(e.into()))?;
        return Ok(Some(Box::new(plant)));
    }
    let mut lines = Vec::new();
    for input in Input::ALL {
        let Some(line) = config.lines.named(input.name()) else {
            continue;
        };
        let debounce = match (config.trigger.kind, input) {
            (TriggerKind::Gpio { debounce }, Input::Trigger) if !debounce.is_zero() => {
                Debounce::Program(debounce)
            }
            // A person's button.
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
                Input::Encoder | Input::EncoderB => config.lines.encoder_b.is_some(),
                Input::Index | Input::Confirm | Input::Acknowledge => false,
            },
        });
    }
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(ChardevInputs::open(lines)?)))
}

/// The configured output lines, held from here on and unattended.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn outputs(config: &LineConfig) -> Result<Box<dyn Outputs>, DeviceSetupError> {
    let wired = Line::ALL.into_iter().filter_map(|line| {
        let spec = config.lines.named(line.name())?;
        Some((line, spec))
    });
    if let Some(plant) = &config.plant {
        let lines: Vec<Line> = wired.map(|(line, _)| line).collect();
        let plant = TextOutputs::open(&plant.outputs, &lines)
            .map_err(|e| DeviceSetupError::Plant(e.into()))?;
        return Ok(Box::new(plant));
    }
    let lines = wired
        .map(|(line, wire)| {
            Ok(OutputLine {
                line,
                spec: spec(line.name(), wire)?,
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

/// By which this process lets the output lines fall that another one holds: `requests` are the
/// descriptors of that one, `places` where each line is in them.
///
/// # Errors
/// [`DeviceSetupError`].
pub fn safe_outputs(
    config: &LineConfig,
    requests: Vec<OwnedFd>,
    places: [Option<(u8, u8)>; Line::ALL.len()],
) -> Result<Box<dyn SafeOutputs>, DeviceSetupError> {
    if let Some(plant) = &config.plant {
        let named = |line: &Line| config.lines.named(line.name()).is_some();
        let lines: Vec<Line> = Line::ALL.into_iter().filter(named).collect();
        let plant = TextSafeOutputs::open(&plant.outputs, &lines)
            .map_err(|e| DeviceSetupError::Plant(e.into()))?;
        return Ok(Box::new(plant));
    }
    Ok(Box::new(ChardevSafeOutputs::new(requests, places)?))
}

/// The configured checks of a picture; None where there is none.
///
/// # Errors
/// [`DeviceSetupError`], also when a golden good image of the product does not pass the checks.
pub fn sanity(config: &LineConfig, product: &Product) -> Result<Option<Sanity>, DeviceSetupError> {
    let limits = config.sanity;
    if limits == config::Sanity::default() {
        return Ok(None);
    }
    let goldens = product.manifest().goldens.iter();
    let good = goldens.filter(|golden| golden.kind == GoldenKind::Good);
    let good = good
        .map(|golden| Ok((&golden.name, product.golden_frame(golden)?)))
        .collect::<Result<Vec<_>, FolderError>>()?;
    let reference = limits.max_shift_percent.and(good.first());
    let settings = SanitySettings {
        min_mean: limits.min_mean,
        max_saturated_percent: limits.max_saturated_percent,
        min_sharpness: limits.min_sharpness,
        max_shift_percent: limits.max_shift_percent,
    };
    let mut sanity = Sanity::new(settings, reference.map(|(_, frame)| frame))?;
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
