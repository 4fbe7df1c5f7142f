//! Memory that this process may still take: that of the system, or less where a control group (a
//! container, a service with a limit) allows less.

use std::fs;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Control groups lie this deep at most; a path of more is not one.
const DEEPEST: usize = 64;

/// The files of one version of control groups.
struct Version {
    /// Where the groups are mounted, below the root.
    mount: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Key in `memory.stat` of bytes of cached files, which the system frees on demand.
    reclaimable: &'static str,
}

const UNIFIED: Version = Version {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: "inactive_file",
};

const FIRST: Version = Version {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

/// MiB that this process may still take; `None` where the system does not report it.
pub(super) fn available_mib() -> Option<u64> {
    available_bytes(Path::new("/")).map(|bytes| bytes / MIB)
}

fn available_bytes(root: &Path) -> Option<u64> {
    let system = system_bytes(root);
    let group = group_bytes(root);
    system.into_iter().chain(group).min()
}

/// `MemAvailable` of proc(5).
fn system_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The least that the control groups around this process leave (cgroups(7)); `None` without a
/// limit.
fn group_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let left = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match controllers {
            "" => UNIFIED,
            _ if controllers.split(',').any(|c| c == "memory") => FIRST,
            _ => return None,
        };
        version.left(root, path)
    });
    left.min()
}

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl Version {
    /// What the group `path` and those around it leave. In a container the path may name what only
    /// the host can see; the group that is mounted at the top is the container's own then.
    fn left(&self, root: &Path, path: &str) -> Option<u64> {
        let mount = root.join(self.mount);
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        let left = groups
            .take(DEEPEST)
            .filter_map(|group| self.left_in(&mount.join(group)));
        left.min()
    }

    fn left_in(&self, group: &Path) -> Option<u64> {
        // `max`, which is no number, means no limit.
        let limit = number(group.join(self.limit))?;
        let usage = number(group.join(self.usage))?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == self.reclaimable).then(|| value.trim().parse::<u64>().ok())?
        });
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable.unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("temporary folder");
        let usual = (
            "proc/meminfo",
            "MemTotal: 9000000 kB\nMemAvailable: 4096 kB\n",
        );
        for (name, text) in std::iter::once(&usual).chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("write");
        }
        root
    }

    fn available(files: &[(&str, &str)]) -> Option<u64> {
        available_bytes(system(files).path())
    }

    #[test]
    fn a_system_without_limits_gives_what_it_has() {
        assert_eq!(available(&[]), Some(4096 << 10));
        let unlimited = [
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.current", "77\n"),
        ];
        assert_eq!(available(&unlimited), Some(4096 << 10));
        assert!(available_mib().is_some_and(|mib| mib > 0));
    }

    #[test]
    fn the_tightest_group_around_the_process_counts() {
        let inner = [
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "2000000\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "500000\n"),
            (
                "sys/fs/cgroup/outer/inner/memory.stat",
                "anon 100\nfile 200000\ninactive_file 200000\n",
            ),
        ];
        // The system can free cached files.
        assert_eq!(available(&inner), Some(1_700_000));
        let outer = [
            ("sys/fs/cgroup/outer/memory.max", "900000\n"),
            ("sys/fs/cgroup/outer/memory.current", "600000\n"),
        ];
        assert_eq!(available(&[&inner[..], &outer].concat()), Some(300_000));
        // Over its limit: nothing, and not a huge number.
        let over = [
            ("sys/fs/cgroup/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.current", "5000\n"),
        ];
        assert_eq!(available(&[&inner[..], &over].concat()), Some(0));
    }

    #[test]
    fn the_first_version_and_containers_are_known() {
        let first = [
            (
                "proc/self/cgroup",
                "5:cpu:/x\n4:memory,hugetlb:/docker/7\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "400000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "total_inactive_file 50000\n",
            ),
        ];
        assert_eq!(available(&first), Some(650_000));
    }
}
