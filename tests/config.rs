//! `partgate config` and `doctor`: every problem of a file is reported with its place, and
//! everything that a machine lacks with its fix.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use command::{field, number, partgate, text};
use partgate::capture::recorded::{INDEX, index_line};
use partgate::config::Board;
use partgate::simulation::part::Renderer;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A line that runs anywhere: rendered pictures in a folder, the demo product, pins that no machine
/// has.
fn line(folder: &Path) -> PathBuf {
    let pictures = folder.join("parts");
    std::fs::create_dir(&pictures).expect("folder");
    let renderer = Renderer::new(1);
    bundle::save(&renderer.good(1), &pictures.join("1.png"));
    std::fs::create_dir(folder.join("record")).expect("folder");
    let config = format!(
        r#"product = {:?}
board = "generic-x86"
[camera]
source = "folder"
folder = "parts"
[trigger]
kind = "socket"
min_pitch_ms = 1000
[capture]
exposure_max_ms = 100
delivery_ms = 100
[gate]
after_ms = 60000
pulse_ms = 40
ejector = "pass"
[inference]
timeout_ms = 60000
[lines]
pass = "line partgate-test-of-a-line"
[record]
folder = "record"
images_quota_mib = 1
min_free_mib = 1
log_max_mib = 1
[control]
socket = "control.sock"
[trust]
allow_unsigned = true
"#,
        text(&bundle::demo())
    );
    let path = folder.join("line.toml");
    std::fs::write(&path, config).expect("write");
    path
}

fn change(path: &Path, old: &str, new: &str) {
    let config = std::fs::read_to_string(path).expect("read");
    assert!(config.contains(old), "{old:?} is not in the file");
    std::fs::write(path, config.replacen(old, new, 1)).expect("write");
}

/// The keys of the problems that `config check` reports.
fn problem_keys(check: &Value) -> Vec<&str> {
    let problems = field(check, "problems").as_array().expect("a list");
    let key = |problem| field(problem, "key").as_str().expect("text");
    problems.iter().map(key).collect()
}

#[test]
fn the_example_of_every_board_is_accepted() {
    let dir = tempfile::tempdir().expect("folder");
    for board in Board::known() {
        let example = partgate(&["config", "example", "--board", board]).exits(0);
        let file = dir.path().join(format!("{board}.toml"));
        std::fs::write(&file, &example.stdout).expect("write");
        partgate(&["config", "check", "--syntax-only", &text(&file)]).exits(0);
        // The product of the example does not exist, and that is reported.
        let check = partgate(&["config", "check", "--json", &text(&file)]).exits(3);
        let check = check.json();
        let expected: &[&str] = if cfg!(feature = "v4l2") {
            &["product"]
        } else {
            &["product", "camera.source"]
        };
        assert_eq!(problem_keys(&check), expected);
        let shown = partgate(&["config", "boards", board]).exits(0);
        assert!(shown.stdout.contains("verified: "), "{}", shown.stdout);
    }
    let unknown = partgate(&["config", "example", "--board", "jetson"]).exits(3);
    unknown.tells("jetson-orin-nano");
}

#[test]
fn every_problem_is_reported_with_file_line_and_key() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    partgate(&["config", "check", &text(&file)]).exits(0);

    change(&file, "pulse_ms = 40", "pulse_sm = 40");
    change(&file, "images_quota_mib = 1", "images_quota_mib = -1");
    let check = partgate(&["config", "check", &text(&file)]).exits(3);
    for expected in [
        "line.toml:14: gate.pulse_sm: not a known key; did you mean `pulse_ms`?",
        "line.toml:22: record.images_quota_mib: -1 is out of range; allowed: 0 to",
        "3 problems",
    ] {
        assert!(
            check.stdout.contains(expected),
            "{expected}: {}",
            check.stdout
        );
    }
    let check = partgate(&["config", "check", "--json", &text(&file)])
        .exits(3)
        .json();
    assert_eq!(field(&check, "ok"), false);
    let keys = ["gate.pulse_ms", "gate.pulse_sm", "record.images_quota_mib"];
    assert_eq!(problem_keys(&check), keys);
    partgate(&["config", "check", "/nonexistent/line.toml"])
        .exits(3)
        .tells("cannot be read");
}

