//! `partgate run`: a production line.

mod announcing;

use super::failure::{Code, Failure};
use super::signals::stop_at_signals;
use super::terminal::Out;
use announcing::Announcer;
use clap::Args;
use partgate::capture::v4l2;
use partgate::clock;
use partgate::config::{CameraSource, LineConfig, ProductPlace, TriggerKind};
use partgate::frame::Frame;
use partgate::frame::decode;
use partgate::inspection::Inspector;
use partgate::keys::Origin;
use partgate::line::devices::{LatchedAlarm, Outputs};
use partgate::line::recipe::{RecipeInputs, RecipeRules};
use partgate::network::Threads;
use partgate::product::Product;
use partgate::record::{
    Drift, Metrics, MetricsServer, ProductLabel, RecordLock, RecordLockError, Recorder, Sampler,
};
use partgate::simulation::Devices;
use partgate::station;
use partgate::station::keepalive::Keepalive;
use partgate::station::{
    AlarmLatch, AskedProduct, End, Handover, History, LinkedOutputs, ProductInspector, Received,
    SealedFiles, SealedFilesError, Station, StoreWatch, Supervision, SupervisorError,
    TriggerSource, Unproven, VisionEnd, choose, controller_settings, fall_back, give_up, in_time,
    inputs, note_restart, on_trial, open_accepted, outputs, safe_outputs, sanity, source,
    standing_at_start, supervise,
};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Run a production line: camera, trigger, verdict, ejector
///
/// There are two processes. This one, the supervisor, holds the outputs and starts the vision
/// process, which captures, inspects and decides. If the vision process ends or is silent, the
/// supervisor switches the outputs to the safe state (READY and PASS off, REJECT and FAULT on) and
/// starts it again. SIGTERM and Ctrl-C end both in an orderly way.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate config check line.toml && partgate run line.toml\n  partgate run line.toml -v\n\nExit codes: 0 stopped by a signal, 1 a device failed, or the vision process ended five times before\nthe line was ready, 3 the configuration, 4 the bundle is refused or cannot be used, 5 the product of\na store does not score here as in the fit, and there is no other one. With a bundle file the line\nstays not ready instead; `selftest` then ends with 5."
)]
pub(crate) struct Arguments {
    /// The line's configuration
    config: PathBuf,
    /// Used by the supervisor to start the vision process. Nobody else can give it the outputs
    #[arg(long, hide = true)]
    vision: bool,
}

/// Exit codes of the vision process after which a start with the same files would end the same way.
/// Devices can be there at the next attempt, so their failures are [`Code::Unexpected`].
const LASTING: [Code; 4] = [Code::Input, Code::Bundle, Code::Parity, Code::Switched];
/// [`LASTING`] as numbers.
const LASTING_CODES: [i32; LASTING.len()] = [
    LASTING[0] as i32,
    LASTING[1] as i32,
    LASTING[2] as i32,
    LASTING[3] as i32,
];

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_signals(&stop)?;
    if arguments.vision {
        return see(arguments, &stop);
    } else {
        let (mut given, config) =
            SealedFiles::read(&arguments.config, choose).map_err(|error| match error {
                SealedFilesError::Product(_) => Failure::bundle(error),
                SealedFilesError::Config(_) => Failure::input(error),
                _ => Failure::unexpected(error),
            })?;
        if matches!(config.camera.source, CameraSource::V4l2(_)) {
            v4l2::built().map_err(Failure::input)?;
        }
        let accelerator = config.inference.accelerator;
        accelerator.built().map_err(Failure::input)?;
        if let Some(control) = &config.control.socket {
            station::ensure_alone(control).map_err(Failure::input)?;
        }
        out.line(format_args!(
            "{}: running; stop with Ctrl-C or SIGTERM",
            arguments.config.display()
        ))?;
        out.finish()?;
        station::hold_memory();
        hold(&config, &mut given, arguments, &stop)?;
    }
    Ok(Code::Done)
}

