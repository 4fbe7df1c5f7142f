//! Real-time priority, and memory that is not paged out, where the system permits it.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use std::sync::atomic::{AtomicBool, Ordering};
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// Above everything that computes, below the kernel's own threads (50 where interrupts are threads).
pub(super) const LINES: u8 = 46;
pub(super) const GATE: u8 = 45;
pub(super) const TRIGGER: u8 = 44;
pub(super) const CAMERA: u8 = 43;

/// Puts the calling thread under SCHED_FIFO. Said once where it is not permitted: the line runs on,
/// and its latencies show what that costs.
pub(super) fn real_time(priority: u8) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let value = ThreadPriorityValue::try_from(priority);
    let set = value.map_err(|e| e.to_string()).and_then(|value| {
        let priority = ThreadPriority::Crossplatform(value);
        set_thread_priority_and_policy(thread_native_id(), priority, policy)
            .map_err(|e| format!("{e:?}"))
    });
    if let Err(error) = set
        && !TOLD.swap(true, Ordering::Relaxed)
    {
        log::warn!(
            "no real-time priority ({error}); does the unit set LimitRTPRIO? board/systemd has it"
        );
    }
}

/// Puts the calling thread back under the ordinary scheduler, and those that it will start: a child
/// of the supervisor starts with the supervisor's priority, and its judge would keep everything
/// else from running. To be called before the judge's threads are made.
pub fn ordinary() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    if let Ok(value) = ThreadPriorityValue::try_from(0) {
        let priority = ThreadPriority::Crossplatform(value);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
            log::debug!("ordinary priority: {error:?}");
        }
    }
}

/// Keeps this process's memory from being paged out, now and later, so that a gate that slept wakes
/// in time. Only where there is no limit on it: under one, taking memory would fail later on.
pub fn hold_memory() {
    if getrlimit(Resource::Memlock).current.is_some() {
        log::debug!("memory may be paged out: LimitMEMLOCK is not infinity; board/systemd has it");
    } else if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        log::warn!("memory may be paged out: {error}");
    }
}
