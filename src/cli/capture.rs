//! `partgate capture`: pictures from the line's own camera, to fit a product on.

use super::failure::{Code, Failure};
use super::output_folder;
use super::progress::Progress;
use super::terminal::Out;
use clap::Args;
use partgate::capture::recorded::{INDEX, index_line};
use partgate::capture::source::{Flash, FrameSource};
use partgate::clock;
use partgate::config::LineConfig;
use partgate::frame::Frame;
use partgate::frame::RawFrame;
use partgate::frame::decode;
use partgate::record::{encode_png, file_ending};
use partgate::simulation::Devices;
use partgate::station::source;
use partgate::time::{Duration, Instant};
use serde::Serialize;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Frames after the opening that are not kept, until exposure and white balance settle.
const SETTLING: usize = 10;
/// Longest wait for a part if a signal makes the camera expose.
const PATIENCE: Duration = Duration::from_secs(60);
/// Number of damaged frames in a row that ends the command.
const BROKEN: u32 = 30;

/// Take pictures with a line's camera, as `run` takes them, to fit a product on
///
/// Opens the camera of the configuration with its format, size, rate and controls, and writes the
/// frames into a folder: JPEG as the camera sends it, all other formats as PNG. Nothing is
/// inspected, and no output is set. A camera can have only one user, so stop the line first. A
/// camera that runs freely gives a picture every --every milliseconds. A camera with a trigger
/// input gives one per part.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate capture line.toml photos/lid --count 100 --every 2000\n  partgate-train fit photos/lid -o lid.pgp\n  partgate capture line.toml played --count 300 --every 0 --recording\n\nJSON: camera, folder, pictures, damaged, width, height.\n\nExit codes: 0 done, 1 the camera fails or gives no pictures, 3 the configuration or the folder."
)]
pub(crate) struct Arguments {
    /// The line's configuration. Its product need not exist yet
    config: PathBuf,
    /// New or empty folder for the pictures
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Number of pictures
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Write the times of the pictures into frames.jsonl, so that `camera.source = "recorded"` can
    /// play them to a line
    #[arg(long)]
    recording: bool,
    /// Milliseconds from picture to picture
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    every: u32,
}

#[derive(Serialize)]
struct Report<'a> {
    camera: String,
    folder: &'a Path,
    pictures: u32,
    damaged: u32,
    width: usize,
    height: usize,
}

#[derive(Debug, Error)]
enum CaptureFailed {
    #[error("{camera}: no picture for {} s{hint}", waited.as_secs_f64())]
    Silent {
        camera: String,
        waited: Duration,
        hint: &'static str,
    },
    #[error("{camera}: {BROKEN} damaged frames in a row; check cable and bandwidth")]
    Damaged { camera: String },
}

/// The camera, and how long it can be silent.
struct Camera {
    source: Box<dyn FrameSource>,
    flash: Option<Box<dyn Flash>>,
    frame: RawFrame,
    patience: Duration,
    hint: &'static str,
    damaged: u32,
}

impl Camera {
    fn open(config: &LineConfig) -> Result<Self, Failure> {
        let mut source = source(config, &Devices).map_err(Failure::input)?;
        source.open().map_err(Failure::unexpected)?;
        log::info!("camera: {}", source.describe());
        let wired = config.camera.on_trigger();
        Ok(Self {
            flash: source.flash(),
            frame: RawFrame::with_capacity(source.frame_bytes()),
            source,
            patience: if wired {
                PATIENCE
            } else {
                config.camera.timing.timeout.into()
            },
            hint: if wired {
                "; does its trigger input get a signal (camera.on_trigger)?"
            } else {
                "; is it triggered by a wire (camera.on_trigger)?"
            },
            damaged: 0,
        })
    }

    /// Waits for the next frame that is not damaged.
    fn next(&mut self) -> Result<(), Failure> {
        let from = clock::now();
        if let Some(flash) = &mut self.flash {
            flash.fire(from);
        }
        let (mut broken, until) = (0, from.after(self.patience));
        loop {
            let came = self.source.next(&mut self.frame, clock::until(until));
            if !came.map_err(Failure::unexpected)? {
                return Err(Failure::unexpected(CaptureFailed::Silent {
                    camera: self.source.describe(),
                    waited: self.patience,
                    hint: self.hint,
                }));
            }
            if !self.frame.damaged {
                return Ok(());
            }
            (broken, self.damaged) = (broken + 1, self.damaged + 1);
            if broken == BROKEN {
                let camera = self.source.describe();
                return Err(Failure::unexpected(CaptureFailed::Damaged { camera }));
            }
        }
    }

    /// Takes frames from a camera that runs freely until `time`, because buffered frames would be
    /// old.
    fn wait(&mut self, time: Instant) -> Result<(), Failure> {
        if self.flash.is_some() {
            clock::sleep(clock::until(time));
            return Ok(());
        }
        while clock::now() < time {
            let came = self.source.next(&mut self.frame, clock::until(time));
            came.map_err(Failure::unexpected)?;
        }
        Ok(())
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let config = LineConfig::open(&arguments.config).map_err(Failure::input)?;
    let folder = &arguments.folder;
    output_folder::make_empty(folder)?;
    let mut camera = Camera::open(&config)?;
    let runs_freely = !config.camera.on_trigger();
    if runs_freely {
        for _ in 0..SETTLING {
            camera.next()?;
        }
    }
    let every = Duration::from_millis(arguments.every.into());
    let mut pixels = Frame::blank();
    let mut bytes = Vec::new();
    let mut progress = Progress::new("taking pictures", arguments.count as usize);
    let mut due = clock::now();
    let mut index = String::new();
    for number in 1..=arguments.count {
        if number > 1 && (runs_freely || camera.flash.is_some()) {
            due = due.after(every);
            camera.wait(due)?;
        }
        camera.next()?;
        // A frame that cannot be decoded is of no use for a fit, also if its bytes could be kept.
        decode(&camera.frame, &mut pixels).map_err(Failure::unexpected)?;
        let ending = file_ending(&camera.frame);
        let file = format!("{number:06}.{}", ending.unwrap_or("png"));
        match ending {
            Some(_) => output_folder::write(&folder.join(&file), &camera.frame.bytes)?,
            None => {
                bytes.clear();
                encode_png(&pixels, &mut bytes).map_err(Failure::unexpected)?;
                output_folder::write(&folder.join(&file), &bytes)?;
            }
        }
        let (time_ns, sequence) = (camera.frame.time.0, camera.frame.sequence);
        index += &index_line(Path::new(&file), time_ns, sequence);
        progress.step();
    }
    drop(progress);
    if arguments.recording {
        output_folder::write(&folder.join(INDEX), index.as_bytes())?;
    }
    let report = Report {
        camera: camera.source.describe(),
        folder,
        pictures: arguments.count,
        damaged: camera.damaged,
        width: pixels.width(),
        height: pixels.height(),
    };
    if out.json() {
        out.json_page(&report)?;
    } else {
        out.line(format_args!(
            "{}: {} pictures of {} x {} from {}; {} damaged frames left out",
            folder.display(),
            report.pictures,
            report.width,
            report.height,
            report.camera,
            report.damaged
        ))?;
    }
    Ok(Code::Done)
}
