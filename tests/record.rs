//! What happened is recorded: the log is whole or states where it is not, images stay within their
//! quota, and a full disk costs entries and images but stops nothing.

#![allow(clippy::expect_used, clippy::panic)]

use partgate::frame::{Frame, Pixels};
use partgate::frame::{PixelFormat, RawFrame};
use partgate::line::gate::{PartId, PartVerdict, Reason};
use partgate::record::*;
use partgate::time::{Duration, Instant};
use proptest::prelude::*;
use serde_json::json;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

fn log_in(folder: &Path) -> EventLog {
    EventLog::new(LogOptions {
        folder: folder.to_path_buf(),
        max_bytes: 1 << 20,
        keep: 4,
    })
}

fn write_parts(log: &mut EventLog, parts: std::ops::Range<u64>) {
    for part in parts {
        assert!(log.append(&json!({"part": part, "decision": "passed"}), Instant(part)));
    }
}

/// Parts in the log, and its faults.
fn read(folder: &Path) -> (Vec<u64>, Vec<LogFault>, LogCheck) {
    let (mut parts, mut faults, mut check) = (Vec::new(), Vec::new(), LogCheck::default());
    for line in LogReader::open(folder).expect("a log") {
        match line {
            Ok(line) => {
                check.count(&line.value);
                parts.extend(line.value["part"].as_u64());
            }
            Err(fault) => faults.push(fault),
        }
    }
    (parts, faults, check)
}

fn first_file(folder: &Path) -> PathBuf {
    folder.join("events-00000001.log")
}

#[test]
fn a_log_cut_at_any_byte_continues_and_reports_the_cut() {
    let whole = tempfile::tempdir().expect("folder");
    write_parts(&mut log_in(whole.path()), 1..6);
    let bytes = std::fs::read(first_file(whole.path())).expect("read");
    for cut in 0..bytes.len() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(first_file(folder.path()), &bytes[..cut]).expect("write");
        let mut log = log_in(folder.path());
        write_parts(&mut log, 100..102);
        let (parts, faults, check) = read(folder.path());
        assert!(faults.is_empty(), "cut at {cut}: {faults:?}");
        let ends = bytes[..cut].iter().filter(|&&b| b == b'\n').count() as u64;
        let before: Vec<u64> = (1..ends.max(1)).chain(100..102).collect();
        assert_eq!(parts, before, "cut at {cut}");
        let torn = cut > 0 && bytes[cut - 1] != b'\n';
        assert_eq!(check.torn, u64::from(torn), "cut at {cut}");
    }
}

#[test]
fn a_changed_byte_or_a_missing_entry_is_found_and_named() {
    let folder = tempfile::tempdir().expect("folder");
    write_parts(&mut log_in(folder.path()), 1..6);
    let path = first_file(folder.path());
    let bytes = std::fs::read(&path).expect("read");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).expect("write");
        let (_, faults, _) = read(folder.path());
        assert!(!faults.is_empty(), "byte {at} changed and not found");
        assert!(faults[0].to_string().contains("events-00000001.log: line "));
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&b| b == b'\n').collect();
    for gone in 0..lines.len() - 1 {
        let mut left = lines.clone();
        left.remove(gone);
        std::fs::write(&path, left.concat()).expect("write");
        let (_, faults, _) = read(folder.path());
        let named = faults
            .first()
            .expect("a missing line is not found")
            .to_string();
        assert!(named.contains(&format!("line {}", gone + 1)), "{named}");
    }
}