#[test]
fn settings_that_protect_less_are_reported_and_accepted() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("line.toml");
    std::fs::write(&file, partgate::config::EXAMPLE).expect("write");
    let check = || partgate(&["config", "check", "--syntax-only", &text(&file)]).exits(0);
    let clean = check().stdout;
    assert!(!clean.contains("warning"), "{clean}");
    assert!(clean.contains("nothing is wrong"), "{clean}");

    change(&file, "delivery_ms = 50", "delivery_ms = 60");
    let report = check().stdout;
    let lines = std::fs::read_to_string(&file).expect("read");
    let line = 1 + lines
        .lines()
        .position(|line| line.starts_with("delivery_ms"))
        .expect("its line");
    let expected = format!("line.toml:{line}: warning: capture.delivery_ms: 100 ms");
    assert!(report.contains(&expected), "{report}");
    assert!(report.contains("nothing is wrong"), "{report}");

    let json = partgate(&["config", "check", "--syntax-only", "--json", &text(&file)]).exits(0);
    let json = json.json();
    assert_eq!(field(&json, "ok"), true);
    let warnings = field(&json, "warnings").as_array().expect("a list");
    assert_eq!(warnings.len(), 1);
    assert_eq!(field(&warnings[0], "key"), "capture.delivery_ms");
    assert_eq!(field(&warnings[0], "line"), line);
}

#[test]
fn the_bundle_and_the_pictures_are_looked_at() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    let check = || partgate(&["config", "check", "--json", &text(&file)]);
    image::GrayImage::new(400, 100)
        .save(dir.path().join("parts/0.png"))
        .expect("write");
    let found = check().exits(3).json();
    assert_eq!(problem_keys(&found), ["camera.folder"]);
    assert!(found.to_string().contains("another view"), "{found}");
    let folder = "source = \"folder\"\nfolder = \"parts\"";
    // Any picture of the folder can be the cause.
    std::fs::rename(
        dir.path().join("parts/0.png"),
        dir.path().join("parts/2.png"),
    )
    .expect("move");
    assert_eq!(problem_keys(&check().exits(3).json()), ["camera.folder"]);
    let recorded = "source = \"recorded\"\nfolder = \"parts\"";
    change(&file, folder, recorded);
    let frame = |name: &str, n: u64| index_line(Path::new(name), n, n);
    let list = frame("1.png", 1) + &frame("2.png", 2);
    std::fs::write(dir.path().join("parts").join(INDEX), list).expect("write");
    let found = check().exits(3).json();
    assert_eq!(problem_keys(&found), ["camera.folder"]);
    assert!(found.to_string().contains("2.png"), "{found}");
    let mut before = recorded.to_string();
    for (width, height, format, words) in [
        (400, 100, "auto", "another view"),
        (16384, 16384, "GREY", "more pixels than any inspector"),
        (321, 257, "YUYV", "in pairs"),
    ] {
        let camera =
            format!("source = \"v4l2\"\nformat = \"{format}\"\nwidth = {width}\nheight = {height}");
        change(&file, &before, &camera);
        before = camera;
        let found = check().exits(3).json();
        let keys = problem_keys(&found);
        let without: &[&str] = &["camera.source"];
        let expected = [
            if cfg!(feature = "v4l2") { &[] } else { without },
            &["camera.width"],
        ];
        assert_eq!(keys, expected.concat(), "{found}");
        assert!(found.to_string().contains(words), "{found}");
    }
    // The size of the board's profile, 1280 x 720, is reported at the place where the file needs
    // it.
    let camera = "source = \"v4l2\"";
    change(&file, &before, camera);
    let found = check().exits(3).json();
    assert!(
        found.to_string().contains("size of board generic-x86"),
        "{found}"
    );
    change(&file, camera, folder);
    std::fs::remove_dir_all(dir.path().join("parts")).expect("remove");
    assert_eq!(problem_keys(&check().exits(3).json()), ["camera.folder"]);
    change(&file, "demo.pgp", "gone.pgp");
    let found = check().exits(3).json();
    assert_eq!(problem_keys(&found), ["product", "camera.folder"]);
}

