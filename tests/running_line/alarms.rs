//! Alarms: raised, latched, acknowledged, and lost with nothing.

use super::*;

#[test]
fn an_alarm_stops_the_line_until_it_is_acknowledged() {
    let alarm = "consecutive_rejects = 3\nstop_line = true";
    let plant = small_line(Finds::Unknown, RENDERED, BY_EDGE, alarm);
    let running = plant.start();
    running.await_clear();
    for by_socket in [true, false] {
        let begin = clock::now().0;
        let (parts, _) = run_parts(&running, 3);
        let off = plant.await_change("ready", false, begin);
        assert!(level_at(&plant.changes(), "fault", clock::now().0));
        assert!(parts.iter().all(|&at| !passed(&plant, at)));
        // It stays off.
        clock::sleep(Duration::from_millis(300));
        assert!(!level_at(&plant.changes(), "ready", clock::now().0));
        assert_eq!(running.ask("status")["ready"], false);
        await_printed(&plant, "not ready; waits for a person who looks and says");
        if by_socket {
            tell(&plant, "acknowledge").exits(0);
        } else {
            assert!(plant.edge("acknowledge", clock::now().0));
        }
        plant.await_change("ready", true, off);
        plant.await_change("reject", false, off);
    }
    running.stop();
    let log = plant.log();
    let events = |name: &str| log.iter().filter(|e| e["event"] == name).count();
    assert_eq!(
        (events("alarm"), events("acknowledged")),
        (2, 2),
        "{log:#?}"
    );
}

#[test]
fn an_alarm_outlives_the_process_that_raised_it() {
    let alarm = "consecutive_rejects = 2\nstop_line = true";
    let plant = small_line(Finds::Unknown, RENDERED, BY_EDGE, alarm);
    let running = plant.start();
    running.await_clear();
    for _ in 0..2 {
        plant.trigger();
        clock::sleep(Duration::from_millis(300));
    }
    let raised = running.await_status("the alarm", |s| s["alarms"] == json!(["rejects"]));
    assert_eq!(raised["ready"], false);
    await_alarm_file(&plant, "An alarm stands: rejects.");
    let first = running.await_vision(None);
    kill_process(first, Signal::KILL).expect("it lives");
    running.await_vision(Some(first));
    let from = clock::now().0;
    await_answer(&plant);
    // Only the alarm is left, and READY stays off.
    let works = |s: &Value| s["faults"] == json!([]) && s["alarms"] == json!(["rejects"]);
    running.await_status("only the alarm stands", works);
    clock::sleep(Duration::from_millis(500));
    assert_eq!(running.ask("status")["ready"], false);
    assert!(!on_between(&plant.changes(), "ready", from, clock::now().0));
    tell(&plant, "acknowledge").exits(0);
    let ready = running.await_status("READY", |s| s["ready"] == true);
    assert_eq!(ready["alarms"], json!([]));
    running.stop();
    await_alarm_file(&plant, "No alarm stands.");
}

/// Waits until the alarm file begins with `words`.
fn await_alarm_file(plant: &Plant, words: &str) {
    let until = clock::now().after(Duration::from_millis(20_000));
    loop {
        let text = std::fs::read_to_string(plant.at("record/alarm")).unwrap_or_default();
        if text.starts_with(words) {
            return;
        }
        assert!(clock::until(until) > Duration::ZERO, "{text:?}");
        clock::sleep(Duration::from_millis(5));
    }
}

/// Waits until a new vision process answers.
fn await_answer(plant: &Plant) {
    let until = clock::now().after(line::PATIENCE.into());
    while ask(&plant.at("control.sock"), "status").is_err() {
        assert!(clock::until(until) > Duration::ZERO);
        clock::sleep(Duration::from_millis(5));
    }
}

/// Kills the vision process and waits for the next one to answer.
pub(super) fn kill_vision(running: &Running<'_>) {
    let first = running.await_vision(None);
    kill_process(first, Signal::KILL).expect("it lives");
    running.await_vision(Some(first));
    await_answer(running.plant);
}

#[test]
fn an_alarm_outlives_the_folder_with_its_file() {
    let alarm = "consecutive_rejects = 2\nstop_line = true";
    let plant = small_line(Finds::Unknown, RENDERED, BY_EDGE, alarm);
    let running = plant.start();
    running.await_clear();
    run_parts(&running, 2);
    running.await_status("the alarm", |s| s["alarms"] == json!(["rejects"]));
    await_alarm_file(&plant, "An alarm stands: rejects.");
    // The supervisor keeps it for the next vision process.
    let from = clock::now().0;
    std::fs::remove_dir_all(plant.at("record")).expect("removed");
    kill_vision(&running);
    let works = |s: &Value| s["faults"] == json!([]) && s["alarms"] == json!(["rejects"]);
    running.await_status("only the alarm stands", works);
    assert!(!on_between(&plant.changes(), "ready", from, clock::now().0));
    await_alarm_file(&plant, "An alarm stands: rejects.");
    // So does a line that restarts without anything in its folder: an unknown state is not the same
    // as no alarm.
    running.stop();
    std::fs::remove_dir_all(plant.at("record")).expect("removed");
    let from = clock::now().0;
    let running = plant.start();
    await_answer(&plant);
    let works = |s: &Value| s["faults"] == json!([]) && s["alarms"] == json!(["unknown"]);
    running.await_status("only the alarm stands", works);
    assert!(!on_between(&plant.changes(), "ready", from, clock::now().0));
    assert!(
        plant
            .printed()
            .contains("acknowledge` (once, if this is its first start)")
    );
    tell(&plant, "acknowledge").exits(0);
    let ready = running.await_status("READY", |s| s["ready"] == true);
    assert_eq!(ready["alarms"], json!([]));
    await_alarm_file(&plant, "No alarm stands.");
    running.stop();
}