#[test]
fn files_are_rotated_kept_and_chained() {
    let folder = tempfile::tempdir().expect("folder");
    let mut log = EventLog::new(LogOptions {
        folder: folder.path().to_path_buf(),
        max_bytes: 0,
        keep: 3,
    });
    write_parts(&mut log, 1..2_000);
    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("list")
        .map(|e| e.expect("entry").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    for file in &files {
        assert!(file.metadata().expect("size").len() <= MAX_LINE as u64);
    }
    let (parts, faults, _) = read(folder.path());
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(parts.last(), Some(&1_999));
    assert!(parts.windows(2).all(|w| w[0] + 1 == w[1]));
    std::fs::remove_file(&files[1]).expect("remove");
    let (_, faults, _) = read(folder.path());
    assert!(
        matches!(faults[..], [LogFault::MissingFile { .. }]),
        "{faults:?}"
    );
}

#[test]
fn two_writers_do_not_tear_each_other() {
    let folder = tempfile::tempdir().expect("folder");
    let mut first = log_in(folder.path());
    write_parts(&mut first, 1..3);
    let mut second = log_in(folder.path());
    assert!(!second.append(&json!({"part": 9}), Instant(0)));
    assert_eq!(second.counts().lost, 1);
    drop(first);
    assert!(second.append(&json!({"part": 10}), Instant::from_millis(2_000)));
    let (parts, faults, check) = read(folder.path());
    assert!(faults.is_empty());
    assert_eq!((parts, check.lost), (vec![1, 2, 10], 1));
}

#[test]
fn a_folder_that_cannot_be_written_is_tried_again_and_the_gap_is_reported() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path().join("record");
    std::fs::write(&at, b"in the way").expect("write");
    let mut log = log_in(&at);
    for part in 0..5 {
        assert!(!log.append(&json!({"part": part}), Instant(part)));
    }
    std::fs::remove_file(&at).expect("remove");
    log.tick(Instant::from_millis(999));
    assert!(log.file().is_none(), "not hammered");
    log.tick(Instant::from_millis(1_100));
    write_parts(&mut log, 5..6);
    let (parts, faults, check) = read(&at);
    assert!(faults.is_empty());
    assert_eq!((parts, check.lost), (vec![5], 5));
}

/// A disk of `kib` KiB, or None if this user cannot mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(kib: u32) -> Option<Self> {
        let at = tempfile::tempdir().expect("folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(at.path())
            .output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(at)),
            _ => {
                eprintln!("NOT TESTED: a small disk cannot be mounted by this user");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_full_disk_costs_entries_that_are_counted_and_never_half_an_entry() {
    let Some(disk) = SmallDisk::new(64) else {
        return;
    };
    let folder = disk.0.path().join("record");
    let ballast = disk.0.path().join("ballast");
    let mut log = log_in(&folder);
    write_parts(&mut log, 1..10);
    // This leaves one or two pages.
    std::fs::write(&ballast, vec![1; 48 << 10]).expect("ballast");
    let mut now = Instant::from_millis(1_000);
    let mut written = 0;
    for part in 10..2_000 {
        now = now.after(Duration::from_millis(10));
        written += u64::from(log.append(&json!({"part": part, "decision": "passed"}), now));
    }
    let lost = log.counts().lost;
    assert!(lost > 100 && written > 10, "{lost} lost, {written} written");
    std::fs::remove_file(&ballast).expect("remove");
    log.tick(now.after(Duration::from_millis(2_000)));
    let (parts, faults, check) = read(&folder);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(check.lost, lost);
    assert_eq!(parts.len() as u64 + lost, 1_999);
}

fn frame(seed: u8) -> RawFrame {
    let mut frame = RawFrame::with_capacity(64 * 64);
    (frame.width, frame.height, frame.stride) = (64, 64, 64);
    let pixel = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed;
    frame.bytes.extend((0..64 * 64).map(pixel));
    frame
}

fn decode() -> Decode {
    Box::new(|raw| {
        assert_eq!(raw.format, PixelFormat::Grey8);
        Ok(Frame::new(
            raw.width,
            raw.height,
            Pixels::Gray8(raw.bytes.clone()),
        )?)
    })
}

fn part(number: u64, reason: Option<Reason>) -> PartEntry {
    let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number).into();
    let mut entry = PartEntry::rejected(PartId(number), Instant(number), wall, Reason::Ng);
    entry.reason = reason;
    entry
}