#[cfg(not(feature = "v4l2"))]
#[test]
fn a_camera_in_a_build_without_cameras_is_refused_by_check_and_run() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    change(
        &file,
        "source = \"folder\"\nfolder = \"parts\"",
        "source = \"v4l2\"\nwidth = 320\nheight = 256",
    );
    let check = partgate(&["config", "check", &text(&file)]).exits(3);
    assert!(check.stdout.contains("--features v4l2"), "{}", check.stdout);
    partgate(&["run", &text(&file)])
        .exits(3)
        .tells("--features v4l2");
}

#[test]
fn the_reference_page_has_every_key() {
    let page = std::fs::read_to_string(bundle::root().join("docs/config.md")).expect("read");
    let keys = partgate(&["config", "keys"]).exits(0).stdout;
    assert!(
        page.contains(&keys),
        "docs/config.md is not up to date; `partgate config keys` prints:\n{keys}"
    );
}

fn states(report: &Value) -> Vec<(String, String, String)> {
    let checks = field(report, "checks").as_array().expect("a list");
    let part = |check: &Value, name: &str| field(check, name).as_str().expect("text").to_string();
    checks
        .iter()
        .map(|check| {
            (
                part(check, "check"),
                part(check, "state"),
                part(check, "found"),
            )
        })
        .collect()
}

#[test]
fn doctor_without_a_configuration_looks_at_the_machine() {
    let report = partgate(&["doctor", "--json"]).exits(0).json();
    let found = states(&report);
    let state = |name: &str| {
        let check = found.iter().find(|(check, ..)| check == name);
        check
            .unwrap_or_else(|| panic!("{name} in {found:?}"))
            .1
            .clone()
    };
    assert_eq!(state("clock resolution"), "ok");
    assert_eq!(state("devices, folders, product"), "not_checked");
    assert_eq!(number(&report, "failed"), 0.0);
}

#[test]
fn doctor_runs_the_product_and_tells_what_the_machine_lacks() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    let support = dir.path().join("support.txt");
    let arguments = [
        "doctor",
        &text(&file),
        "--runs",
        "3",
        "--json",
        "--report",
        &text(&support),
    ];
    let report = partgate(&arguments).exits(7).json();
    let found = states(&report);
    // The pin's name is on no machine's chips, and many machines have no chip at all.
    for (check, state, what) in &found {
        let lines = check == "gpio" || check == "line pass";
        assert_eq!(state == "failed", lines, "{check}: {what}");
    }
    for (name, words) in [
        ("configuration", "line.toml"),
        ("camera", "1 image files"),
        ("record folder", "written and synced"),
        ("control socket", "is free"),
        ("kernels", "integers by"),
        ("self-test", "golden images agree"),
        ("inspection time", "the gate leaves 59800.0 ms"),
    ] {
        let (_, state, what) = found
            .iter()
            .find(|(check, ..)| check == name)
            .unwrap_or_else(|| panic!("{name} in {found:?}"));
        assert_eq!(state, "ok", "{name}: {what}");
        assert!(what.contains(words), "{name}: {what}");
    }
    let report = std::fs::read_to_string(&support).expect("a report");
    for expected in [
        "== checks",
        "self-test: all ",
        "min_pitch_ms = 1000",
        "== gpio",
        "fix: ",
    ] {
        assert!(report.contains(expected), "{expected} in {report}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path().join("record"))
            .expect("list")
            .count(),
        0
    );
}

