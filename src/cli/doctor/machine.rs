//! Checks of the machine itself: clock, scheduling, memory, processor, service.

use super::finding::{Finding, Findings};
use partgate::station;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_getres};
use std::path::Path;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
};

/// Runs all checks of the machine. `root` is `/`, or a folder that replaces it in tests.
pub(super) fn check(root: &Path, board: Option<&partgate::config::Board>, findings: &mut Findings) {
    findings.push(machine(root, board));
    findings.push(clock(clock_resolution_ns()));
    findings.push(clock_source(root));
    findings.push(real_time());
    findings.push(memory_lock());
    findings.push(governor(root));
    findings.push(unit(root));
}

/// The file's text without white space around it; None if it cannot be read.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_matches(['\0', ' ', '\n', '\t']).to_string())
}

fn machine(root: &Path, board: Option<&partgate::config::Board>) -> Finding {
    let check = "board";
    let Some(compatible) = read(root.join("proc/device-tree/compatible")) else {
        return match board {
            Some(board) if !board.compatible.is_empty() => Finding::warning(
                check,
                format!("no device tree, so this is not a {}", board.title),
                "set `board` to the profile of this machine",
            ),
            _ => Finding::not_checked(check, "no device tree that would name the board"),
        };
    };
    let here: Vec<&str> = compatible.split('\0').collect();
    let model = read(root.join("proc/device-tree/model")).unwrap_or_else(|| here.join(", "));
    match board {
        None => Finding::ok(check, model),
        Some(board) if board.compatible.iter().any(|c| here.contains(&&**c)) => {
            Finding::ok(check, format!("{model}, as configured"))
        }
        Some(board) => Finding::warning(
            check,
            format!("{model}; the configuration names {}", board.title),
            "set `board` to this machine's profile: the pins of another board are other pins of the chip",
        ),
    }
}

fn clock_resolution_ns() -> u64 {
    let resolution = clock_getres(ClockId::Monotonic);
    let seconds = u64::try_from(resolution.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000) + u64::try_from(resolution.tv_nsec).unwrap_or(0)
}

fn clock(resolution_ns: u64) -> Finding {
    let check = "clock resolution";
    let found = format!("CLOCK_MONOTONIC counts in steps of {resolution_ns} ns");
    if resolution_ns <= 1_000 {
        Finding::ok(check, found)
    } else {
        Finding::failed(
            check,
            found,
            "a kernel with CONFIG_HIGH_RES_TIMERS: pulses are timed to the microsecond",
        )
    }
}

fn clock_source(root: &Path) -> Finding {
    let check = "clock source";
    let folder = root.join("sys/devices/system/clocksource/clocksource0");
    let Some(source) = read(folder.join("current_clocksource")) else {
        return Finding::not_checked(check, format!("{} cannot be read", folder.display()));
    };
    // Each read of these costs a bus access of a microsecond or more, or they only count ticks.
    if ["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"].contains(&&*source) {
        let others = read(folder.join("available_clocksource")).unwrap_or_default();
        Finding::warning(
            check,
            format!("{source}, which is slow or coarse; available: {others}"),
            "find out why the kernel does not trust the processor's counter (`dmesg | grep -i clocksource`)",
        )
    } else {
        Finding::ok(check, source)
    }
}

/// Whether a thread of this process can really get a real-time priority. It is tried on a short
/// thread.
fn real_time() -> Finding {
    let check = "real-time priority";
    let limit = getrlimit(Resource::Rtprio).current;
    let limit = limit.map_or_else(|| "no limit".into(), |limit| format!("limit {limit}"));
    let tried = std::thread::Builder::new()
        .name("priority-trial".into())
        .spawn(|| {
            let priority = ThreadPriorityValue::try_from(station::HIGHEST_PRIORITY)
                .map_err(|e| e.to_string())?;
            thread_priority::set_thread_priority_and_policy(
                thread_priority::thread_native_id(),
                ThreadPriority::Crossplatform(priority),
                ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
            )
            .map_err(|_| "not permitted".to_string())
        })
        .map(std::thread::JoinHandle::join);
    match tried {
        Ok(Ok(Ok(()))) => Finding::ok(check, format!("SCHED_FIFO is permitted ({limit})")),
        Ok(Ok(Err(why))) => Finding::warning(
            check,
            format!("SCHED_FIFO is refused ({limit}; {why}): the gate runs at ordinary priority"),
            "LimitRTPRIO=50 in the service (the packaged unit has it), or `@partgate - rtprio 50` in /etc/security/limits.d",
        ),
        _ => Finding::not_checked(check, "no thread could be started to try"),
    }
}

fn memory_lock() -> Finding {
    let check = "memory lock";
    match getrlimit(Resource::Memlock).current {
        // Under a limit the line's program does not lock its memory, because a later allocation
        // would fail.
        None => Finding::ok(check, "no limit"),
        Some(limit) => Finding::warning(
            check,
            format!(
                "{} KiB at most: pages of the gate can be swapped out",
                limit >> 10
            ),
            "LimitMEMLOCK=infinity in the service (the packaged unit has it), or `@partgate - memlock unlimited` in /etc/security/limits.d",
        ),
    }
}