/// The supervisor.
fn hold(
    config: &LineConfig,
    given: &mut SealedFiles,
    arguments: &Arguments,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    // This same program, also if a package has replaced its file meanwhile. Two versions might not
    // understand each other's messages.
    let program = Path::new("/proc/self/exe");
    let settings = Supervision {
        lease: config.supervisor.lease.into(),
        late: config.supervisor.late.into(),
        restart: config.supervisor.restart.into(),
        lasting: &LASTING_CODES,
    };
    let verbosity = match log::max_level() {
        log::LevelFilter::Off | log::LevelFilter::Error => "-q",
        log::LevelFilter::Warn => "",
        log::LevelFilter::Info => "-v",
        log::LevelFilter::Debug => "-vv",
        log::LevelFilter::Trace => "-vvv",
    };
    let mut start = |link: Stdio| {
        let mut command = Command::new(program);
        command
            .arg0("partgate")
            .arg("run")
            .arg("--vision")
            .arg(&arguments.config);
        if !verbosity.is_empty() {
            command.arg(verbosity);
        }
        command.stdin(link).spawn()
    };
    let mut open_outputs = || -> Result<Box<dyn Outputs>, _> { Ok(outputs(config, &Devices)?) };
    let mut ended = |given: &mut SealedFiles, end: End| goes_on(config, given, end);
    let ran = supervise(
        settings,
        given,
        &mut open_outputs,
        &mut start,
        &mut ended,
        stop,
    );
    ran.map_err(|error| {
        let same = |code: &Code| matches!(error, SupervisorError::Lasting(c) if c == *code as i32);
        let code = LASTING.into_iter().find(same).unwrap_or(Code::Unexpected);
        Failure::Error(code, error.into())
    })
}

/// Whether the line goes on after the vision process ended, with the same product or another one.
fn goes_on(config: &LineConfig, given: &mut SealedFiles, end: End) -> bool {
    let ProductPlace::Store(_) = config.product else {
        return end == End::Restart;
    };
    let another = match end {
        End::Restart if note_restart(config) => true,
        End::Restart => return true,
        End::Lasting(code) if code == Code::Switched as i32 => true,
        End::Lasting(code) => {
            let why = match code {
                c if c == Code::Parity as i32 => {
                    "failed parity: the product does not score here as it did in the fit"
                }
                c if c == Code::Bundle as i32 => "failed start: the bundle cannot be used here",
                _ => {
                    "failed start: the product does not fit this line's configuration or is too slow for it"
                }
            };
            let whose_fault = code != Code::Input as i32 || on_trial(config);
            (whose_fault && given.digest().is_some_and(|d| give_up(config, &d, why)))
                || fall_back(config, why)
        }
        End::NeverReady(times) => {
            let why = format!("failed start: never ready in {times} starts in a row");
            (on_trial(config) && given.digest().is_some_and(|d| give_up(config, &d, &why)))
                || fall_back(config, &why)
        }
    };
    another && renew(config, given)
}

/// Puts the product that is active now into the place of the one before.
fn renew(config: &LineConfig, given: &mut SealedFiles) -> bool {
    let renewed = choose(config)
        .map_err(SealedFilesError::from)
        .and_then(|chosen| given.replace(&chosen).map(|()| chosen));
    match renewed {
        Ok(chosen) => {
            log::warn!("another product: {}", chosen.path.display());
            true
        }
        Err(error) => {
            super::failure::tell(&error);
            false
        }
    }
}

/// What the vision process gets from the supervisor.
struct Given {
    handover: Handover,
    config: LineConfig,
    bundle: Vec<u8>,
    outputs: LinkedOutputs,
}

fn take_over(arguments: &Arguments) -> Result<Given, Failure> {
    let (link, handover, descriptors) = VisionEnd::from_stdin().map_err(Failure::unexpected)?;
    // The files on the disk do not matter now: the line was started with these bytes.
    let received = Received::new(descriptors, handover.with_board, &arguments.config);
    let Received {
        config,
        bundle,
        requests,
    } = received.map_err(Failure::unexpected)?;
    let safe =
        safe_outputs(&config, requests, handover.places, &Devices).map_err(Failure::unexpected)?;
    let outputs = LinkedOutputs::new(link, config.supervisor.late.into(), safe);
    Ok(Given {
        handover,
        config,
        bundle,
        outputs,
    })
}

