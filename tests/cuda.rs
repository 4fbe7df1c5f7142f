//! Promise: what runs the backbone is what was asked for, or the command refuses with the fix. It
//! never runs on something else.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bundle;
mod command;
mod line;

use command::{Bench, Ran, field, partgate, text};
use line::{Plant, on_between};
use partgate::network::{Accelerator, Placement, Threads};
use partgate::product::Product;
use partgate::simulation::part::Renderer;
use serde_json::Value;
use std::path::PathBuf;

/// Whether networks can run on a GPU here.
fn has_gpu() -> bool {
    let needs = Accelerator::Cuda.needs();
    needs.iter().all(|need| need.found.is_ok())
}

/// What every command says here where CUDA is asked for; None where there is a GPU.
fn refusal() -> Option<&'static str> {
    if !cfg!(feature = "cuda") {
        return Some("this build has no CUDA; build it with `--features cuda`");
    }
    if has_gpu() {
        eprintln!("SKIPPED: what a machine without a GPU refuses; this one has a GPU");
        return None;
    }
    let driver = ["libcuda.so.1", "libcuda.so"];
    let known = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    let mut files = known
        .iter()
        .flat_map(|d| driver.map(|f| PathBuf::from(d).join(f)));
    match files.any(|file| file.exists()) {
        // A driver without a GPU, or with other libraries: its own words.
        true => Some("; fix: "),
        false => Some("CUDA driver library not found"),
    }
}

/// A folder with the small bundle in f32, as `small.pgp`, and one image.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("small.pgp", bundle::small_in_floats());
    bundle::save(&Renderer::new(1).good(1), &bench.at("part.png"));
    bench
}

fn on_cuda(bench: &Bench, arguments: &[&str]) -> Ran {
    let bundle = bench.bundle();
    let mut all = vec![arguments[0], &bundle];
    all.extend(&arguments[1..]);
    all.extend(["--accelerator", "cuda"]);
    partgate(&all)
}

#[test]
fn every_command_refuses_what_is_not_there() {
    let Some(refusal) = refusal() else { return };
    let bench = bench();
    let image = text(&bench.at("part.png"));
    for arguments in [
        vec!["score", &image],
        vec!["selftest"],
        vec!["selftest", "--json", "--cpu-nodes"],
        vec!["bench", "--runs", "1"],
        vec!["bench", "--line", "--seconds", "1"],
    ] {
        let printed = on_cuda(&bench, &arguments).exits(3).tells(refusal);
        assert_eq!(printed.stdout, "", "{arguments:?}");
        assert!(
            printed.stderr.contains("--accelerator cpu"),
            "{}",
            printed.stderr
        );
    }
}

#[test]
fn a_quantised_backbone_is_refused_with_the_way_out() {
    let bench = bench();
    bench.write("small.pgp", bundle::small());
    let printed = on_cuda(&bench, &["selftest"]);
    if cfg!(feature = "cuda") {
        let printed = printed.exits(4).tells("is quantised (int8)");
        printed.tells("--backbone efficientnet-lite0-f32");
    } else {
        printed.exits(3).tells("this build has no CUDA");
    }
}

#[test]
fn what_was_not_asked_for_does_not_matter() {
    let bench = bench();
    let bundle = bench.bundle();
    let json = partgate(&["selftest", &bundle, "--accelerator", "cpu", "--json"])
        .exits(0)
        .json();
    let engine = field(&json, "kernels.backbone.engine").as_str();
    assert!(engine.expect("text").ends_with("on the CPU"), "{engine:?}");
    assert!(json["kernels"]["backbone"].get("device").is_none());
    partgate(&["selftest", &bundle, "--cpu-nodes"]).exits(2);
    partgate(&["selftest", &bundle, "--accelerator", "gpu"]).exits(2);
    partgate(&["demo", "--accelerator", "cuda"]).exits(2);
}

/// A line of the f32 bundle; `inference` are more keys of that section.
fn configured(inference: &str) -> Plant {
    let config = format!(
        "product = \"small.pgp\"\nboard = \"generic-x86\"\n[camera]\nsource = \"rendered\"\n\
         on_trigger = true\nseed = 1\ndefective_percent = 0.0\n[trigger]\nkind = \"gpio\"\n\
         min_pitch_ms = 80\n[capture]\nexposure_max_ms = 60\ndelivery_ms = 200\n[gate]\n\
         after_ms = 2000\npulse_ms = 60\nejector = \"pass\"\nlate_output_ms = 30\n[inference]\n\
         threads = 1\n{inference}\n[supervisor]\nlease_ms = 1000\nlate_ms = 400\nrestart_ms = 20\n"
    );
    let plant = Plant::new(&config);
    std::fs::write(plant.at("small.pgp"), bundle::small_in_floats()).expect("bundle");
    plant
}

fn check(plant: &Plant, code: i32) -> Vec<Value> {
    let file = text(&plant.at("line.toml"));
    let json = partgate(&["config", "check", &file, "--json"])
        .exits(code)
        .json();
    field(&json, "problems").as_array().expect("a list").clone()
}

