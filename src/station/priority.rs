//! Real-time priority and locked memory, if the system permits them.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getpriority_process, getrlimit};
use std::sync::atomic::{AtomicBool, Ordering};
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// Above everything that computes, below the kernel's own threads (50 if interrupts are threads).
/// The supervisor's thread has the highest one.
pub const LINES: u8 = 46;
pub(super) const GATE: u8 = 45;
pub(super) const TRIGGER: u8 = 44;
pub(super) const CAMERA: u8 = 43;

/// Puts the calling thread under SCHED_FIFO. If that is not permitted, it is logged once; the line
/// still runs, and its latencies show the cost.
pub(super) fn real_time(priority: u8) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let value = ThreadPriorityValue::try_from(priority);
    let set = value.map_err(|e| e.to_string()).and_then(|value| {
        let priority = ThreadPriority::Crossplatform(value);
        set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(|error| {
            match error {
                // Its own text gives the number alone.
                thread_priority::Error::OS(number) => {
                    std::io::Error::from_raw_os_error(number).to_string()
                }
                other => other.to_string(),
            }
        })
    });
    if let Err(error) = set
        && !TOLD.swap(true, Ordering::Relaxed)
    {
        log::warn!(
            "no real-time priority ({error}); does the unit set LimitRTPRIO? board/systemd has it"
        );
    }
}

/// Puts the calling thread, and the threads that it will start, back under the ordinary scheduler.
/// A child of the supervisor starts with the supervisor's priority; its inspector would then keep
/// everything else from running. To be called before the inspector's threads are made.
pub fn ordinary() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    let nice = getpriority_process(None).ok();
    match nice.and_then(|nice| of_niceness(nice, policy)) {
        Some(priority) => {
            let set = set_thread_priority_and_policy(thread_native_id(), priority, policy);
            if let Err(error) = set {
                log::debug!("ordinary priority: {error:?}");
            }
        }
        None => log::debug!("ordinary priority: this thread's niceness cannot be read"),
    }
}

/// Converts a niceness for `thread_priority`, which sets policy and niceness together and has its
/// own scale (0 is niceness 19, at which an inspector would run only on an idle machine).
fn of_niceness(nice: i32, policy: ThreadSchedulePolicy) -> Option<ThreadPriority> {
    let scale = (0..=u8::MAX).filter_map(|v| ThreadPriorityValue::try_from(v).ok());
    let mut priorities = scale.map(ThreadPriority::Crossplatform);
    priorities.find(|p| p.to_posix(policy).is_ok_and(|its| its == nice))
}

/// Locks the memory of this process, now and later, so that a sleeping gate wakes in time. Only
/// without a limit: under a limit a later allocation would fail.
pub fn hold_memory() {
    if getrlimit(Resource::Memlock).current.is_some() {
        log::debug!("memory may be paged out: LimitMEMLOCK is not infinity; board/systemd has it");
    } else if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        log::warn!("memory may be paged out: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::setpriority_process;
    use thread_priority::thread_schedule_policy;

    #[test]
    fn an_ordinary_thread_is_as_nice_as_before() {
        // On Linux a niceness belongs to a thread, and everybody can raise it.
        for raised in [0, 1, 4, 19] {
            let thread = std::thread::spawn(move || {
                let nice = getpriority_process(None).expect("niceness") + raised;
                let nice = nice.min(19);
                setpriority_process(None, nice).expect("raised");
                real_time(LINES);
                ordinary();
                assert_eq!(getpriority_process(None), Ok(nice));
                let policy = thread_schedule_policy().expect("policy");
                let other = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
                assert_eq!(policy, other);
            });
            thread.join().expect("checks");
        }
    }

    #[test]
    fn every_niceness_has_a_name() {
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
        for nice in -20..=19 {
            let named = of_niceness(nice, policy).expect("a name");
            assert_eq!(named.to_posix(policy), Ok(nice));
        }
    }
}
