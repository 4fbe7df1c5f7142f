//! What `fit --cache` promises: work that was done is not done again, and nothing else changes;
//! and what every fit promises before it starts: that memory and disk will suffice.

#![allow(clippy::expect_used, clippy::panic)]

mod fixtures;

use fixtures::{
    Bench, QUICK, Ran, data_set, fit, fit_with, goods, own_network, program, save, text, train,
};
#[cfg(unix)]
use fixtures::{as_nobody, set_mode};
use partgate::simulation::part::{Defect, Renderer};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

fn entries(cache: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(cache)
        .map(|list| list.map(|e| e.expect("entry").path()).collect())
        .unwrap_or_default();
    found.retain(|path| path.extension().is_some_and(|e| e == "features"));
    found.sort();
    found
}

/// Fits `parts` to `part.pgp` with the cache `cache`; its bytes, the images from the cache and what
/// was said.
fn cached_fit(bench: &Bench, parts: &str, more: &[&str]) -> (Vec<u8>, u64, Ran) {
    let (cache, bundle) = (text(&bench.at("cache")), bench.at("part.pgp"));
    let arguments = [&["--cache", &cache, "--json"], more].concat();
    let ran = fit(&bench.at(parts), &bundle, &arguments).exits(0);
    let count = ran.json()["cached_images"].as_u64().expect("a count");
    (std::fs::read(bundle).expect("bundle"), count, ran)
}

fn plain_fit(bench: &Bench, parts: &str, more: &[&str]) -> Vec<u8> {
    // The product is called after the file.
    let bundle = bench.at("plain").join("part.pgp");
    let ran = fit(&bench.at(parts), &bundle, &[&["--json"], more].concat()).exits(0);
    assert_eq!(ran.json()["cached_images"], 0);
    std::fs::read(bundle).expect("bundle")
}

#[test]
fn a_killed_fit_goes_on_where_it_was_and_gives_the_same_bytes() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 24);
    let settings = [
        ["--size", "256"],
        ["--threads", "1"],
        ["--min-bank", "128"],
        ["--method", "patchcore"],
    ]
    .concat();
    let (cache, bundle) = (bench.at("cache"), bench.at("killed/part.pgp"));
    let paths = [&bench.at("parts"), &bundle, &cache].map(|p| text(p));
    let arguments = ["fit", &paths[0], "-o", &paths[1], "--cache", &paths[2]];
    let mut running = program(&[&arguments[..], &settings].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let since = Instant::now();
    while entries(&cache).len() < 3 {
        assert!(since.elapsed() < Duration::from_secs(120), "nothing kept");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.kill().expect("kill");
    running.wait().expect("wait");
    assert!(!bundle.exists(), "the fit was over before it was killed");
    let left = std::fs::read_dir(bench.at("killed")).expect("list").count();
    assert_eq!(left, 0, "the room that it held is still taken");
    let kept = entries(&cache).len();
    assert!((3..24).contains(&kept), "{kept} kept");

    let more = [&["--json"], &arguments[4..], &settings].concat();
    let ran = fit_with(&bench.at("parts"), &bundle, &more).exits(0);
    assert_eq!(ran.json()["cached_images"], kept);
    let uninterrupted = bench.at("plain/part.pgp");
    fit_with(&bench.at("parts"), &uninterrupted, &settings).exits(0);
    let [resumed, whole] = [&bundle, &uninterrupted].map(|p| std::fs::read(p).expect("bundle"));
    assert!(resumed == whole);
    // Of the killed run nothing is left over beside the bundle.
    let beside = std::fs::read_dir(bench.at("killed")).expect("list");
    assert_eq!(beside.count(), 1);
}

#[test]
fn an_image_that_cannot_be_read_is_named_before_any_work() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 6);
    let broken = bench.write("parts/zzz.png", b"no picture");
    let (cache, bundle) = (text(&bench.at("cache")), bench.at("part.pgp"));
    fit(
        &bench.at("parts"),
        &bundle,
        &["--cache", &cache, "--threads", "1"],
    )
    .exits(3)
    .tells("zzz.png");
    std::fs::remove_file(broken).expect("remove");
    let (bytes, cached, ran) = cached_fit(&bench, "parts", &[]);
    assert_eq!(cached, 0);
    assert_eq!(ran.stderr, "");
    assert!(bytes == plain_fit(&bench, "parts", &[]));
    // The text for people has the count, too.
    let ran = fit(&bench.at("parts"), &bundle, &["--cache", &cache]).exits(0);
    let line = "features of 6 of the images came from the cache";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
}

