//! The production line around partgate, simulated on kernel devices inside the test machine.
//!
//! ```text
//! plant enlarge FROM.png TO.png   (outside) a rendered part at the camera's size
//! plant score                     compares `partgate score` inside and outside the test machine
//! plant devices                   only the devices: pictures through the camera, levels through the chip
//! ```

mod belt;
mod gate;
mod ioctl;
mod parts;
mod pins;
mod recorder;
mod report;
mod settings;
mod trials;
mod video;

use belt::Belt;
use gate::Gate;
use parts::Difference;
use pins::Pins;
use recorder::Recorder;
use report::Report;
use rustix::process::Signal;
use settings::Settings;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use trials::Trials;
use video::Scene;

type Failure = Box<dyn std::error::Error>;

/// A picture that is different from every other one.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..video::FRAME_BYTES)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// Checks that pictures arrive byte for byte, before and after an unplug, and that changed inputs
/// are recorded.
fn devices(report: &mut Report) -> Result<(), Failure> {
    let pins = Pins::make()?;
    println!("chip {}", pins.folder().display());
    let recorder = Recorder::start()?;
    for up in [true, false] {
        pins.pull(pins::TRIGGER, up)?;
        let seen = recorder.wait_for(pins::TRIGGER, up, 0, Duration::from_secs(2));
        report.check(
            seen.is_some() && pins.level(pins::TRIGGER)? == up,
            format_args!(
                "gpio-sim: {} pulled {}",
                pins::NAMES[pins::TRIGGER],
                if up { "up" } else { "down" }
            ),
        );
    }
    let mut scene = Scene::set_up(&noise(99))?;
    for n in 0..4 {
        let seen = video::frames_until_seen(&mut scene, &noise(n), 40)?;
        report.check(
            seen.is_some(),
            format_args!(
                "vivid: picture {n} byte for byte, in frame {}",
                seen.unwrap_or(0)
            ),
        );
        if n == 1 {
            drop(scene);
            video::unplug()?;
            report.check(
                !Path::new("/dev/video0").exists(),
                "vivid: unplugged, /dev/video0 is gone",
            );
            video::plug_in()?;
            scene = Scene::set_up(&noise(99))?;
        }
    }
    report.check(
        recorder.unread().is_empty(),
        format_args!("trace read: {:?}", recorder.unread()),
    );
    Ok(())
}

/// Largest allowed difference between the scores of two machines, relative: half of what a bundle
/// allows its golden images on a board.
const TOLERANCE: f64 = 1e-2;

/// Paths in the test machine.
const CONFIG: &str = "/etc/line.toml";
const PARTS: &str = "/parts";

