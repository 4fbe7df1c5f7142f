//! Device nodes: who may use them, cameras, GPIO lines, the watchdog.

use super::finding::{Finding, Findings};
use super::machine::read;
use gpiocdev::Request;
use gpiocdev::chip::{Chip, chips};
use gpiocdev::line::{Direction, Info, Value};
use partgate::config::{CameraSource, LineConfig, LineSpec, Lines, V4l2Camera};
use rustix::fs::{Access, access};
use rustix::process::{getegid, geteuid, getgroups};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Who this program says it is when it asks the kernel for lines.
const CONSUMER: &str = "partgate";

/// Looks at what `config` names; `root` is `/`, or a folder that stands for it.
pub(super) fn check(root: &Path, config: &LineConfig, findings: &mut Findings) {
    if let CameraSource::V4l2(_) = config.camera.source {
        findings.push(group(root, "video"));
    }
    if config.lines.wired().next().is_some() {
        findings.push(group(root, "gpio"));
    }
    camera(root, config, findings);
    gpio(config, findings);
    findings.push(watchdog(root, config.supervisor.watchdog.as_deref()));
}

/// A group's number, by the system's list.
fn group_number(list: &str, name: &str) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let known = fields.next()?;
        (known == name)
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

fn group(root: &Path, name: &str) -> Finding {
    let check = format!("group {name}");
    if geteuid().is_root() {
        return Finding::ok(check, "root needs no group");
    }
    let list = read(root.join("etc/group")).unwrap_or_default();
    let Some(number) = group_number(&list, name) else {
        return Finding::warning(
            check,
            format!("this machine has no group {name}"),
            format!(
                "`sudo groupadd --system {name}`, and the rules in board/udev, which give it the devices"
            ),
        );
    };
    let mine = getgroups().unwrap_or_default();
    if getegid().as_raw() == number || mine.iter().any(|gid| gid.as_raw() == number) {
        Finding::ok(check, "this user is in it")
    } else {
        Finding::warning(
            check,
            "this user is not in it",
            format!("`sudo usermod -aG {name} \"$USER\"`, then log in again"),
        )
    }
}

/// A character device that this user may read and write.
fn node(check: &str, path: &Path, group: &str) -> Result<(), Box<Finding>> {
    let shown = path.display();
    let failed = |found: String, fix: String| Err(Box::new(Finding::failed(check, found, fix)));
    match std::fs::metadata(path) {
        Err(error) => failed(
            format!("{shown}: {error}"),
            "is it plugged in, and its driver loaded? `dmesg | tail` after plugging in".into(),
        ),
        Ok(about) if !about.file_type().is_char_device() => failed(
            format!("{shown} is no device"),
            format!("what is it? `ls -l {shown}`"),
        ),
        Ok(_) => match access(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Ok(()),
            Err(error) => failed(
                format!("{shown} may not be used: {error}"),
                format!("is the user in group `{group}`? board/udev has the rules"),
            ),
        },
    }
}

fn camera(root: &Path, config: &LineConfig, findings: &mut Findings) {
    let check = "camera";
    match &config.camera.source {
        CameraSource::V4l2(camera) => v4l2(root, camera, findings),
        CameraSource::Folder { folder, .. } => {
            findings.push(match partgate::capture::folder::images_under(folder) {
                Ok(images) if !images.is_empty() => Finding::ok(
                    check,
                    format!("{}: {} image files", folder.display(), images.len()),
                ),
                Ok(_) => Finding::failed(
                    check,
                    format!("{}: no images in this folder", folder.display()),
                    "set camera.folder to a folder with image files",
                ),
                Err(error) => Finding::failed(
                    check,
                    error.to_string(),
                    "set camera.folder to a folder with image files",
                ),
            });
        }
        CameraSource::Rendered { .. } => {
            findings.push(Finding::ok(check, "rendered parts; no camera is used"));
        }
    }
}

/// Names of the video devices that the kernel has.
pub(super) fn video_devices(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root.join("sys/class/video4linux"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let name = read(entry.path().join("name")).unwrap_or_else(|| "no name".into());
            format!("/dev/{} ({name})", entry.file_name().to_string_lossy())
        })
        .collect();
    found.sort();
    found
}

