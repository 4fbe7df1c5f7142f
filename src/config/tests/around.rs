//! Occupancy, level, encoder, confirmation, handshake, challenge, lateness.

use super::*;
use crate::line::devices::Input;
use crate::time::{Counts, Span};
use std::time::Duration;

const IN_COUNTS: [(&str, &str); 5] = [
    ("# encoder = ", "encoder = "),
    ("after_ms = 400 ", "after_counts = 800 #"),
    ("min_off_ms = 10 ", "min_off_counts = 20 #"),
    ("spin_up_ms", "# spin_up_ms"),
    ("# encoder_silence_ms", "encoder_silence_ms"),
];
const SOCKET: [(&str, &str); 3] = [
    ("kind = \"gpio\" ", "kind = \"socket\" "),
    ("debounce_us = 200 ", "# "),
    ("\ntrigger = ", "\n# trigger = "),
];
const CONFIRM: [(&str, &str); 4] = [
    ("# [confirm]", "[confirm]"),
    ("# kind = \"part\"", "kind = \"part\""),
    ("# tolerance_ms", "tolerance_ms"),
    ("# confirm = ", "confirm = "),
];

fn read(changes: &[&[(&str, &str)]]) -> LineConfig {
    parse(&changed(&changes.concat())).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_is_absent_means_what_the_table_says() {
    let plain = read(&[]);
    assert_eq!(plain.trigger.occupied_max(), None);
    assert_eq!(plain.trigger.level_every(), Some(Duration::from_millis(5)));
    assert_eq!(plain.gate.count_min, None);
    assert_eq!((plain.confirm, plain.challenge), (None, None));
    assert_eq!(plain.handshake.ack, Duration::from_millis(10));
    assert_eq!(plain.handshake.valid, Duration::from_millis(10));
    assert_eq!(plain.supervisor.late, Duration::from_millis(40));
    assert_eq!(plain.alarm.restarts_per_hour, 10);
    assert!(!plain.record.required);
    let CameraSource::V4l2(camera) = plain.camera.source else {
        panic!("another source");
    };
    assert_eq!(camera.warmup_frames, 3);
    assert_eq!(camera.controls_every, Duration::from_secs(1));
}

#[test]
fn what_is_given_is_taken_with_its_unit() {
    let line = read(&[
        &IN_COUNTS,
        &[
            ("# occupied_max_counts", "occupied_max_counts"),
            ("# level_ms = 5 ", "level_ms = 0 "),
            ("# count_min_us", "count_min_us"),
            ("# encoder_b", "encoder_b"),
            ("# trigger_ack", "trigger_ack"),
            ("# result_valid", "result_valid"),
            ("# [handshake]", "[handshake]"),
            ("# ack_ms = 10", "ack_ms = 2.5"),
            ("# valid_ms = 10", "valid_ms = 7"),
            ("# [challenge]", "[challenge]"),
            ("# every_hours", "every_hours"),
            ("# [confirm]", "[confirm]"),
            ("# kind = \"part\"", "kind = \"reject\""),
            ("# tolerance_counts", "tolerance_counts"),
            ("# confirm = ", "confirm = "),
        ],
    ]);
    assert_eq!(line.trigger.occupied_max(), Some(Span::Counts(Counts(120))));
    assert_eq!(line.trigger.level_every(), None);
    assert_eq!(line.gate.count_min, Some(Duration::from_micros(100)));
    assert_eq!(line.handshake.ack, Duration::from_micros(2500));
    assert_eq!(line.handshake.valid, Duration::from_millis(7));
    let hours = line.challenge.map(|challenge| challenge.every);
    assert_eq!(hours, Some(Duration::from_secs(8 * 3600)));
    let confirm = line.confirm.expect("given");
    assert_eq!(confirm.kind, ConfirmKind::Reject);
    assert_eq!(confirm.tolerance(), Span::Counts(Counts(40)));
    let wired = |input| line.lines.input(input).is_some();
    assert!(wired(Input::EncoderB) && wired(Input::Confirm));
    // Without an input there is no level to read.
    assert_eq!(
        read(&[&SOCKET, &[("level_ms", "# level_ms")]])
            .trigger
            .level_every(),
        None
    );
}

#[test]
fn parts_that_touch_are_found_before_they_pass_and_before_the_next() {
    let ms = |value| [("# occupied_max_ms = 60", value)];
    let key = "trigger.occupied_max_ms";
    refuses(
        &ms("occupied_max_ms = 100"),
        "occupied_max_ms",
        key,
        &["trigger.min_pitch_ms = 100 ms", "touch"],
    );
    let quick = [
        ("after_ms = 400", "after_ms = 95"),
        ("# occupied_max_ms = 60", "occupied_max_ms = 95"),
    ];
    refuses(
        &quick,
        "occupied_max_ms",
        key,
        &["gate.after_ms = 95 ms", "after they passed"],
    );
    refuses(
        &[("# occupied_max_counts", "occupied_max_counts")],
        "occupied_max_counts",
        "trigger.occupied_max_counts",
        &["gate.after_ms is in time"],
    );
    let counts = [("# occupied_max_ms", "occupied_max_ms")];
    refuses(
        &[&IN_COUNTS[..], &counts].concat(),
        "occupied_max_ms",
        key,
        &["give trigger.occupied_max_counts"],
    );
    let far = [("# occupied_max_counts = 120", "occupied_max_counts = 800")];
    refuses(
        &[&IN_COUNTS[..], &far].concat(),
        "occupied_max_counts",
        "trigger.occupied_max_counts",
        &["gate.after_counts = 800"],
    );
    refuses(
        &[
            ("# occupied_max_ms", "occupied_max_ms"),
            ("# occupied_max_counts", "occupied_max_counts"),
        ],
        "occupied_max_counts",
        "trigger.occupied_max_counts",
        &["given twice"],
    );
    let socket = ms("occupied_max_ms = 60");
    refuses(
        &[&SOCKET[..], &socket].concat(),
        "occupied_max_ms",
        key,
        &["\"gpio\""],
    );
}

#[test]
fn levels_are_read_more_often_than_parts_come() {
    let key = "trigger.level_ms";
    let useless = [&SOCKET[..], &[("# level_ms", "level_ms")]].concat();
    refuses(&useless, "level_ms", key, &["\"gpio\""]);
    for (value, why) in [("100", "min_pitch_ms = 100"), ("0.5", "0 (never)")] {
        let given = format!("level_ms = {value} ");
        refuses(&[("# level_ms = 5 ", &given)], "level_ms", key, &[why]);
    }
}

#[test]
fn keys_of_an_encoder_need_one() {
    for (commented, key) in [
        ("count_min_us", "gate.count_min_us"),
        ("encoder_b", "lines.encoder_b"),
    ] {
        let old = format!("# {commented}");
        refuses(&[(&old, commented)], commented, key, &["lines.encoder"]);
    }
    let slow = [("# count_min_us = 100", "count_min_us = 500000")];
    refuses(
        &[&IN_COUNTS[..], &slow].concat(),
        "count_min_us",
        "gate.count_min_us",
        &["gate.encoder_silence_ms = 500"],
    );
}

#[test]
fn a_confirmation_has_a_line_a_kind_and_a_tolerance_that_means_one_part() {
    assert!(read(&[&CONFIRM]).confirm.is_some());
    refuses(&CONFIRM[3..], "confirm = ", "lines.confirm", &["[confirm]"]);
    for (without, key) in [
        (1, "confirm.kind"),
        (2, "confirm.tolerance_ms"),
        (3, "lines.confirm"),
    ] {
        let mut changes = CONFIRM.to_vec();
        changes.remove(without);
        refuses(&changes, "[confirm]", key, &["missing"]);
    }
    let with = |tolerance| [&CONFIRM[..2], &CONFIRM[3..], &[tolerance]].concat();
    refuses(
        &with(("# tolerance_ms = 20", "tolerance_ms = 50")),
        "tolerance_ms",
        "confirm.tolerance_ms",
        &["half of trigger.min_pitch_ms = 100 ms"],
    );
    refuses(
        &with(("# tolerance_counts", "tolerance_counts")),
        "tolerance_counts",
        "confirm.tolerance_counts",
        &["give confirm.tolerance_ms"],
    );
    // Several parts can be on their way into the bin.
    let mut bin = with(("# tolerance_ms = 20", "tolerance_ms = 500"));
    bin[1] = ("# kind = \"part\"", "kind = \"reject\"");
    assert!(read(&[&bin]).confirm.is_some());
}

#[test]
fn pulses_for_a_plc_have_a_line_and_end_before_the_next() {
    let (section, ack) = (("# [handshake]", "[handshake]"), ("# ack_ms", "ack_ms"));
    let wire = ("# trigger_ack", "trigger_ack");
    refuses(
        &[section, ack],
        "ack_ms",
        "handshake.ack_ms",
        &["lines.trigger_ack"],
    );
    let long = ("# ack_ms = 10", "ack_ms = 100");
    refuses(
        &[section, long, wire],
        "ack_ms",
        "handshake.ack_ms",
        &["trigger.min_pitch_ms = 100 ms"],
    );
    let long = ("# valid_ms = 10", "valid_ms = 100");
    refuses(
        &[section, long, ("# result_valid", "result_valid")],
        "valid_ms",
        "handshake.valid_ms",
        &["trigger.min_pitch_ms = 100 ms"],
    );
}

#[test]
fn an_alarm_that_stops_the_line_needs_somebody_who_starts_it_again() {
    let nobody = [
        ("socket = \"/run", "# socket = \"/run"),
        ("consecutive_rejects = 10", "consecutive_rejects = 0"),
        ("rate_percent", "# rate_percent"),
    ];
    let quiet = [("restarts_per_hour = 10", "restarts_per_hour = 0")];
    let challenge = [
        ("# [challenge]", "[challenge]"),
        ("# every_hours", "every_hours"),
    ];
    let key = "alarm.stop_line";
    refuses(&nobody, "stop_line", key, &["lines.acknowledge"]);
    assert!(parse(&changed(&[&nobody[..], &quiet].concat())).is_ok());
    let found = [&nobody[..], &quiet, &challenge].concat();
    refuses(&found, "stop_line", key, &["lines.acknowledge"]);
}

#[test]
fn sections_that_say_nothing_are_told() {
    refuses(
        &[("# [challenge]", "[challenge]")],
        "[challenge]",
        "challenge.every_hours",
        &["missing"],
    );
}

#[test]
fn lateness_is_noticed_before_silence() {
    for (change, at) in [
        (("late_ms = 40 ", "late_ms = 200 "), "late_ms"),
        (("lease_ms = 200", "lease_ms = 40"), "late_ms"),
    ] {
        refuses(
            &[change],
            at,
            "supervisor.late_ms",
            &["supervisor.lease_ms"],
        );
    }
}