fn images_in(folder: &Path, quota_bytes: u64) -> ImageOptions {
    ImageOptions {
        folder: folder.to_path_buf(),
        quota_bytes,
        ok_sample_percent: 100.0,
        min_free_bytes: 0,
        seed: 1,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let (found, _) = partgate_files(folder);
    found
}

fn partgate_files(folder: &Path) -> (Vec<String>, u64) {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for day in std::fs::read_dir(folder).expect("days") {
        for file in std::fs::read_dir(day.expect("day").path()).expect("files") {
            let file = file.expect("file");
            bytes += file.metadata().expect("size").len();
            found.push(file.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    (found, bytes)
}

#[test]
fn images_stay_within_the_quota_and_rejects_outlive_samples() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path().join("images");
    let quota = 10 * 8_192;
    let mut images = Images::new(images_in(&at, quota), decode());
    for number in 0..4 {
        let kept = images.keep(&part(number, Some(Reason::Ng)), Some(&frame(0)), Instant(0));
        assert!(matches!(kept, Kept::As(_)), "{kept:?}");
    }
    for number in 4..40 {
        images.keep(&part(number, None), Some(&frame(0)), Instant(0));
    }
    assert!(images.stored().0 <= quota);
    let found = names(&at);
    let rejects = found.iter().filter(|n| n.contains("-ng.")).count();
    assert_eq!(rejects, 4, "{found:?}");
    assert!(found.iter().any(|n| n.contains("p000000039-ok")));
    assert!(!found.iter().any(|n| n.contains("p000000004-ok")));
    // The picture itself is kept.
    let (day, file) = ("2023-11-14", &found[0]);
    let picture = image::open(at.join(day).join(file)).expect("a picture");
    assert_eq!(picture.to_luma8().as_raw(), &frame(0).bytes);

    // The next run finds them, and its rejects remove the oldest.
    let mut next = Images::new(images_in(&at, quota), decode());
    next.tick();
    while !next.found_all() {
        next.tick();
    }
    assert_eq!(next.stored(), images.stored());
    for number in 40..60 {
        next.keep(
            &part(number, Some(Reason::Late)),
            Some(&frame(0)),
            Instant(0),
        );
    }
    let found = names(&at);
    assert!(found.iter().all(|n| n.contains("-late.")), "{found:?}");
    assert!(next.stored().0 <= quota);
}

#[test]
fn a_full_disk_or_a_folder_that_is_none_costs_images_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path().join("images");
    std::fs::write(&at, b"in the way").expect("write");
    let mut images = Images::new(images_in(&at, 1 << 30), decode());
    let kept = images.keep(&part(1, Some(Reason::Ng)), Some(&frame(0)), Instant(0));
    assert_eq!(kept, Kept::Dropped(Dropped::NotWritten));
    assert_eq!(images.news().map(|n| n.0), Some(1));
    let mut options = images_in(&folder.path().join("other"), 1 << 30);
    options.min_free_bytes = u64::MAX;
    let mut images = Images::new(options, decode());
    let kept = images.keep(&part(1, Some(Reason::Ng)), Some(&frame(0)), Instant(0));
    assert_eq!(kept, Kept::Dropped(Dropped::NoRoom));

    let Some(disk) = SmallDisk::new(64) else {
        return;
    };
    let at = disk.0.path().join("images");
    let mut images = Images::new(images_in(&at, 1 << 30), decode());
    for number in 0..40 {
        images.keep(&part(number, Some(Reason::Ng)), Some(&frame(0)), Instant(0));
    }
    let counts = images.counts();
    assert!(counts.dropped[Dropped::NotWritten as usize] + counts.removed > 0);
    assert!(!at.join("unfinished").exists());
    for day in std::fs::read_dir(&at).expect("days") {
        for file in std::fs::read_dir(day.expect("day").path()).expect("files") {
            image::open(file.expect("file").path()).expect("every kept image is whole");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_sample_is_the_same_for_the_same_seed(seed: u64, first: u32, percent in 0.0f64..100.0) {
        let mut options = images_in(Path::new("/nowhere"), 1);
        (options.seed, options.ok_sample_percent) = (seed, percent);
        let images = [(); 2].map(|()| Images::new(options.clone(), decode()));
        let mut kept = 0u32;
        for number in 0..4_000 {
            let entry = part(u64::from(first) + number, None);
            let wanted = images[0].wanted(&entry);
            prop_assert_eq!(wanted, images[1].wanted(&entry));
            kept += u32::from(wanted);
        }
        prop_assert!((f64::from(kept) / 40.0 - percent).abs() < 5.0);
    }
}

/// Sends `request` and returns status and body.
fn ask(server: &MetricsServer, request: &[u8]) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(server.address()).expect("connect");
    stream.write_all(request).expect("send");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text[9..12].parse().expect("a status");
    let body = text.split_once("\r\n\r\n").expect("a body").1;
    (status, body.to_string())
}

#[test]
fn the_page_is_prometheus_text_and_everything_else_is_refused() {
    let metrics = Arc::new(Metrics::new(&["camera"], &["drift"]));
    metrics.set_product(ProductLabel::new("li\"d\\\n", "0123456789abcdef0"));
    let mut entry = part(1, Some(Reason::Late));
    entry
        .latencies
        .set(Latency::TriggerToOutput, Duration::from_millis(3));
    metrics.part(&entry);
    metrics.part(&part(2, None));
    metrics.score(0.5, 1.0);
    metrics.score(f32::NAN, 1.0);
    metrics.fault("camera", true);
    let server =
        MetricsServer::start(([127, 0, 0, 1], 0).into(), Arc::clone(&metrics)).expect("listen");
    let (status, body) = ask(&server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 200);
    let mut declared = std::collections::BTreeMap::new();
    let mut values = std::collections::BTreeMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(declared.insert(name, kind).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().expect("a name");
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| declared.get_key_value(name.strip_suffix(end)?))
                .or_else(|| declared.get_key_value(name));
            assert!(family.is_some(), "{name} has no type");
            assert!(values.insert(series, value).is_none(), "{series} twice");
        }
    }
    let value = |series: &str| values.get(series).copied();
    assert_eq!(value("partgate_parts_total"), Some("2"));
    assert_eq!(
        value("partgate_parts_rejected_total{reason=\"late\"}"),
        Some("1")
    );
    assert_eq!(value("partgate_faults_total{kind=\"camera\"}"), Some("1"));
    let bucket =
        |le| format!("partgate_latency_seconds_bucket{{stage=\"trigger_to_output\",le=\"{le}\"}}");
    assert_eq!(value(&bucket("0.002")), Some("0"));
    assert_eq!(value(&bucket("0.005")), Some("1"));
    assert_eq!(value("partgate_score_ratio_bucket{le=\"2\"}"), Some("1"));
    assert_eq!(value("partgate_score_ratio_count"), Some("2"));
    assert!(body.contains(r#"name="li\"d\\\n",digest="0123456789abcdef""#));

    assert_eq!(ask(&server, b"GET /healthz HTTP/1.1\r\n\r\n").0, 503);
    metrics.set_ready(true);
    assert_eq!(ask(&server, b"GET /healthz HTTP/1.1\r\n\r\n").0, 200);
    assert_eq!(ask(&server, b"GET / HTTP/1.1\r\n\r\n").0, 404);
    assert_eq!(ask(&server, b"POST /metrics HTTP/1.1\r\n\r\n").0, 405);
    assert_eq!(ask(&server, b"hello\r\n\r\n").0, 400);
    assert_eq!(ask(&server, &[b'x'; 5_000]).0, 431);
    let mut slow = std::net::TcpStream::connect(server.address()).expect("connect");
    slow.write_all(b"GET /met").expect("send");
    assert_eq!(ask(&server, b"GET /healthz HTTP/1.1\r\n\r\n").0, 200);
    let mut text = String::new();
    slow.read_to_string(&mut text).expect("an answer");
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
}

#[test]
fn a_recorded_part_can_be_read_back() {
    let folder = tempfile::tempdir().expect("folder");
    let metrics = Arc::new(Metrics::new(&[], &["drift"]));
    let options = RecordOptions {
        log: LogOptions {
            folder: folder.path().to_path_buf(),
            max_bytes: 1 << 20,
            keep: 4,
        },
        images: images_in(&folder.path().join("images"), 1 << 20),
    };
    let settings = DriftSettings {
        window: 2,
        rise_percent: 20.0,
    };
    let drift = Drift::new(settings, 1.0);
    let drift = drift.expect("options");
    let mut recorder = Recorder::new(options, decode(), Some(drift), metrics);
    let start = EventEntry::new(EventKind::Start, "line", "", Instant(0));
    recorder.event(&start, Instant(0));
    let mut entry = part(7, Some(Reason::Late));
    entry.score = Some(f32::NAN);
    entry.wall = SystemTime::now();
    entry.verdict = Some(PartVerdict::Ok);
    recorder.part(&entry, Some(&frame(3)), Instant(1));
    for _ in 0..2 {
        entry.score = Some(2.0);
        recorder.part(&entry, None, Instant(2));
    }
    recorder.missing(3);
    recorder.tick(Instant::from_millis(600));
    let (parts, faults, check) = read(folder.path());
    assert!(faults.is_empty());
    assert_eq!((parts, check.lost, check.rejected), (vec![7, 7, 7], 3, 3));
    let lines: Vec<_> = LogReader::open(folder.path())
        .expect("log")
        .map(|l| l.expect("a line").value)
        .collect();
    assert_eq!(lines[2]["score"], json!(null));
    assert_eq!(lines[2]["reason"], "late");
    let image = lines[2]["image"].as_str().expect("an image");
    assert!(folder.path().join("images").join(image).exists());
    assert!(
        lines
            .iter()
            .any(|l| l["event"] == "alarm" && l["subject"] == "drift")
    );
}

/// Exit code, standard output and standard error of `partgate log`.
fn log_command(folder: &Path, flags: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_partgate"))
        .arg("log")
        .arg(folder)
        .args(flags)
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    (output.status.code(), stdout, stderr)
}

#[test]
fn the_log_command_prints_verifies_and_names_the_broken_entry() {
    let folder = tempfile::tempdir().expect("folder");
    let mut log = log_in(folder.path());
    write_parts(&mut log, 1..4);
    let rejected = json!({"part": 4, "decision": "rejected", "reason": "late"});
    assert!(log.append(&rejected, Instant(4)));
    drop(log);

    let (code, stdout, stderr) = log_command(folder.path(), &[]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(stdout.matches(" passed").count(), 3, "{stdout}");
    assert!(stdout.contains(" part 4 rejected (late)"), "{stdout}");

    let (code, stdout, _) = log_command(folder.path(), &["--verify"]);
    assert_eq!(code, Some(0));
    let totals = "4 parts, 3 passed, 1 rejected; 0 entries noted as lost, 0 as torn";
    assert!(
        stdout.starts_with("whole: ") && stdout.contains(totals),
        "{stdout}"
    );

    // One digit of one part: 3 becomes 7.
    let file = first_file(folder.path());
    let text = std::fs::read_to_string(&file).expect("read");
    let changed = text.replace("\"part\":3", "\"part\":7");
    assert_ne!(changed, text);
    std::fs::write(&file, changed).expect("write");
    let (code, stdout, stderr) = log_command(folder.path(), &[]);
    assert_eq!(code, Some(3));
    let line = 1 + text
        .lines()
        .position(|line| line.contains("\"part\":3"))
        .expect("its line");
    let place = format!("events-00000001.log: line {line}");
    assert!(stderr.contains(&place), "{stderr}");
    assert!(stdout.contains(" part 1 passed"), "{stdout}");

    let (code, stdout, _) = log_command(folder.path(), &["--verify", "--json"]);
    assert_eq!(code, Some(3));
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(report["whole"], false);
    let first = report["first_fault"].as_str().expect("text");
    assert!(first.contains(&place), "{first}");

    let empty = tempfile::tempdir().expect("folder");
    let (code, _, stderr) = log_command(empty.path(), &["--verify"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("no event log here"), "{stderr}");
}