fn v4l2(root: &Path, camera: &V4l2Camera, findings: &mut Findings) {
    let check = "camera";
    let others = video_devices(root);
    match node(check, &camera.device, "video") {
        Ok(()) => {
            // A stable link in /dev/v4l/by-id stands for its node.
            let node = std::fs::canonicalize(&camera.device);
            let node = node.unwrap_or_else(|_| camera.device.clone());
            let name = node.file_name().unwrap_or_default();
            let about = root.join("sys/class/video4linux").join(name);
            findings.push(match read(about.join("name")) {
                Some(name) => Finding::ok(check, format!("{}: {name}", camera.device.display())),
                None => Finding::failed(
                    check,
                    format!("{} is no video device", camera.device.display()),
                    known_devices(&others),
                ),
            });
        }
        Err(mut finding) => {
            if !camera.device.exists() {
                finding.fix = Some(known_devices(&others));
            }
            findings.push(*finding);
        }
    }
    findings.push(controls(camera));
    let why = if cfg!(feature = "v4l2") {
        "`partgate run` asks the camera at start and refuses what it does not offer"
    } else {
        "built without the feature v4l2"
    };
    findings.push(Finding::not_checked(
        "camera formats",
        format!("{} x {}: {why}", camera.width, camera.height),
    ));
}

fn known_devices(devices: &[String]) -> String {
    if devices.is_empty() {
        "the kernel knows no video device: is the camera plugged in, its driver loaded?".into()
    } else {
        format!(
            "set camera.device to one that is there: {}",
            devices.join(", ")
        )
    }
}

/// What the camera may change by itself changes the score.
fn controls(camera: &V4l2Camera) -> Finding {
    let check = "camera controls";
    let controls = &camera.controls;
    let mut free = Vec::new();
    for (key, set) in [
        ("exposure_us", controls.exposure.is_some()),
        ("gain", controls.gain.is_some()),
        ("focus", controls.focus.is_some()),
        ("white_balance_k", controls.white_balance_k.is_some()),
    ] {
        if !set {
            free.push(key);
        }
    }
    if free.is_empty() {
        Finding::ok(check, "exposure, gain, focus and white balance are fixed")
    } else {
        Finding::warning(
            check,
            format!("not fixed: {}", free.join(", ")),
            "set them in [camera.controls], unless the camera has none: what it changes by itself moves the scores",
        )
    }
}

/// A GPIO chip as the kernel describes it.
struct Known {
    path: PathBuf,
    name: String,
    label: String,
    lines: Vec<Info>,
}

