//! Wired to reject, a part passes where REJECT is off. While no process can switch it on, parts
//! pass: this states from when until when. The same holds where a busy machine delays the processes,
//! which the line reports.

use super::*;

/// Longest time from a stop or kill until REJECT is on, if the other process runs.
const BOUND: u64 = belt::LEASE_MS as u64 * MS + SOON;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SupervisorStopped,
    VisionStopped,
    BothStopped,
    SupervisorKilled,
    VisionKilled,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::SupervisorStopped,
        Self::VisionStopped,
        Self::BothStopped,
        Self::VisionKilled,
        Self::SupervisorKilled,
    ];
}

/// A stop or a kill. At `to` the processes run again; it is the same as `from` if they were killed.
#[derive(Clone, Copy, Debug)]
struct Incident {
    kind: Kind,
    from: u64,
    to: u64,
}

impl Incident {
    /// The time until which parts may pass because of it: REJECT is on with READY off. A short stop
    /// may stay unnoticed. With READY off already, REJECT is on.
    fn over(&self, changes: &[Change]) -> u64 {
        let off = match level_at(changes, "ready", self.from) {
            true => change_after(changes, "ready", false, self.from).unwrap_or(u64::MAX),
            false => self.from,
        };
        match self.kind {
            Kind::BothStopped => self.to + SOON,
            Kind::SupervisorStopped | Kind::VisionStopped => off.min(self.to + SOON),
            Kind::SupervisorKilled | Kind::VisionKilled => off,
        }
    }
}

#[test]
fn parts_pass_only_in_the_stated_time_after_a_stop_or_kill() {
    let scratch = tempfile::tempdir().expect("folder");
    let (product, mut truth, belt) = measured(scratch.path(), product());
    let plant = Plant::new(&belt.wired(&product, "reject"));
    let mut running = plant.start();
    let first_ready = running.await_ready();
    let mut incidents: Vec<Incident> = Vec::new();
    let parts = disturbed(&plant, belt, 5, |round, rng| {
        let time = share(2000 * MS, rng.between(0.025, 1.0));
        let kind = Kind::ALL[round % Kind::ALL.len()];
        let (supervisor, vision) = (running.supervisor(), running.await_vision(None));
        let from = clock::now().0;
        let to = match kind {
            Kind::SupervisorStopped => Stop::of(Who::Supervisor, &[supervisor], time).to,
            Kind::VisionStopped => Stop::of(Who::Vision, &[vision], time).to,
            Kind::BothStopped => Stop::of(Who::Both, &[supervisor, vision], time).to,
            Kind::VisionKilled => {
                kill_process(vision, Signal::KILL).expect("kill");
                from
            }
            Kind::SupervisorKilled => {
                kill_supervisor(&mut running);
                running = plant.start();
                from
            }
        };
        incidents.push(Incident { kind, from, to });
        to
    });
    running.stop();
    let changes = plant.changes();
    let log = plant.log();
    // A machine that is busy delays the processes as a stop does. They report that themselves, and READY
    // goes off.
    let delayed: Vec<u64> = log
        .iter()
        .filter(|e| {
            e["event"] == "was_late" || (e["event"] == "fault" && e["subject"] == "late_output")
        })
        .filter_map(|e| e["at_ns"].as_u64())
        .collect();

    let at_ejector = |part: &u64| part + belt.after + PULSE / 2;
    let (mut bad, mut rejected_good, mut good) = (0, 0, 0);
    let mut passed: Vec<(Incident, u64)> = Vec::new();
    let (mut escaped, mut during_a_delay) = (Vec::new(), 0);
    for part in parts.iter().filter(|part| at_ejector(part) > first_ready) {
        let at = at_ejector(part);
        let rejected = level_at(&changes, "reject", at);
        if truth.of(*part).verdict == PartVerdict::Ok {
            good += 1;
            rejected_good += usize::from(rejected);
            continue;
        }
        bad += 1;
        if rejected {
            continue;
        }
        // A pulse that was due while nobody ran can also come late, after the part's middle.
        let of = |i: &&Incident| i.from <= at && at <= i.over(&changes) + PULSE / 2;
        match incidents.iter().rev().find(of) {
            Some(incident) => passed.push((*incident, at)),
            None if delayed.iter().any(|d| d.abs_diff(at) < SOON) => during_a_delay += 1,
            None => escaped.push(at),
        }
    }
    println!(
        "wired to reject: {} stops and kills; {} parts; {bad} must not pass: {} of them passed in the \
         stated time, {during_a_delay} within {} ms of a delay by the busy machine that the line reported, {} at another; {good} may, {rejected_good} of them were rejected",
        incidents.len(),
        parts.len(),
        passed.len(),
        SOON / MS,
        escaped.len(),
    );
    for kind in Kind::ALL {
        let of = incidents.iter().filter(|i| i.kind == kind);
        let open: Vec<f64> = of.map(|i| milliseconds(i.from, i.over(&changes))).collect();
        let late = passed.iter().filter(|(i, _)| i.kind == kind);
        let late: Vec<f64> = late.map(|(i, at)| milliseconds(i.from, *at)).collect();
        println!(
            "{kind:?}: {} times, REJECT on after p50 {:.1}, max {:.1} ms; {} passed, the last {:.1} ms after it",
            open.len(),
            percentile(&open, 50.0),
            percentile(&open, 100.0),
            late.len(),
            late.iter().copied().fold(0.0, f64::max),
        );
    }
    assert!(
        escaped.is_empty(),
        "passed at {escaped:?} of {incidents:#?}"
    );
    assert!(bad * 10 > parts.len(), "too few must not pass");
    assert!(rejected_good < good, "everything is rejected");
    for incident in &incidents {
        let bound = match incident.kind {
            Kind::BothStopped => incident.to - incident.from + SOON,
            _ => BOUND,
        };
        let open = incident.over(&changes) - incident.from;
        assert!(open <= bound, "{incident:?}: {open} ns");
        let level = level_at(&changes, "reject", incident.over(&changes) + MS);
        let killed = incident.to == incident.from;
        let noticed = killed || incident.to - incident.from >= NOTICED;
        let was_ready = level_at(&changes, "ready", incident.from);
        assert!(
            level || !noticed || !was_ready,
            "REJECT is on: {incident:?}"
        );
    }
}