fn says(problem: &Value, key: &str, words: &str) {
    assert_eq!(field(problem, "key"), key, "{problem}");
    let message = field(problem, "message").as_str().expect("text");
    assert!(message.contains(words), "{message}");
}

#[test]
fn the_configuration_is_checked_for_what_this_build_has() {
    let plant = configured("accelerator = \"cuda\"\ncpu_nodes = true");
    let key = "inference.accelerator";
    if cfg!(feature = "cuda") {
        assert_eq!(check(&plant, 0), [] as [Value; 0]);
        std::fs::write(plant.at("small.pgp"), bundle::small()).expect("bundle");
        let problems = check(&plant, 3);
        assert_eq!(problems.len(), 1, "{problems:?}");
        says(&problems[0], key, "is quantised (int8)");
    } else {
        let problems = check(&plant, 3);
        assert_eq!(problems.len(), 1, "{problems:?}");
        says(
            &problems[0],
            key,
            "this build has no CUDA; build it with `--features cuda`",
        );
    }
}

#[test]
fn keys_that_contradict_are_told() {
    for (inference, key, words) in [
        (
            "cpu_nodes = true",
            "inference.cpu_nodes",
            "has an effect only with",
        ),
        (
            "accelerator = \"cuda\"\nrequire_integers = true",
            "inference.require_integers",
            "no network runs in integers there",
        ),
        (
            "accelerator = \"gpu\"",
            "inference.accelerator",
            "is not known",
        ),
    ] {
        let plant = configured(inference);
        let problems = check(&plant, 3);
        assert_eq!(problems.len(), 1, "{problems:?}");
        says(&problems[0], key, words);
    }
}

#[test]
fn a_line_does_not_run_on_something_else() {
    let Some(refusal) = refusal() else { return };
    let plant = configured("accelerator = \"cuda\"");
    let mut running = plant.start();
    assert_eq!(running.await_end().code(), Some(3));
    let printed = plant.printed();
    assert!(printed.contains(refusal), "{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
    assert!(!on_between(&plant.changes(), "ready", 0, u64::MAX));
}

#[test]
fn doctor_tells_what_is_missing_and_the_fix() {
    let Some(refusal) = refusal() else { return };
    let plant = configured("accelerator = \"cuda\"");
    let file = text(&plant.at("line.toml"));
    for arguments in [
        vec!["doctor", &file, "--runs", "1", "--json"],
        vec!["doctor", &file, "--warm", "--json"],
    ] {
        let report = partgate(&arguments).exits(7).json();
        let checks = field(&report, "checks").as_array().expect("a list");
        // Its fix is a field of its own here.
        let wanted = refusal.trim_start_matches("; fix: ");
        let named = |check: &&Value| {
            let found = check["found"].as_str().unwrap_or_default();
            check["state"] == "failed" && check["fix"].is_string() && found.contains(wanted)
        };
        assert!(checks.iter().any(|check| named(&check)), "{report}");
        let loads = checks.iter().find(|c| c["check"] == "product loads");
        assert_eq!(
            loads.expect("a finding")["state"],
            "not_checked",
            "{report}"
        );
    }
}

#[test]
fn there_is_nothing_to_warm_on_the_cpu() {
    let plant = configured("accelerator = \"cpu\"");
    let file = text(&plant.at("line.toml"));
    let printed = partgate(&["doctor", &file, "--warm"]).exits(0).stdout;
    assert!(printed.contains("nothing to compile"), "{printed}");
    partgate(&["doctor", "--warm"]).exits(2);
}

/// The goldens of this bundle were scored on the CPU.
#[test]
fn a_gpu_gives_the_golden_scores_of_the_cpu() {
    if !cfg!(feature = "cuda") || !has_gpu() {
        eprintln!(
            "SKIPPED: agreement of CPU and GPU: no usable GPU here, or a build without `cuda`"
        );
        return;
    }
    let bytes = bundle::small_in_floats().to_vec();
    let product = Product::from_bytes(bytes, "small").expect("a bundle");
    let placement = Placement {
        accelerator: Accelerator::Cuda,
        cpu_nodes: false,
    };
    let threads = Threads::new(2).expect("threads");
    let mut inspector =
        partgate::inspection::Inspector::placed(&product, &threads, placement).expect("loads");
    let kernels = inspector.kernels();
    let device = kernels.backbone.device.as_ref().expect("a device");
    eprintln!("{device}");
    assert!(device.cpu_nodes.is_empty(), "{device}");
    for _ in 0..3 {
        let goldens = inspector.selftest(&product).expect("runs");
        assert!(!goldens.is_empty());
        for golden in goldens {
            eprintln!("{}: {:.2e}", golden.name, golden.relative_difference);
            assert!(golden.agrees, "{golden:?}");
        }
    }
    let bench = bench();
    on_cuda(&bench, &["selftest"]).exits(0);
    on_cuda(&bench, &["bench", "--runs", "20"]).exits(0);
}
