//! How much memory this process holds (proc(5)).

fn status_bytes(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Most memory that the process ever held (`VmHWM`). None if the system does not report it.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Memory that the process holds now (`VmRSS`).
pub(crate) fn rss_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}