fn governor(root: &Path) -> Finding {
    let check = "processor speed";
    let cpus = root.join("sys/devices/system/cpu");
    let mut governors = std::collections::BTreeMap::<String, usize>::new();
    for entry in std::fs::read_dir(&cpus).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("cpu"));
        if number.is_some_and(|n| n.parse::<u32>().is_ok())
            && let Some(governor) = read(entry.path().join("cpufreq/scaling_governor"))
        {
            *governors.entry(governor).or_default() += 1;
        }
    }
    let counted: Vec<String> = governors
        .iter()
        .map(|(name, count)| format!("{name} on {count}"))
        .collect();
    if governors.is_empty() {
        Finding::not_checked(check, "the kernel reports no frequency governor")
    } else if governors.keys().eq(["performance"]) {
        Finding::ok(check, "governor performance on every processor")
    } else {
        Finding::warning(
            check,
            format!(
                "governor {}: a part after a pause is inspected at low speed",
                counted.join(", ")
            ),
            "`cpupower frequency-set -g performance`; on a Jetson `sudo nvpmodel -m 0 && sudo jetson_clocks`",
        )
    }
}

fn unit(root: &Path) -> Finding {
    let check = "service";
    if !root.join("run/systemd/system").is_dir() {
        return Finding::not_checked(check, "systemd does not run this machine");
    }
    let folders = [
        "etc/systemd/system",
        "lib/systemd/system",
        "usr/lib/systemd/system",
    ];
    let units = ["partgate.service", "partgate@.service"];
    let found = folders
        .iter()
        .flat_map(|folder| units.iter().map(move |unit| Path::new(folder).join(unit)))
        .find(|path| root.join(path).exists());
    let Some(unit) = found else {
        return Finding::warning(
            check,
            "no partgate.service: nobody starts the line after a power failure",
            "install the Debian package; by hand, board/udev/60-partgate.rules begins with the commands for user and groups, then copy board/systemd/partgate.service to /etc/systemd/system",
        );
    };
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    let enabled = std::fs::read_dir(wants)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("partgate"));
    let unit = Path::new("/").join(unit);
    if enabled {
        Finding::ok(
            check,
            format!("{}, started with the machine", unit.display()),
        )
    } else {
        Finding::warning(
            check,
            format!(
                "{} is there, but not started with the machine",
                unit.display()
            ),
            "`sudo systemctl enable --now partgate`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn file(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, text).expect("write");
    }

    #[test]
    fn governors_are_counted() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(governor(root.path()).state, State::NotChecked);
        for cpu in 0..4 {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
            file(root.path(), &path, "performance\n");
        }
        file(
            root.path(),
            "sys/devices/system/cpu/cpufreq/scaling_governor",
            "powersave\n",
        );
        assert_eq!(governor(root.path()).state, State::Ok);
        file(
            root.path(),
            "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
            "powersave\n",
        );
        let finding = governor(root.path());
        assert_eq!(finding.state, State::Warning);
        assert!(
            finding.found.contains("performance on 3, powersave on 1"),
            "{}",
            finding.found
        );
    }

    #[test]
    fn slow_clocks_are_told() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(clock_source(root.path()).state, State::NotChecked);
        let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        file(root.path(), path, "arch_sys_counter\n");
        assert_eq!(clock_source(root.path()).state, State::Ok);
        file(root.path(), path, "hpet\n");
        assert_eq!(clock_source(root.path()).state, State::Warning);
        assert_eq!(clock(1).state, State::Ok);
        assert_eq!(clock(4_000_000).state, State::Failed);
        assert_eq!(clock(clock_resolution_ns()).state, State::Ok);
    }

    #[test]
    fn another_board_than_configured_is_told() {
        let root = tempfile::tempdir().expect("folder");
        let board = |name| {
            partgate::config::Board::embedded(name)
                .expect("known")
                .expect("valid")
        };
        let (nano, pc) = (board("jetson-orin-nano"), board("generic-x86"));
        assert_eq!(machine(root.path(), Some(&nano)).state, State::Warning);
        assert_eq!(machine(root.path(), Some(&pc)).state, State::NotChecked);
        file(
            root.path(),
            "proc/device-tree/compatible",
            "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
        );
        assert_eq!(machine(root.path(), Some(&nano)).state, State::Ok);
        assert_eq!(machine(root.path(), Some(&pc)).state, State::Warning);
        assert_eq!(machine(root.path(), None).state, State::Ok);
    }

    #[test]
    fn a_service_is_looked_for_where_systemd_looks() {
        let root = tempfile::tempdir().expect("folder");
        assert_eq!(unit(root.path()).state, State::NotChecked);
        std::fs::create_dir_all(root.path().join("run/systemd/system")).expect("folder");
        assert!(unit(root.path()).found.contains("nobody starts the line"));
        file(
            root.path(),
            "lib/systemd/system/partgate.service",
            "[Unit]\n",
        );
        assert!(unit(root.path()).found.contains("not started"));
        file(
            root.path(),
            "etc/systemd/system/multi-user.target.wants/partgate.service",
            "",
        );
        assert_eq!(unit(root.path()).state, State::Ok);
    }
}