/// How long the program inspects one picture here, milliseconds: the slowest of three.
fn inspection_ms(parts: &[parts::Part]) -> Result<f64, Failure> {
    let output = Command::new(gate::PROGRAM)
        .current_dir(PARTS)
        .args(["score", "/etc/line.pgp", "--threads", "1"])
        .args(parts.iter().take(3).map(|part| format!("./{}", part.name)))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut slowest = None;
    for line in text.lines() {
        let scored: serde_json::Value = serde_json::from_str(line)?;
        let ms = scored["ms"]["total"].as_f64().ok_or(line)?;
        slowest = Some(f64::max(ms, slowest.unwrap_or(0.0)));
    }
    let failure = || {
        format!(
            "partgate score: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    };
    Ok(slowest.ok_or_else(failure)?)
}

/// Runs all trials of the gate.
fn line(report: &mut Report) -> Result<(), Failure> {
    let parts = trials::mixed(parts::read(Path::new(PARTS))?);
    let first = parts.first().ok_or("no parts")?;
    // The speed of the emulation depends on the machine outside. The way to the ejector takes the
    // time of one inspection, of two more parts that wait, and as much as one again.
    let inspection = inspection_ms(&parts)?;
    let text = fs::read_to_string(CONFIG)?;
    let after = Settings::of(&text)?
        .after
        .max((inspection * 4000.0) as u64 + 500_000);
    let text = settings::with_gate_after(&text, after / 1000)?;
    fs::write(CONFIG, &text)?;
    let settings = Settings::of(&text)?;
    println!(
        "an inspection takes {inspection:.0} ms here; the gate is {:.0} ms after the trigger",
        belt::ms(after)
    );
    let pins = Pins::make()?;
    let recorder = Recorder::start()?;
    let belt = Belt {
        pins,
        recorder: recorder.clone(),
        settings,
        scene: Some(Scene::set_up(&first.rgb)?),
        triggers: Vec::new(),
    };
    let since = belt::now();
    let mut trials = Trials {
        belt,
        gate: Gate::start(CONFIG)?,
        report,
        parts: &parts,
    };
    if !trials.start(since)? {
        return Ok(());
    }
    trials.verdicts()?;
    trials.no_frames()?;
    trials.double_trigger()?;
    trials.clock_step()?;
    trials.unplug()?;
    trials.vision(Signal::KILL, "the vision process is killed")?;
    trials.killed_while_passing()?;
    trials.vision(Signal::STOP, "the vision process is stopped")?;
    trials.terminate()?;
    let since = belt::now();
    trials.gate = Gate::start(CONFIG)?;
    if trials.start(since)? {
        trials.supervisor_killed()?;
    }
    println!("{} parts triggered", trials.belt.triggers.len());
    report.check(
        recorder.unread().is_empty(),
        format_args!("every line of the trace is read {:?}", recorder.unread()),
    );
    Ok(())
}

fn words(difference: &Difference, limit: f64) -> String {
    format!(
        "{} pictures: verdicts equal, greatest relative difference of scores {:.1e} ({}), allowed {limit:.0e}",
        difference.pictures, difference.greatest, difference.path
    )
}

/// Compares the scores of two machines.
fn compare(one: &Path, other: &Path, tolerance: &str) -> Result<(), String> {
    let limit: f64 = tolerance
        .parse()
        .map_err(|_| format!("{tolerance} is not a number"))?;
    let difference = parts::compare(Path::new(one), Path::new(other))?;
    println!("{}", words(&difference, limit));
    if difference.greatest <= limit {
        Ok(())
    } else {
        Err("scores differ too much".to_owned())
    }
}

/// Compares the program's scores in the test machine with those from outside. Both have the same
/// architecture, but an emulated processor has other vector instructions.
fn score(report: &mut Report) -> Result<(), Failure> {
    let here = Path::new("/tmp/here.jsonl");
    let pictures = parts::read(Path::new(PARTS))?;
    let names = pictures.iter().map(|part| format!("./{}", part.name));
    let began = belt::now();
    let status = Command::new(gate::PROGRAM)
        .current_dir(PARTS)
        .args(["score", "/etc/line.pgp"])
        .args(names)
        .stdout(File::create(here)?)
        .status()?;
    let took = belt::ms(belt::now() - began);
    report.check(status.success(), format_args!("partgate score: {status}"));
    println!("{took:.0} ms for {} pictures and the start", pictures.len());
    for line in fs::read_to_string(here)?.lines().take(3) {
        println!("        | {line}");
    }
    match parts::compare(here, &Path::new(PARTS).join("expected.jsonl")) {
        Ok(difference) => {
            report.check(
                difference.greatest <= TOLERANCE,
                words(&difference, TOLERANCE),
            );
        }
        Err(error) => report.broken(error),
    }
    Ok(())
}

fn exit_code(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plant: {error}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut report = Report::default();
    let outcome = match *arguments {
        ["enlarge", from, to] => {
            return exit_code(parts::enlarge(Path::new(from), Path::new(to)));
        }
        ["compare", one, other, tolerance] => {
            return exit_code(compare(Path::new(one), Path::new(other), tolerance));
        }
        ["line"] => line(&mut report),
        ["score"] => score(&mut report),
        ["devices"] => devices(&mut report),
        _ => {
            eprintln!(
                "usage: plant enlarge FROM TO | compare A B TOLERANCE | line | score | devices"
            );
            return ExitCode::from(2);
        }
    };
    if let Err(error) = outcome {
        report.broken(error);
    }
    if report.close() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
