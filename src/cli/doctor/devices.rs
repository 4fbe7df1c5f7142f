//! Checks of devices: groups of this user, and the watchdog.

use super::finding::{Finding, Findings};
use super::machine::read;
use super::node::node;
use super::{camera, lines};
use partgate::config::{CameraSource, LineConfig};
use rustix::process::{getegid, geteuid, getgroups};
use std::path::Path;

/// Checks the devices of `config`. `root` is `/`, or a folder that replaces it in tests.
pub(super) fn check(root: &Path, config: &LineConfig, findings: &mut Findings) {
    if let CameraSource::V4l2(_) = config.camera.source {
        findings.push(group(root, "video"));
    }
    let through_text = config.plant.is_some();
    if !through_text && config.lines.wired().next().is_some() {
        findings.push(group(root, "gpio"));
    }
    camera::check(root, config, findings);
    lines::check(config, findings);
    findings.push(watchdog(root, config.supervisor.watchdog.as_deref()));
}

/// The number of group `name` in the system's list.
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
    // Opening the watchdog would start it, and a check must not reset the machine.
    if let Err(finding) = node(check, device, "partgate") {
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
            "another program resets it already; if it is systemd (RuntimeWatchdogSec=), leave it to systemd and unset supervisor.watchdog_device",
        )
    } else {
        Finding::ok(check, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn groups_are_read_as_the_system_writes_them() {
        let list = "root:x:0:\nvideo:x:44:anna,ben\ngpio:x:997:\n";
        assert_eq!(group_number(list, "gpio"), Some(997));
        assert_eq!(group_number(list, "video"), Some(44));
        assert_eq!(group_number(list, "vide"), None);
        assert_eq!(group_number("gpio", "gpio"), None);
    }

    #[test]
    fn a_watchdog_is_looked_at_without_starting_it() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(watchdog(root.path(), None).state, State::NotChecked);
        let gone = Path::new("/dev/watchdog-none");
        assert_eq!(watchdog(root.path(), Some(gone)).state, State::Failed);
        // A character device that always exists replaces the node. Everything else comes from the
        // class.
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