/// Every chip that can be read, and what kept others from it.
fn known_chips() -> (Vec<Known>, Vec<String>) {
    let (mut known, mut refused) = (Vec::new(), Vec::new());
    for path in chips().unwrap_or_default() {
        let read = || -> gpiocdev::Result<Known> {
            let chip = Chip::from_path(&path)?;
            let about = chip.info()?;
            let lines = chip.line_info_iter()?.collect::<gpiocdev::Result<_>>()?;
            Ok(Known {
                path: path.clone(),
                name: about.name,
                label: about.label,
                lines,
            })
        };
        match read() {
            Ok(chip) => known.push(chip),
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    (known, refused)
}

/// Every chip and line, for the report.
pub(super) fn gpio_listing() -> Vec<String> {
    let (known, refused) = known_chips();
    let mut text = refused;
    for chip in known {
        text.push(format!(
            "{} [{}] {} lines",
            chip.name,
            chip.label,
            chip.lines.len()
        ));
        for line in &chip.lines {
            let used = if line.used { "used by" } else { "free" };
            text.push(format!(
                "  {:>3} {:<24} {:?} {used} {}",
                line.offset, line.name, line.direction, line.consumer
            ));
        }
    }
    text
}

/// The lines among `chips` that `spec` means.
fn matching<'a>(spec: &LineSpec, chips: &'a [Known]) -> Vec<(&'a Known, &'a Info)> {
    let on_chip = |chip: &&Known| match &spec.chip {
        None => true,
        Some(name) => *name == chip.name || *name == chip.label || Path::new(name) == chip.path,
    };
    let is_line = |line: &&Info| match (spec.offset, &spec.name) {
        (Some(offset), _) => line.offset == offset,
        (None, Some(name)) => line.name == *name,
        (None, None) => false,
    };
    chips
        .iter()
        .filter(on_chip)
        .flat_map(|chip| {
            chip.lines
                .iter()
                .filter(is_line)
                .map(move |line| (chip, line))
        })
        .collect()
}

fn gpio(config: &LineConfig, findings: &mut Findings) {
    let wired: Vec<_> = config.lines.wired().collect();
    if wired.is_empty() {
        findings.push(Finding::not_checked("gpio", "no line is wired"));
        return;
    }
    let (known, refused) = known_chips();
    if known.is_empty() {
        let (found, fix) = if refused.is_empty() {
            (
                "the kernel has no GPIO chip".to_string(),
                "is the adapter plugged in, its driver loaded? a PC has no GPIO of its own",
            )
        } else {
            (
                refused.join("; "),
                "is the user in group `gpio`? board/udev has the rule",
            )
        };
        findings.push(Finding::failed("gpio", found, fix));
        return;
    }
    for (name, spec) in wired {
        findings.push(line(name, spec, &known));
    }
}

fn line(name: &str, spec: &LineSpec, known: &[Known]) -> Finding {
    let check = format!("line {name}");
    let found = matching(spec, known);
    let (chip, info) = match &found[..] {
        [one] => *one,
        [] => {
            let chips: Vec<String> = known
                .iter()
                .map(|chip| format!("{} ({}, {} lines)", chip.name, chip.label, chip.lines.len()))
                .collect();
            return Finding::failed(
                check,
                format!(
                    "{} ({}) is on no chip; there are {}",
                    spec.text,
                    spec.wire(),
                    chips.join(", ")
                ),
                format!("is `board` right? `gpioinfo` lists lines; then set lines.{name}"),
            );
        }
        several => {
            let chips: Vec<&str> = several.iter().map(|(chip, _)| &*chip.name).collect();
            return Finding::failed(
                check,
                format!("{} is on several chips: {}", spec.text, chips.join(", ")),
                format!("name the chip: lines.{name} = \"LABEL:NAME\""),
            );
        }
    };
    let place = format!(
        "{} is {} line {} {:?}",
        spec.text, chip.name, info.offset, info.name
    );
    if info.used && info.consumer.starts_with(CONSUMER) {
        return Finding::ok(
            check,
            format!("{place}, held by {}: a line is running", info.consumer),
        );
    }
    if info.used {
        return Finding::failed(
            check,
            format!("{place}, used by {:?}", info.consumer),
            "a kernel driver or another program has it: wire to another pin, or free it (pin multiplexer, device tree)",
        );
    }
    if Lines::OUTPUTS.contains(&name) {
        return Finding::ok(check, format!("{place}, free, now {:?}", info.direction));
    }
    match level(&chip.path, info) {
        Ok(high) => {
            let on = if high != spec.active_low { "on" } else { "off" };
            let wire = if high { "high" } else { "low" };
            Finding::ok(
                check,
                format!("{place}, free, {wire} now, which means {on}"),
            )
        }
        Err(error) => Finding::failed(
            check,
            format!("{place} cannot be read: {error}"),
            "may this user write the chip's device? board/udev has the rule",
        ),
    }
}

/// Whether an input's wire is high. A line that drives is left alone and not read.
fn level(chip: &Path, info: &Info) -> Result<bool, gpiocdev::Error> {
    let mut request = Request::builder();
    request
        .on_chip(chip)
        .with_consumer("partgate doctor")
        .with_line(info.offset);
    match info.direction {
        Direction::Input => request.as_input(),
        Direction::Output => request.as_is(),
    };
    Ok(request.request()?.value(info.offset)? == Value::Active)
}

fn watchdog(root: &Path, device: Option<&Path>) -> Finding {
    let check = "watchdog";
    let Some(device) = device else {
        let class = root.join("sys/class/watchdog");
        let there = std::fs::read_dir(class).into_iter().flatten().count();
        return Finding::not_checked(
            check,
            format!("supervisor.watchdog_device is not set; the kernel has {there}"),
        );
    };
    // Opening it would start it: a machine that is only looked at must not reset.
    if let Err(finding) = node(check, device, "watchdog") {
        return *finding;
    }
    let name = device.file_name().and_then(|name| name.to_str());
    let name = match name {
        // The old node is the first watchdog.
        Some("watchdog") | None => "watchdog0",
        Some(name) => name,
    };
    let about = root.join("sys/class/watchdog").join(name);
    let field = |name: &str| read(about.join(name)).unwrap_or_else(|| "unknown".into());
    let found = format!(
        "{}: {}, time-out {} s, {}",
        device.display(),
        field("identity"),
        field("timeout"),
        field("state")
    );
    if field("state") == "active" {
        Finding::warning(
            check,
            found,
            "somebody feeds it already; if it is systemd (RuntimeWatchdogSec=), leave it to systemd and unset supervisor.watchdog_device",
        )
    } else {
        Finding::ok(check, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    const EXAMPLE: &str = partgate::config::EXAMPLE;

    fn spec(text: &str) -> LineSpec {
        let board = partgate::config::Board::embedded("generic-x86");
        let board = board.expect("known").expect("valid");
        board.line(text, true).expect("a line")
    }

    fn chip(name: &str, label: &str, lines: &[&str]) -> Known {
        let lines = (0..).zip(lines).map(|(offset, name)| Info {
            offset,
            name: (*name).to_string(),
            ..Info::default()
        });
        Known {
            path: Path::new("/dev").join(name),
            name: name.into(),
            label: label.into(),
            lines: lines.collect(),
        }
    }

    #[test]
    fn lines_are_found_by_every_form() {
        let known = [
            chip("gpiochip0", "main", &["A", "B", "C"]),
            chip("gpiochip1", "aon", &["C", "D"]),
        ];
        for (text, expected) in [
            ("gpiochip1:0", Some(("gpiochip1", 0))),
            ("aon:1", Some(("gpiochip1", 1))),
            ("main:C", Some(("gpiochip0", 2))),
            ("/dev/gpiochip0:1", Some(("gpiochip0", 1))),
            ("line D", Some(("gpiochip1", 1))),
            ("line E", None),
            ("gpiochip1:2", None),
        ] {
            let found = matching(&spec(text), &known);
            let found = found.first().map(|(chip, line)| (&*chip.name, line.offset));
            assert_eq!(found, expected, "{text}");
        }
        let finding = line("ready", &spec("line C"), &known);
        assert!(finding.found.contains("several chips"), "{}", finding.found);
        let finding = line("ready", &spec("line E"), &known);
        assert!(
            finding.found.contains("gpiochip1 (aon, 2 lines)"),
            "{}",
            finding.found
        );
    }

    #[test]
    fn lines_that_others_hold_fail_and_our_own_do_not() {
        let mut known = [chip("gpiochip0", "main", &["A"])];
        let ready = |known: &[Known]| line("ready", &spec("line A"), known);
        assert_eq!(ready(&known).state, State::Ok);
        known[0].lines[0].used = true;
        known[0].lines[0].consumer = "spi0 CS0".into();
        let finding = ready(&known);
        assert_eq!(finding.state, State::Failed);
        assert!(finding.found.contains("spi0 CS0"), "{}", finding.found);
        known[0].lines[0].consumer = "partgate".into();
        assert_eq!(ready(&known).state, State::Ok);
    }

    #[test]
    fn groups_are_read_as_the_system_writes_them() {
        let list = "root:x:0:\nvideo:x:44:anna,ben\ngpio:x:997:\n";
        assert_eq!(group_number(list, "gpio"), Some(997));
        assert_eq!(group_number(list, "video"), Some(44));
        assert_eq!(group_number(list, "vide"), None);
        assert_eq!(group_number("gpio", "gpio"), None);
    }

    #[test]
    fn a_camera_that_is_not_there_is_told_with_those_that_are() {
        let root = tempfile::tempdir().expect("folder");
        let about = root.path().join("sys/class/video4linux/video2");
        std::fs::create_dir_all(&about).expect("folder");
        std::fs::write(about.join("name"), "USB camera\n").expect("write");
        let text = EXAMPLE.replace("/dev/video0", "/dev/video-none");
        let config = LineConfig::parse(&text, Path::new("line.toml")).expect("valid");
        let mut findings = Findings::new();
        camera(root.path(), &config, &mut findings);
        assert_eq!(findings[0].state, State::Failed);
        let fix = findings[0].fix.as_deref().unwrap_or_default();
        assert!(fix.contains("/dev/video2 (USB camera)"), "{fix}");
        assert_eq!(findings[1].state, State::Ok, "{:?}", findings[1]);
    }

    #[test]
    fn what_the_camera_may_change_is_told() {
        let text = EXAMPLE.replace("focus = 30", "").replace("gain = 16", "");
        let config = LineConfig::parse(&text, Path::new("line.toml")).expect("valid");
        let CameraSource::V4l2(camera) = &config.camera.source else {
            panic!("another source");
        };
        let finding = controls(camera);
        assert_eq!(finding.found, "not fixed: gain, focus");
    }

    #[test]
    fn a_watchdog_is_looked_at_without_starting_it() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(watchdog(root.path(), None).state, State::NotChecked);
        let gone = Path::new("/dev/watchdog-none");
        assert_eq!(watchdog(root.path(), Some(gone)).state, State::Failed);
        // A character device that is always there stands for the node; the class tells the rest.
        let about = root.path().join("sys/class/watchdog/null");
        std::fs::create_dir_all(&about).expect("folder");
        std::fs::write(about.join("identity"), "tegra\n").expect("write");
        std::fs::write(about.join("state"), "inactive\n").expect("write");
        let finding = watchdog(root.path(), Some(Path::new("/dev/null")));
        assert_eq!(finding.state, State::Ok);
        assert!(finding.found.contains("tegra"), "{}", finding.found);
        std::fs::write(about.join("state"), "active\n").expect("write");
        let finding = watchdog(root.path(), Some(Path::new("/dev/null")));
        assert_eq!(finding.state, State::Warning);
    }
}