#[test]
fn other_banks_rules_and_names_hit_and_everything_that_changes_features_does_not() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    assert_eq!(cached_fit(&bench, "parts", &[]).1, 0);
    for same in [
        &["--bank-ratio", "0.5"][..],
        &["--method", "position"],
        &["--seed", "5", "--folds", "2", "--sigma", "1"],
        &["--projection", "16", "--threads", "1"],
    ] {
        let (bytes, cached, _) = cached_fit(&bench, "parts", same);
        assert_eq!(cached, 4, "{same:?}");
        assert!(bytes == plain_fit(&bench, "parts", same), "{same:?}");
    }
    let mut kept = 4;
    for other in [
        &["--backbone", "efficientnet-lite0-f32"][..],
        &["--crop", "96"],
        &["--patch", "5"],
        &["--border", "inside"],
        &["--roi", "0,0,256,256"],
    ] {
        let (bytes, cached, _) = cached_fit(&bench, "parts", other);
        assert_eq!(cached, 0, "{other:?}");
        assert!(bytes == plain_fit(&bench, "parts", other), "{other:?}");
        kept += 4;
        assert_eq!(entries(&bench.at("cache")).len(), kept);
        assert_eq!(cached_fit(&bench, "parts", other).1, 4, "{other:?}");
    }
    let cache = text(&bench.at("cache"));
    let more = ["--size", "160", "--json", "--cache", &cache];
    let bundle = text(&bench.at("size.pgp"));
    let arguments = ["fit", &text(&bench.at("parts")), "-o", &bundle];
    let ran = train(&[&arguments, &more[..]].concat()).exits(0);
    assert_eq!(ran.json()["cached_images"], 0);

    // A picture under another name is the same picture; another one under its name is not.
    let (from, to) = (bench.at("parts/000.png"), bench.at("parts/renamed.png"));
    std::fs::rename(from, to).expect("rename");
    save(&Renderer::new(1).good(77), &bench.at("parts/001.png"));
    let (bytes, cached, _) = cached_fit(&bench, "parts", &[]);
    assert_eq!(cached, 3);
    assert!(bytes == plain_fit(&bench, "parts", &[]));
}

#[test]
fn another_description_of_the_same_network_does_not_hit() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 3);
    let cached = |mean: f64| {
        let onnx = own_network(&bench, |spec| {
            spec["input"]["mean"] = serde_json::json!([mean, mean, mean]);
        });
        cached_fit(&bench, "parts", &["--backbone", &text(&onnx)]).1
    };
    assert_eq!([cached(127.0), cached(127.0), cached(100.0)], [0, 3, 0]);
}

#[test]
fn a_damaged_entry_is_named_and_computed_again() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 5);
    let (whole, cached, _) = cached_fit(&bench, "parts", &[]);
    assert_eq!(cached, 0);
    let entries = entries(&bench.at("cache"));
    let good = std::fs::read(&entries[1]).expect("entry");
    // A lower value in the features, and a power cut's short file.
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x40;
    std::fs::write(&entries[1], &flipped).expect("write");
    let short = std::fs::File::options().write(true).open(&entries[3]);
    short.and_then(|f| f.set_len(4096)).expect("cut");
    let (bytes, cached, ran) = cached_fit(&bench, "parts", &[]);
    assert_eq!(cached, 3);
    for entry in [&entries[1], &entries[3]] {
        let line = |l: &&str| l.contains("WARN") && l.contains(&text(entry));
        let warnings: Vec<&str> = ran.stderr.lines().filter(line).collect();
        assert_eq!(warnings.len(), 1, "{}", ran.stderr);
    }
    assert!(bytes == whole);
    // It was mended by that.
    assert!(std::fs::read(&entries[1]).expect("entry") == good);
    let (bytes, cached, ran) = cached_fit(&bench, "parts", &[]);
    assert_eq!((cached, &*ran.stderr), (5, ""));
    assert!(bytes == whole);
}

