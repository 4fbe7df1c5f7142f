//! `partgate capture`: it writes what the line's camera shows, and reports what it cannot do.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{Bench, field, partgate};
use partgate::config::LineConfig;
use partgate::frame::RawFrame;
use partgate::frame::file::read_frame;
use partgate::simulation::Devices;
use partgate::station::source;
use partgate::time::Duration;
use std::path::Path;

fn config(camera: &str) -> String {
    format!(
        "product = \"none.pgp\"\nboard = \"generic-x86\"\n[camera]\n{camera}\n\
         [trigger]\nkind = \"socket\"\nmin_pitch_ms = 100\n[capture]\nexposure_max_ms = 40\n\
         delivery_ms = 30\n[gate]\nafter_ms = 400\npulse_ms = 40\nejector = \"pass\"\n\
         [lines]\npass = \"line pass\"\n[control]\nsocket = \"control.sock\"\n\
         [record]\nfolder = \"record\"\n"
    )
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("folder");
    let name = |e: std::io::Result<std::fs::DirEntry>| e.expect("entry").file_name();
    let mut names: Vec<_> = entries.map(|e| name(e).to_string_lossy().into()).collect();
    names.sort();
    names
}

#[test]
fn pictures_of_the_lines_camera_become_files() {
    for on_trigger in ["true", "false"] {
        let bench = Bench::new();
        let camera = format!("source = \"rendered\"\nseed = 3\non_trigger = {on_trigger}");
        let line = bench.write("line.toml", config(&camera).as_bytes());
        let folder = bench.at("photos");
        let (line, photos) = (line.to_string_lossy(), folder.to_string_lossy());
        let few = ["--count", "3", "--every", "10", "--json"];
        let taken = partgate(&[&["capture", &line, &photos][..], &few].concat()).exits(0);
        assert_eq!(names(&folder), ["000001.png", "000002.png", "000003.png"]);
        let report = taken.json();
        assert_eq!(field(&report, "pictures"), 3);
        for name in names(&folder) {
            let frame = read_frame(&folder.join(name)).expect("a picture");
            assert_eq!(field(&report, "width"), frame.width());
            assert_eq!(field(&report, "height"), frame.height());
        }
        // It does not mix new files with old ones.
        partgate(&["capture", &line, &photos])
            .exits(3)
            .tells("not empty");
    }
}

#[test]
fn a_recording_is_played_as_it_was_taken() {
    let bench = Bench::new();
    let camera = "source = \"rendered\"\nseed = 3\nfps = 50";
    let line = bench.write("line.toml", config(camera).as_bytes());
    let (line, taken) = (line.to_string_lossy(), bench.at("taken"));
    let arguments = ["--count", "4", "--every", "0", "--recording"];
    partgate(
        &[
            &["capture", &line, &taken.to_string_lossy()][..],
            &arguments,
        ]
        .concat(),
    )
    .exits(0);
    assert!(taken.join("frames.jsonl").is_file());
    let camera = format!("source = \"recorded\"\nfolder = \"{}\"", taken.display());
    let second = bench.write("second.toml", config(&camera).as_bytes());
    let config = LineConfig::open(&second).expect("configuration");
    let mut source = source(&config, &Devices).expect("source");
    source.open().expect("open");
    let mut frame = RawFrame::with_capacity(source.frame_bytes());
    let mut times = Vec::new();
    for name in [
        "000001.png",
        "000002.png",
        "000003.png",
        "000004.png",
        "000001.png",
    ] {
        assert!(
            source
                .next(&mut frame, Duration::from_secs(60))
                .expect("frame")
        );
        assert_eq!(
            frame.bytes,
            std::fs::read(taken.join(name)).expect("file"),
            "{name}"
        );
        times.push(frame.time);
    }
    // Fifty per second, of which none or some can be missed: the distances are whole frames.
    for pair in times[..4].windows(2) {
        let frames = pair[1].since(pair[0]).0 as f64 / 20e6;
        assert!(
            (frames - frames.round()).abs() < 0.01 && frames > 0.5,
            "{times:?}"
        );
    }
    // A folder without times is named, and errors of the line as well.
    std::fs::remove_file(taken.join("frames.jsonl")).expect("removed");
    let check = partgate(&["config", "check", &second.to_string_lossy()]).exits(3);
    assert!(check.stdout.contains("frames.jsonl"), "{}", check.stdout);
}

#[test]
fn a_camera_that_is_not_there_is_named() {
    let bench = Bench::new();
    let camera = "source = \"folder\"\nfolder = \"nothing\"";
    let line = bench.write("line.toml", config(camera).as_bytes());
    let folder = bench.at("photos");
    partgate(&[
        "capture",
        &line.to_string_lossy(),
        &folder.to_string_lossy(),
    ])
    .exits(1)
    .tells("nothing");
}
