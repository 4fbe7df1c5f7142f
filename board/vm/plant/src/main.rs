//! The production line round partgate, played on kernel devices inside the test machine.
//!
//! ```text
//! plant enlarge FROM.png TO.png   (outside) a rendered part at the camera's size
//! plant devices                   the devices alone: pictures through the camera, lines through the chip
//! ```

mod ioctl;
mod parts;
mod pins;
mod recorder;
mod report;
mod video;

use pins::Pins;
use recorder::Recorder;
use report::Report;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use video::Scene;

type Failure = Box<dyn std::error::Error>;

/// A picture that no other is like.
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

/// Pictures arrive byte for byte, before and after an unplug; pulled lines are recorded.
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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut report = Report::default();
    let outcome = match *arguments {
        ["enlarge", from, to] => {
            return match parts::enlarge(Path::new(from), Path::new(to)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("plant: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        ["devices"] => devices(&mut report),
        _ => {
            eprintln!("usage: plant enlarge FROM TO | plant devices");
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