/// Asserts that a fit went well and complained about its cache exactly once.
fn warned_once(ran: Ran, what: &str) {
    let ran = ran.exits(0).tells(what);
    let warnings = ran.stderr.lines().filter(|l| l.contains("WARN")).count();
    assert_eq!(warnings, 1, "{}", ran.stderr);
}

#[test]
fn a_cache_that_cannot_be_made_costs_a_warning() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 3);
    let file = bench.write("a file", b"in the way");
    for cache in [file.clone(), file.join("below")] {
        let bundle = bench.at("part.pgp");
        let ran = fit(&bench.at("parts"), &bundle, &["--cache", &text(&cache)]);
        warned_once(ran, "cannot be used as a cache");
        let bytes = std::fs::read(bundle).expect("bundle");
        assert!(bytes == plain_fit(&bench, "parts", &[]));
    }
    assert_eq!(std::fs::read(file).expect("file"), b"in the way");
}

#[test]
#[cfg(unix)]
fn a_cache_that_may_only_be_read_is_read() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 3);
    cached_fit(&bench, "parts", &[]);
    save(&Renderer::new(1).good(50), &bench.at("parts/more.png"));
    save(&Renderer::new(1).good(51), &bench.at("parts/yet more.png"));
    std::fs::create_dir(bench.at("out")).expect("folder");
    set_mode(&bench.at(""), 0o755);
    set_mode(&bench.at("out"), 0o777);
    set_mode(&bench.at("cache"), 0o555);
    let paths = ["parts", "out/part.pgp", "cache"].map(|name| text(&bench.at(name)));
    let arguments = ["fit", &paths[0], "-o", &paths[1], "--cache", &paths[2]];
    let command = program(&[&arguments[..], &["--json"], &QUICK].concat());
    let Some(ran) = as_nobody(command) else {
        return;
    };
    set_mode(&bench.at("cache"), 0o755);
    assert_eq!(ran.json()["cached_images"], 3);
    warned_once(ran, "the cache cannot be written");
    let bytes = std::fs::read(bench.at("out/part.pgp")).expect("bundle");
    assert!(bytes == plain_fit(&bench, "parts", &[]));
}

/// A file system of its own, unmounted when dropped.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// None where this user may not mount one.
    fn new(at: PathBuf, kib: u32) -> Option<Self> {
        std::fs::create_dir(&at).expect("folder");
        let size = format!("size={kib}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "partgate-test"])
            .arg(&at)
            .output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Self(at));
        }
        eprintln!("SKIPPED: this user may not mount a small file system");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(done.is_ok_and(|s| s.success()) || std::thread::panicking());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_the_cache_and_not_the_fit() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 8);
    // An entry takes 156 KiB at this size: three fit.
    let Some(_disk) = SmallDisk::new(bench.at("cache"), 500) else {
        return;
    };
    let plain = plain_fit(&bench, "parts", &[]);
    for expected in [0, 3] {
        let (bytes, cached, ran) = cached_fit(&bench, "parts", &[]);
        assert_eq!(cached, expected);
        warned_once(ran, "the cache cannot be written");
        assert!(bytes == plain);
        // What did not fit is not left lying there in part.
        let files = std::fs::read_dir(bench.at("cache")).expect("list");
        assert_eq!(files.count(), 3);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_cache_on_the_bundles_disk_leaves_the_bundle_its_room() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 60);
    // The bundle may take 13 MiB, 60 entries would take 9.
    let Some(disk) = SmallDisk::new(bench.at("disk"), 16 << 10) else {
        return;
    };
    let (cache, bundle) = (text(&disk.0.join("cache")), disk.0.join("part.pgp"));
    let ran = fit(&bench.at("parts"), &bundle, &["--cache", &cache]);
    warned_once(ran, "the cache cannot be written");
    assert!(std::fs::read(bundle).expect("bundle") == plain_fit(&bench, "parts", &[]));
}