/// A small disk in memory that is mounted on a folder; unmounted when dropped.
struct Disk(std::path::PathBuf);

impl Disk {
    /// None, and why on standard error, if this user may not mount.
    fn on(folder: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        let mounted = mount.arg(folder).output();
        if !mounted.as_ref().is_ok_and(|m| m.status.success()) {
            eprintln!(
                "SKIPPED: a disk cannot be mounted here ({mounted:?}); root can run this test"
            );
            return None;
        }
        Some(Self(folder.to_path_buf()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Files of it are open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A line with a record folder on a disk of its own, on which an alarm stands.
fn with_an_alarm_on_a_disk(options: &str, test: impl FnOnce(&Plant, Running<'_>, Disk)) {
    let alarm = "consecutive_rejects = 2\nstop_line = true";
    let plant = small_line(Finds::Unknown, RENDERED, BY_EDGE, alarm);
    // What is under the disk states that there is no alarm.
    let Some(disk) = Disk::on(&plant.at("record"), options) else {
        return;
    };
    std::fs::write(plant.at("record/alarm"), line::NO_ALARM_STANDS).expect("alarm file");
    let running = plant.start();
    running.await_clear();
    run_parts(&running, 2);
    running.await_status("the alarm", |s| s["alarms"] == json!(["rejects"]));
    await_alarm_file(&plant, "An alarm stands: rejects.");
    test(&plant, running, disk);
}

/// Restarts the vision process, and then the whole line: READY stays off, and the alarm stands.
fn stands_after_every_start(plant: &Plant, running: Running<'_>) {
    let from = clock::now().0;
    kill_vision(&running);
    let stands = |s: &Value| s["alarms"] == json!(["rejects"]) && s["ready"] == false;
    running.await_status("the alarm stands", stands);
    await_alarm_file(plant, "An alarm stands: rejects.");
    running.stop();
    let running = plant.start();
    await_answer(plant);
    running.await_status("the alarm stands", stands);
    clock::sleep(Duration::from_millis(300));
    assert!(!on_between(&plant.changes(), "ready", from, clock::now().0));
    tell(plant, "acknowledge").exits(0);
    running.await_status("READY", |s| s["ready"] == true);
    await_alarm_file(plant, "No alarm stands.");
    running.stop();
}

#[test]
fn an_alarm_outlives_the_unmounting_of_its_folder() {
    with_an_alarm_on_a_disk("size=32m", |plant, running, disk| {
        drop(disk);
        stands_after_every_start(plant, running);
    });
}

#[test]
fn an_alarm_outlives_a_disk_without_inodes_and_without_space() {
    for options in ["size=32m,nr_inodes=24", "size=1m"] {
        with_an_alarm_on_a_disk(options, |plant, running, _disk| {
            let more = |n: usize| {
                let bytes = vec![0; if options.contains("inodes") { 0 } else { 4096 }];
                std::fs::write(plant.at("record").join(format!("full-{n}")), bytes)
            };
            let refused = (0..1000).find(|n| more(*n).is_err());
            assert!(refused.is_some(), "the disk is full");
            stands_after_every_start(plant, running);
        });
    }
}

#[test]
fn a_crash_loop_raises_an_alarm_that_stops_the_line() {
    let alarm = "consecutive_rejects = 3\nstop_line = true\nrestarts_per_hour = 2";
    let plant = small_line(Finds::Unknown, RENDERED, BY_EDGE, alarm);
    let running = plant.start();
    running.await_clear();
    for restart in 1..=3 {
        // One part that must not pass, and then the crash that prevents the count of rejects from
        // rising.
        run_parts(&running, 1);
        kill_vision(&running);
        // A process that has just started has not counted yet.
        let works = |s: &Value| s["faults"] == json!([]) && s["restarts"] == restart;
        let status = running.await_status("it works again", works);
        let alarms = if restart < 3 {
            json!([])
        } else {
            json!(["restarts"])
        };
        assert_eq!(status["alarms"], alarms, "{status}");
        assert_eq!(status["ready"], restart < 3);
    }
    tell(&plant, "acknowledge").exits(0);
    running.await_status("READY", |s| s["ready"] == true);
    // The count starts again.
    kill_vision(&running);
    let status = running.await_status("READY", |s| s["ready"] == true);
    assert_eq!(status["alarms"], json!([]));
    running.stop();
    let log = plant.log();
    let restarted = log.iter().filter(|e| e["event"] == "restarted").count();
    assert_eq!(restarted, 4, "{log:#?}");
    let alarms = log.iter().filter(|e| e["event"] == "alarm");
    assert!(alarms.clone().all(|e| e["subject"] == "restarts"));
    assert_eq!(alarms.count(), 1);
}