/// Makes systemd and the watchdog wait while the product is loaded.
fn start_keepalive(config: &LineConfig) -> Result<Keepalive, Failure> {
    let mut keepalive =
        Keepalive::new(config.supervisor.watchdog.as_deref()).map_err(Failure::unexpected)?;
    if let Err(error) = keepalive.loading(station::START_LIMIT, clock::now()) {
        log::warn!("{error}");
    }
    Ok(keepalive)
}

fn open_product(config: &LineConfig, bundle: Vec<u8>) -> Result<(Product, Origin), Failure> {
    let (product, origin) = open_accepted(config, bundle).map_err(Failure::bundle)?;
    let manifest = product.manifest();
    let text = format!(
        "{}: {}, revision {}, {origin}",
        product.origin(),
        manifest.name,
        manifest.revision
    );
    if origin.is_proven() {
        log::info!("{text}");
    } else {
        log::warn!("{text}: the origin of this product is not proven");
    }
    Ok((product, origin))
}

/// The inspector, and whether the product scores here as it did in the fit.
fn load_inspector(
    config: &LineConfig,
    product: &Product,
    threads: &Threads,
) -> Result<(Inspector, bool), Failure> {
    let placement = config.inference.placement();
    let mut inspector = Inspector::placed(product, threads, placement).map_err(super::refused)?;
    for place in super::places(&inspector.kernels()) {
        log::info!("{place}");
    }
    if config.inference.require_integers {
        inspector.require_integers().map_err(Failure::bundle)?;
    }
    let outcomes = inspector.selftest(product).map_err(Failure::bundle)?;
    let self_test_passed = !outcomes.is_empty() && outcomes.iter().all(|o| o.agrees);
    if !self_test_passed {
        log::error!(
            "{}: the product does not score here as it did in the fit; `partgate selftest` shows both numbers; the line stays not ready",
            product.origin()
        );
    }
    Ok((inspector, self_test_passed))
}

fn recorder(
    config: &LineConfig,
    product: &Product,
    metrics: &Arc<Metrics>,
) -> Result<(Recorder, Sampler), Failure> {
    let options = config.record.options();
    let sampler = options.images.sampler();
    let recorder = Recorder::new(
        options,
        Box::new(|raw| {
            let mut frame = Frame::blank();
            decode(raw, &mut frame)?;
            Ok(frame)
        }),
        drift(config, product)?,
        metrics.clone(),
    );
    Ok((recorder, sampler))
}

fn metrics_server(
    config: &LineConfig,
    metrics: &Arc<Metrics>,
) -> Result<Option<MetricsServer>, Failure> {
    config
        .metrics
        .listen
        .map(|address| MetricsServer::start(address, metrics.clone()))
        .transpose()
        .map_err(Failure::unexpected)
}

fn trigger_source(config: &LineConfig) -> Result<TriggerSource, Failure> {
    let inputs = inputs(config, &Devices).map_err(Failure::unexpected)?;
    Ok(match (config.trigger.every, inputs) {
        (Some(every), inputs) => TriggerSource::Clock {
            every: every.into(),
            inputs,
        },
        (_, Some(inputs)) => TriggerSource::Inputs(inputs),
        (_, None) => TriggerSource::Socket,
    })
}

/// The inspector with the picture checks before it.
fn with_checks(
    config: &LineConfig,
    product: Product,
    inspector: Inspector,
) -> Result<ProductInspector, Failure> {
    let checks = sanity(config, &product).map_err(Failure::input)?;
    let mut inspector = ProductInspector::new(product, inspector, checks);
    if matches!(&config.camera.source, CameraSource::V4l2(camera) if !camera.allow_identical) {
        inspector = inspector.never_alike();
    }
    Ok(inspector)
}

/// Whether the line starts with a product as fast as it is here. One on trial must be in time. Another
/// one runs: parts whose verdict is late are rejected, and the alarm on rejects is raised.
fn in_time_here(
    config: &LineConfig,
    product: &Product,
    inspector: &mut Inspector,
) -> Result<bool, Failure> {
    let slow = match in_time(product, config, inspector) {
        Ok(()) => return Ok(true),
        Err(slow @ Unproven::Slow { .. }) => slow,
        Err(other) => return Err(Failure::bundle(other)),
    };
    let trial = on_trial(config);
    if trial {
        log::error!("{}: {slow}", product.origin());
    } else {
        log::warn!(
            "{}: {slow}; parts with a late verdict are rejected",
            product.origin()
        );
    }
    Ok(!trial)
}