#[test]
#[cfg(unix)]
fn a_disk_without_room_for_the_bundle_is_3_before_any_work() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 4);
    let paths = ["parts", "part.pgp", "cache"].map(|name| text(&bench.at(name)));
    let whole = ["fit", &paths[0], "-o", &paths[1], "--cache", &paths[2]];
    let refused = |ran: Ran| {
        ran.exits(3)
            .tells("part.pgp: no room for the bundle, which may take 1");
        assert_eq!(entries(&bench.at("cache")).len(), 0, "it has begun");
        assert!(!bench.at("part.pgp").exists());
    };
    // Files of at most 2 MiB (of 512 or 1024 bytes a block), as a full disk or a quota answers.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_partgate-train"))
        .args(whole)
        .output();
    refused(limited.expect("a shell").into());
    assert!(!bench.at("part.pgp.part").exists());
    #[cfg(target_os = "linux")]
    if let Some(disk) = SmallDisk::new(bench.at("disk"), 4 << 10) {
        let bundle = text(&disk.0.join("part.pgp"));
        let arguments = ["fit", &paths[0], "-o", &bundle, "--cache", &paths[2]];
        refused(train(&arguments));
        let left = std::fs::read_dir(&disk.0).expect("list");
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn a_fit_that_the_memory_does_not_suffice_for_is_3_before_any_work() {
    let bench = Bench::new();
    std::fs::create_dir(bench.at("parts")).expect("folder");
    for i in 0..3000 {
        let path = bench.at("parts").join(format!("{i:04}.png"));
        // Equal pictures count once.
        let picture = image::GrayImage::from_fn(32, 32, |x, y| {
            image::Luma([match (x, y) {
                (0, 0) => (i >> 8) as u8,
                (1, 0) => i as u8,
                _ => ((i + 1) * (1 + x + 32 * y) % 251) as u8,
            }])
        });
        picture.save(path).expect("write");
    }
    let paths = ["parts", "part.pgp", "cache"].map(|name| text(&bench.at(name)));
    let more = ["--cache", &paths[2], "--size", "4096"];
    let ran = train(&[&["fit", &paths[0], "-o", &paths[1]], &more[..]].concat())
        .exits(3)
        .tells("of memory are needed for a fit on 3000 images at 4096 px")
        .tells("fewer images, a smaller --size");
    // Features alone: images x cells x dimensions x 4 bytes.
    let needed = ran.stderr.split("error: ").nth(1).expect("an error");
    let mib: u64 = needed
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("MiB");
    let features = 3000 * 512 * 512 * 152 * 4 / (1 << 20);
    assert!(mib > features && mib < 2 * features, "{mib} MiB");
    assert!(!bench.at("cache").exists());
    assert!(!bench.at("part.pgp.part").exists());
}

/// Each thread trains a network of its own: 256 of 41 million weights, ten times over, are 400 GiB.
#[test]
fn the_published_network_is_refused_where_it_does_not_fit() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 3);
    let paths = ["parts", "part.pgp", "cache"].map(|name| text(&bench.at(name)));
    let network = ["--network", "paper", "--method", "coverage"];
    let more = ["--cache", &paths[2], "--size", "128", "--threads", "256"];
    train(&[&["fit", &paths[0], "-o", &paths[1]], &network[..], &more].concat())
        .exits(3)
        .tells("a fit on 3 images at 128 px with --network paper")
        .tells("--network-width");
    assert!(!bench.at("cache").exists());
    assert!(!bench.at("part.pgp").exists());
}

