//! The report for support, in one text file.

use super::finding::Findings;
use super::machine::read;
use super::{camera, lines};
use std::fmt::Write;
use std::path::Path;

/// The text of the report.
pub(super) fn text(root: &Path, config: Option<&Path>, findings: &Findings) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        let _ = writeln!(text, "== {title}");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
    };
    let system = rustix::system::uname();
    let words = [
        system.sysname(),
        system.release(),
        system.version(),
        system.machine(),
    ];
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    section(
        "partgate doctor",
        vec![
            format!("partgate {}, features: {}", partgate::VERSION, features()),
            format!("seconds since 1970: {seconds}"),
            words
                .map(|word| word.to_string_lossy().into_owned())
                .join(" "),
            read(root.join("proc/device-tree/model")).unwrap_or_default(),
        ],
    );
    let checks = findings.iter().map(|finding| {
        let mut line = format!(
            "{:<12} {}: {}",
            finding.state.name(),
            finding.check,
            finding.found
        );
        if let Some(fix) = &finding.fix {
            let _ = write!(line, "\n{:<12} fix: {fix}", "");
        }
        line
    });
    section("checks", checks.collect());
    if let Some(path) = config {
        let known = std::fs::read_to_string(path);
        let known = known.unwrap_or_else(|error| error.to_string());
        section(
            &format!("configuration {}", path.display()),
            known.lines().map(str::to_string).collect(),
        );
    }
    section("gpio", lines::listing());
    section("video", camera::video_devices(root));
    for file in [
        "etc/os-release",
        "proc/cmdline",
        "proc/cpuinfo",
        "proc/meminfo",
        "proc/self/limits",
        "proc/self/status",
    ] {
        let lines = read(root.join(file)).unwrap_or_default();
        // A board has at most a dozen processors; a server's long list would hide the rest.
        let lines = lines.lines().take(200).map(str::to_string).collect();
        section(file, lines);
    }
    text
}

/// The features of this build that decide what it can use.
fn features() -> String {
    let all = [
        (cfg!(feature = "v4l2"), "v4l2"),
        (cfg!(feature = "cuda"), "cuda"),
    ];
    let built = all.iter().filter(|(built, _)| *built);
    let names: Vec<&str> = built.map(|(_, name)| *name).collect();
    match &names[..] {
        [] => "none (built without cameras)".into(),
        names => names.join(", "),
    }
}