/// The product in logs and metrics. Lets `inspector` take the threshold that was set on this board:
/// after the golden images, whose verdicts are those of the product's own.
fn labelled(
    product: &Product,
    origin: &Origin,
    unknown: Option<f32>,
    inspector: &mut Inspector,
) -> ProductLabel {
    let manifest = product.manifest();
    let label = ProductLabel::new(&manifest.name, &product.digest().to_hex())
        .of_origin(&origin.to_string(), origin.is_proven());
    let Some(unknown) = unknown else {
        return label;
    };
    inspector.set_thresholds(manifest.thresholds.with_unknown(unknown));
    log::warn!("UNKNOWN above {unknown}, as set on this board");
    label.with_threshold(unknown)
}

/// The vision process.
fn see(arguments: &Arguments, stop: &AtomicBool) -> Result<Code, Failure> {
    // The kernel named the process after the link that started it.
    let _ = std::fs::write("/proc/self/comm", "partgate");
    station::ordinary_priority();
    station::hold_memory();
    let Given {
        handover,
        config,
        bundle,
        outputs,
    } = take_over(arguments)?;
    let config = &config;
    // Before all else, so that systemd and the watchdog wait until the product is loaded.
    let keepalive = start_keepalive(config)?;
    let _alone = record_alone(config)?;
    let (product, origin) = open_product(config, bundle)?;
    let threads = Threads::new(config.inference.threads_here()).map_err(Failure::unexpected)?;
    let (mut inspector, self_test_passed) = load_inspector(config, &product, &threads)?;
    // In a store there may be another product, which is better than a line that is never ready.
    if !self_test_passed && matches!(config.product, ProductPlace::Store(_)) {
        return Ok(Code::Parity);
    }
    if !in_time_here(config, &product, &mut inspector)? {
        return Ok(Code::Input);
    }
    let digest = product.digest();
    let label = labelled(&product, &origin, handover.unknown, &mut inspector);
    let metrics = Arc::new(station::metrics());
    let asked = Arc::new(AskedProduct::default());
    let name = product.manifest().name.clone();
    let recipe = recipe(config, &name, &asked)?;
    let unknown = handover.unknown;
    let (shown, wishes) = (metrics.clone(), asked.clone());
    let watch = StoreWatch::new(&config.product, &name, &digest, unknown, shown, wishes);
    metrics.set_product(label);
    let (recorder, sampler) = recorder(config, &product, &metrics)?;
    let server = metrics_server(config, &metrics)?;
    let ng_threshold = inspector.thresholds().ng.threshold;
    let triggers = trigger_source(config)?;
    let inspector = with_checks(config, product, inspector)?;
    let latch = AlarmLatch::new(&config.record.folder);
    let station = Station {
        settings: controller_settings(config),
        source: source(config, &Devices).map_err(Failure::input)?,
        camera_timeout: config.camera.timing.timeout.into(),
        camera_wired: config.camera.on_trigger(),
        triggers,
        socket_triggers: config.trigger.kind == TriggerKind::Socket,
        outputs: Box::new(outputs),
        inspector: Box::new(inspector),
        self_test_passed,
        recorder: Some(recorder),
        metrics: metrics.clone(),
        keepalive: Some(keepalive),
        sampler: Some(sampler),
        ng_threshold,
        product: label,
        alive_every: (config.supervisor.lease / 4).into(),
        control: config.control.socket.clone(),
        late: config.supervisor.late.into(),
        record_required: config.record.required,
        challenge_every: config.challenge.map(|challenge| challenge.every.into()),
        history: history(config, &handover, &latch),
        latch: Some(latch),
        switch: watch.as_ref().map(StoreWatch::switch),
        asked,
        recipe,
    };
    let summary = run_station(config, station, watch, &metrics, stop);
    let summary = summary.map_err(Failure::unexpected)?;
    drop(server);
    log::info!(
        "{} parts, {} passed, {} rejected, {} under way at the end",
        summary.counters.parts,
        summary.counters.passed,
        summary.counters.rejected_in_all(),
        summary.under_way
    );
    Ok(if summary.switched {
        Code::Switched
    } else {
        Code::Done
    })
}