#[test]
fn the_limit_drops_what_was_not_used_for_longest() {
    let bench = Bench::new();
    for (folder, first) in [("old", 0), ("young", 100), ("new", 200)] {
        goods(&bench.at(folder), 1, first, 3);
    }
    let age = |hours: u64, only: &dyn Fn(&PathBuf) -> bool| {
        let then = SystemTime::now() - Duration::from_secs(3600 * hours);
        for entry in entries(&bench.at("cache")).into_iter().filter(|e| only(e)) {
            let file = std::fs::File::options().write(true).open(entry);
            file.and_then(|f| f.set_modified(then))
                .expect("set the time");
        }
    };
    cached_fit(&bench, "old", &[]);
    let old = entries(&bench.at("cache"));
    cached_fit(&bench, "young", &[]);
    age(2, &|_| true);
    age(1, &|entry| !old.contains(entry));
    // 1 MiB holds 6 entries of 152 KiB and not 9.
    assert_eq!(cached_fit(&bench, "new", &["--cache-limit", "1"]).1, 0);
    let left = entries(&bench.at("cache"));
    assert_eq!(left.len(), 6);
    assert!(old.iter().all(|entry| !left.contains(entry)));
    assert_eq!(cached_fit(&bench, "young", &[]).1, 3);
    assert_eq!(cached_fit(&bench, "new", &[]).1, 3);
    assert_eq!(cached_fit(&bench, "old", &[]).1, 0);
    // What was read became young: the new ones go before the young ones.
    age(3, &|_| true);
    cached_fit(&bench, "young", &[]);
    goods(&bench.at("newest"), 1, 300, 3);
    cached_fit(&bench, "newest", &["--cache-limit", "1"]);
    assert_eq!(cached_fit(&bench, "young", &[]).1, 3);
    train(&["fit", "parts", "-o", "part.pgp", "--cache-limit", "0"]).exits(2);
}

#[test]
fn fits_share_a_cache_at_the_same_time() {
    let bench = Bench::new();
    goods(&bench.at("parts"), 1, 0, 10);
    let cache = text(&bench.at("cache"));
    let parts = text(&bench.at("parts"));
    let bundles = ["1/part.pgp", "2/part.pgp", "3/part.pgp"].map(|name| bench.at(name));
    for bundle in &bundles {
        std::fs::create_dir(bundle.parent().expect("a folder")).expect("folder");
    }
    let running: Vec<_> = bundles
        .iter()
        .map(|bundle| {
            let bundle = text(bundle);
            let arguments = ["fit", &parts, "-o", &bundle, "--cache", &cache];
            program(&[&arguments[..], &QUICK].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program starts")
        })
        .collect();
    for program in running {
        let ran = Ran::from(program.wait_with_output().expect("output")).exits(0);
        assert_eq!(ran.stderr, "");
    }
    let plain = plain_fit(&bench, "parts", &[]);
    for bundle in &bundles {
        assert!(std::fs::read(bundle).expect("bundle") == plain);
    }
    let files = std::fs::read_dir(bench.at("cache")).expect("list").count();
    assert_eq!((entries(&bench.at("cache")).len(), files), (10, 10));
    assert_eq!(cached_fit(&bench, "parts", &[]).1, 10);
}

#[test]
fn a_benchmark_takes_a_cache_and_its_records_do_not_depend_on_it() {
    let bench = Bench::new();
    data_set(&bench.at("set"), 1, 6, &[Defect::Stain]);
    let paths = ["set", "out", "cache"].map(|name| text(&bench.at(name)));
    let run = |more: &[&str]| {
        let whole = [
            &["benchmark", &paths[0], "--out", &paths[1]],
            &QUICK[..],
            more,
        ]
        .concat();
        train(&whole).exits(0)
    };
    let record = || std::fs::read(bench.at("out/set.json")).expect("record");
    run(&[]);
    let first = record();
    // Taken as it was, with its fitting time: nothing was fitted.
    run(&["--cache", &paths[2]]);
    assert!(record() == first);
    assert!(!bench.at("cache").exists());
    run(&["--cache", &paths[2], "--fresh"]);
    assert_eq!(entries(&bench.at("cache")).len(), 6);
}