#[test]
fn a_report_packs_what_support_needs_and_no_pictures() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    let product = text(&bundle::demo());
    let small = dir.path().join("small.pgp");
    std::fs::write(&small, bundle::small()).expect("write");
    change(&file, &product, &text(&small));
    let kept = dir.path().join("record/images/2026/part-1.png");
    std::fs::create_dir_all(kept.parent().expect("folder")).expect("folder");
    std::fs::write(&kept, "a picture").expect("write");
    std::fs::write(dir.path().join("record/events-00000001.log"), "an entry\n").expect("write");
    let archive = text(&dir.path().join("support.tar"));
    let arguments = ["report", &text(&file), "-o", &archive, "--json"];
    let report = partgate(&arguments).exits(0).json();
    let files = |report: &Value| -> Vec<String> {
        let files = report["files"].as_array().expect("files");
        let names = files.iter().map(|f| f.as_str().expect("a name").to_owned());
        names.collect()
    };
    let found = files(&report);
    for name in [
        "doctor.txt",
        "line.toml",
        "events.log",
        "product.json",
        "missing.txt",
    ] {
        assert!(found.iter().any(|f| f == name), "{name} in {found:?}");
    }
    assert!(!found.iter().any(|f| f.contains("images")), "{found:?}");
    // No line runs, so nobody answers.
    let missing = report["missing"].to_string();
    assert!(missing.contains("status.json"), "{missing}");
    let bytes = std::fs::read(&archive).expect("an archive");
    let holds = |part: &str| bytes.windows(part.len()).any(|w| w == part.as_bytes());
    assert!(holds("an entry") && holds("test assembly") && holds("UNSIGNED"));
    assert!(!holds("a picture"));
    let more = [&arguments[..], &["--images", "1"]].concat();
    let found = files(&partgate(&more).exits(0).json());
    assert!(found.contains(&"images/part-1.png".to_owned()), "{found:?}");
}

#[test]
fn doctor_holds_the_picture_checks_against_the_products_own_good_parts() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    let plant = "[plant]\noutputs = \"outputs\"\ninputs = \"inputs\"\n";
    for (limit, expected, words) in [
        ("min_mean = 10.0", "ok", "keep every limit"),
        ("min_mean = 250.0", "failed", "sanity.min_mean: golden good"),
    ] {
        let mut config = std::fs::read_to_string(&file).expect("read");
        config.truncate(config.find("[sanity]").unwrap_or(config.len()));
        std::fs::write(&file, format!("{config}[sanity]\n{limit}\n{plant}")).expect("write");
        let code = if expected == "ok" { 0 } else { 7 };
        let report = partgate(&["doctor", "--runs", "1", "--json", &text(&file)]).exits(code);
        let found = states(&report.json());
        let of = |name: &str| {
            let (_, state, what) = found
                .iter()
                .find(|(check, ..)| check == name)
                .unwrap_or_else(|| panic!("{name} in {found:?}"));
            (state.clone(), what.clone())
        };
        let (state, what) = of("picture checks");
        assert_eq!(state, expected, "{what}");
        assert!(what.contains(words), "{what}");
        // The text plant needs neither a chip nor its group.
        let (state, what) = of("gpio");
        assert_eq!(
            (&*state, &*what),
            ("not_checked", "inputs and outputs go through text")
        );
        assert!(!found.iter().any(|(check, ..)| check == "group gpio"));
    }
}

#[test]
fn doctor_tells_a_configuration_that_cannot_be_used() {
    let dir = tempfile::tempdir().expect("folder");
    let file = line(dir.path());
    change(&file, "after_ms = 60000", "after_ms = 150");
    let report = partgate(&["doctor", "--json", &text(&file)])
        .exits(7)
        .json();
    let failed: Vec<_> = states(&report)
        .into_iter()
        .filter(|(_, state, _)| state == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0].2.contains("leaves no time for inspection"),
        "{failed:?}"
    );
}

#[test]
fn completions_and_pages_know_every_command() {
    let help = partgate(&["--help"]).exits(0).stdout;
    let commands: Vec<&str> = help
        .split("Commands:\n")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .expect("commands in the help text")
        .lines()
        // Longer indents continue a description.
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|rest| !rest.starts_with(' '))
        })
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 11, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = partgate(&["completions", shell]).exits(0).stdout;
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    for command in ["config", "doctor", "completions", "man"] {
        let help = partgate(&[command, "--help"]).exits(0).stdout;
        assert!(
            help.contains("Examples:") && help.contains("Exit codes:"),
            "{help}"
        );
    }
    let dir = tempfile::tempdir().expect("folder");
    let folder = dir.path().join("man1");
    partgate(&["man", &text(&folder)]).exits(0);
    for command in &commands {
        let page = folder.join(format!("partgate-{command}.1"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{command}: {e}"));
        assert!(page.contains("SYNOPSIS"), "{command}");
    }
    let main = partgate(&["man"]).exits(0).stdout;
    assert!(
        main.starts_with(".ie") && main.contains("partgate"),
        "{main}"
    );
}