/// Runs the station, beside it what watches the store and what tells a person.
fn run_station(
    config: &LineConfig,
    station: Station,
    watch: Option<StoreWatch>,
    metrics: &Metrics,
    stop: &AtomicBool,
) -> Result<station::Summary, station::StationError> {
    let announcer = Announcer::new(config);
    let quiet = log::max_level() < log::LevelFilter::Warn;
    std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        if let Some(watch) = watch {
            let watching = thread("store").spawn_scoped(scope, || watch.run(stop));
            if let Err(error) = watching {
                log::error!(
                    "nothing watches the store: no trial ends by itself, and another product is run only after a restart: {error}"
                );
            }
        }
        if !quiet {
            // What it cannot say does not stop a line.
            let say = || announcer.run(metrics, stop);
            if let Err(error) = thread("announcing").spawn_scoped(scope, say) {
                log::warn!("nothing will say when the line is ready: {error}");
            }
        }
        let summary = station.run(stop);
        // Also where the line could not start.
        stop.store(true, Ordering::Relaxed);
        summary
    })
}

/// The recipe inputs of a line that has them. Also where nobody has asked yet for what runs, no part
/// passes.
fn recipe(
    config: &LineConfig,
    name: &str,
    asked: &AskedProduct,
) -> Result<Option<(RecipeRules, RecipeInputs)>, Failure> {
    let Some(products) = config.products() else {
        return Ok(None);
    };
    let unserved = products.unserved().map_err(Failure::input)?;
    let Some(rules) = config.recipe_rules() else {
        asked.hold_by_choice(unserved);
        return Ok(None);
    };
    let loaded = products.number_of(name).unwrap_or(0);
    Ok(Some((
        rules,
        RecipeInputs::new(rules, loaded, unserved, clock::now()),
    )))
}

/// What happened before this process started, with the latched alarm.
fn history(config: &LineConfig, handover: &Handover, latch: &AlarmLatch) -> History {
    let alarm = &config.alarm;
    let limit = alarm.restarts_per_hour;
    let standing = standing_at_start(latch.read(), handover.alarm, alarm.stop_line);
    let often = limit > 0 && handover.restarts_within_hour > limit;
    if standing == LatchedAlarm::Unknown {
        log::warn!(
            "{}: missing or cannot be read, so it is unknown whether an alarm was latched: the line waits for `partgate tell {} acknowledge` (once, if this is its first start)",
            latch.path().display(),
            config.file.display()
        );
    }
    History {
        restarts: handover.restarts,
        ended_by: handover.ended_by,
        supervisor_late: handover.late,
        changed: handover.changed,
        newly_changed: handover.newly_changed,
        challenge: latch.challenge(),
        alarm: if standing == LatchedAlarm::None && often {
            LatchedAlarm::Restarts
        } else {
            standing
        },
    }
}

/// Locks the record folder for this line. If the folder cannot be written, the recorder reports
/// it.
fn record_alone(config: &LineConfig) -> Result<Option<RecordLock>, Failure> {
    match RecordLock::take(&config.record.folder) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ RecordLockError::Held { .. }) => Err(Failure::input(error)),
        Err(error @ RecordLockError::Io { .. }) => {
            log::warn!("{}", super::failure::causes(&error).join(": "));
            Ok(None)
        }
    }
}

/// The alarm on rising scores. Its reference is the median of the held-out scores of the product's
/// good images. Scores of images that are in the bank would be lower.
fn drift(config: &LineConfig, product: &Product) -> Result<Option<Drift>, Failure> {
    let Some(settings) = config.drift else {
        return Ok(None);
    };
    let [_, reference, _] = product.manifest().training.held_out;
    let drift = Drift::new(settings, reference.into());
    drift.map(Some).map_err(Failure::input)
}
