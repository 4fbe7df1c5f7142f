//! Values that must agree with each other.

use super::*;
use crate::time::{Counts, Duration, Span};

#[test]
fn spans_are_given_once_and_counts_have_an_encoder() {
    let with_encoder = ("# encoder = ", "encoder = ");
    refuses(
        &[("# after_counts", "after_counts"), with_encoder],
        "after_counts",
        "gate.after_counts",
        &["keep one"],
    );
    refuses(
        &[("after_ms = 400", "#")],
        "[gate]",
        "gate.after_ms",
        &["missing"],
    );
    refuses(
        &[("pulse_ms = 40 ", "pulse_counts = 3 #")],
        "pulse_counts",
        "gate.pulse_counts",
        &["lines.encoder"],
    );
    refuses(
        &[
            ("after_ms = 400 ", "after_counts = 800 #"),
            ("spin_up_ms", "# spin_up_ms"),
            ("# encoder_silence_ms", "encoder_silence_ms"),
            with_encoder,
        ],
        "min_off_ms",
        "gate.min_off_ms",
        &["gate.min_off_counts"],
    );
    refuses(
        &[("min_off_ms = 10", "min_off_ms = 400")],
        "min_off_ms",
        "gate.min_off_ms",
        &["not shorter"],
    );
    refuses(
        &[
            ("after_ms = 400 ", "after_counts = 800 #"),
            ("min_off_ms = 10 ", "min_off_counts = 20 #"),
            ("spin_up_ms", "# spin_up_ms"),
            with_encoder,
        ],
        "after_counts",
        "gate.encoder_silence_ms",
        &["0 is never"],
    );
    let text = changed(&[
        ("after_ms = 400 ", "after_counts = 800 #"),
        ("min_off_ms = 10 ", "min_off_counts = 20 #"),
        ("spin_up_ms", "# spin_up_ms"),
        ("# encoder_silence_ms", "encoder_silence_ms"),
        with_encoder,
    ]);
    let config = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.gate.after(), Span::Counts(Counts(800)));
    assert_eq!(config.gate.pulse(), Span::Time(Duration::from_millis(40)));
    assert_eq!(config.inspection_budget(), None);
}

#[test]
fn times_that_cannot_be_kept_are_refused() {
    refuses(
        &[("exposure_max_ms = 40", "exposure_max_ms = 100")],
        "exposure_max_ms",
        "capture.exposure_max_ms",
        &["two parts"],
    );
    refuses(
        &[("delivery_ms = 50", "delivery_ms = 360")],
        "after_ms",
        "gate.after_ms",
        &["400 ms after the trigger"],
    );
    refuses(
        &[("bounce_us = 1000", "bounce_us = 100000")],
        "bounce_us",
        "trigger.bounce_us",
        &["next part"],
    );
    refuses(
        &[("timeout_ms = 1000  ", "timeout_ms = 33  ")],
        "timeout_ms",
        "camera.timeout_ms",
        &["33.3 ms"],
    );
    refuses(
        &[("exposure_min_ms = 0", "exposure_min_ms = 41")],
        "exposure_max_ms",
        "capture.exposure_max_ms",
        &["before capture.exposure_min_ms"],
    );
    refuses(
        &[("pulse_ms = 40", "pulse_ms = 100")],
        "pulse_ms",
        "gate.pulse_ms",
        &["trigger.min_pitch_ms = 100 ms", "reach the next"],
    );
    refuses(
        &[
            ("kind = \"gpio\" ", "kind = \"encoder\" "),
            ("debounce_us = 200 ", "# "),
            ("# every_counts", "every_counts"),
            ("\ntrigger = ", "\n# trigger = "),
            ("pulse_ms = 40 ", "pulse_counts = 400 #"),
            ("# encoder = ", "encoder = "),
        ],
        "pulse_counts",
        "gate.pulse_counts",
        &["trigger.every_counts = 400", "reach the next"],
    );
}

#[test]
fn what_works_but_protects_less_is_a_warning_with_its_line() {
    let keys = |changes: &[(&str, &str)]| {
        let text = changed(changes);
        let found = parse(&text).unwrap_or_else(|e| panic!("{e}")).warnings();
        let places = found.into_iter().map(|w| (w.key, w.line));
        places.collect::<Vec<_>>()
    };
    let at = |key: &str, start: &str| vec![(key.to_string(), line_of(EXAMPLE, start))];
    let delivery = at("capture.delivery_ms", "delivery_ms");
    assert_eq!(keys(&[]), []);
    assert_eq!(keys(&[("delivery_ms = 50", "delivery_ms = 60")]), delivery);
    assert_eq!(keys(&[("delivery_ms = 50", "delivery_ms = 59")]), []);
    let window = ("exposure_max_ms = 40", "exposure_max_ms = 33");
    let short = at("capture.exposure_max_ms", "exposure_max_ms");
    assert_eq!(keys(&[window]), short);
    assert_eq!(keys(&[window, ("# on_trigger", "on_trigger")]), []);
    let quiet = ("consecutive_rejects = 10", "consecutive_rejects = 0");
    let timeout = vec![(
        "inference.timeout_ms".to_string(),
        line_of(EXAMPLE, "timeout_ms = 1000            # inspecting"),
    )];
    assert_eq!(keys(&[quiet]), timeout);
    let slow = ("restart_ms = 200", "restart_ms = 1001");
    assert_eq!(keys(&[slow]), at("supervisor.restart_ms", "restart_ms"));
    assert_eq!(keys(&[("restart_ms = 200", "restart_ms = 1000")]), []);
    let reject = [
        ("ejector = \"pass\"", "ejector = \"reject\""),
        ("# reject = ", "reject = "),
    ];
    assert_eq!(keys(&reject), at("supervisor.lease_ms", "lease_ms"));
    let quick = ("lease_ms = 200", "lease_ms = 99");
    assert_eq!(keys(&[reject[0], reject[1], quick]), []);
}

#[test]
fn a_plant_stands_for_all_lines_and_has_both_paths() {
    let section = ("# [plant]", "[plant]");
    let (outputs, inputs) = (("# outputs =", "outputs ="), ("# inputs =", "inputs ="));
    assert_eq!(parse(EXAMPLE).expect("valid").plant, None);
    let text = changed(&[section, outputs, inputs]);
    let config = LineConfig::parse(&text, Path::new("/etc/partgate/line.toml"));
    let plant = config.unwrap_or_else(|e| panic!("{e}")).plant;
    let folder = Path::new("/etc/partgate/plant");
    let expected = Plant {
        inputs: folder.join("inputs"),
        outputs: folder.join("outputs"),
    };
    assert_eq!(plant, Some(expected));
    refuses(&[section, outputs], "[plant]", "plant.inputs", &["missing"]);
    refuses(&[section, inputs], "[plant]", "plant.outputs", &["missing"]);
    refuses(
        &[
            section,
            outputs,
            ("# inputs = \"plant/inputs\"", "inputs = \"plant/outputs\""),
        ],
        "inputs",
        "plant.inputs",
        &["own path"],
    );
}

#[test]
fn every_part_on_its_way_has_a_place() {
    // 400 ms at a pitch of 100 ms: parts at 0, 100, 200, 300 and 400 ms, and the place that READY keeps.
    let text = changed(&[("capacity = 64", "capacity = 6")]);
    assert!(parse(&text).is_ok(), "{:?}", problems(&text));
    refuses(
        &[("capacity = 64", "capacity = 5")],
        "capacity",
        "gate.capacity",
        &["5 fit", "6 to 256"],
    );
    refuses(
        &[("after_ms = 400", "after_ms = 60000")],
        "capacity",
        "gate.capacity",
        &["601", "more than 256 cannot be tracked"],
    );
    refuses(
        &[("max_waiting = 2", "max_waiting = 65")],
        "max_waiting",
        "inference.max_waiting",
        &["1 to 64"],
    );
}

#[test]
fn the_ejector_is_wired_as_the_file_says_it_works() {
    refuses(
        &[("\npass = ", "\n# pass = ")],
        "ejector",
        "lines.pass",
        &["\"pass\""],
    );
    refuses(
        &[("ejector = \"pass\"", "ejector = \"reject\"")],
        "ejector",
        "lines.reject",
        &["\"reject\""],
    );
    let reject = [
        ("ejector = \"pass\"", "ejector = \"reject\""),
        ("# reject = ", "reject = "),
    ];
    assert!(parse(&changed(&reject)).is_ok());
    refuses(
        &[reject[0], reject[1], ("\nready = ", "\n# ready = ")],
        "ejector",
        "lines.ready",
        &["stop"],
    );
}

#[test]
fn a_key_that_does_nothing_is_an_error() {
    refuses(
        &[("# folder = \"parts", "folder = \"parts")],
        "folder = \"parts",
        "camera.folder",
        &["\"folder\""],
    );
    refuses(
        &[
            ("source = \"v4l2\" ", "source = \"rendered\" "),
            ("device = ", "# device = "),
            ("width = ", "# width = "),
            ("height = ", "# height = "),
            ("format = ", "# format = "),
            ("[camera.controls] ", "# "),
            ("exposure_us = 2000", "# "),
            ("gain = ", "# gain = "),
            ("focus = ", "# focus = "),
            ("white_balance_k", "# white_balance_k"),
            ("power_line_frequency", "# power_line_frequency"),
            ("# allow_identical", "allow_identical"),
        ],
        "allow_identical",
        "camera.allow_identical",
        &["\"v4l2\""],
    );
    refuses(
        &[("# encoder_silence_ms", "encoder_silence_ms")],
        "encoder_silence_ms",
        "gate.encoder_silence_ms",
        &["gate.after_counts"],
    );
    refuses(
        &[("# every_ms", "every_ms")],
        "every_ms",
        "trigger.every_ms",
        &["\"timer\""],
    );
}

#[test]
fn triggers_have_what_they_need() {
    refuses(
        &[("\ntrigger = ", "\n# trigger = ")],
        "kind",
        "lines.trigger",
        &["\"gpio\""],
    );
    let socket = [
        ("kind = \"gpio\" ", "kind = \"socket\" "),
        ("debounce_us = 200 ", "# "),
        ("\ntrigger = ", "\n# trigger = "),
    ];
    assert!(parse(&changed(&socket)).is_ok());
    let without = [
        &socket[..],
        &[
            ("socket = \"/run", "# socket = \"/run"),
            ("stop_line = true", "stop_line = false"),
        ],
    ]
    .concat();
    refuses(&without, "kind", "control.socket", &["\"socket\""]);
    refuses(
        &[("socket = \"/run", "# socket = \"/run")],
        "stop_line",
        "alarm.stop_line",
        &["lines.acknowledge"],
    );
}

#[test]
fn sources_without_a_device_have_their_own_rules() {
    let line = |camera: &str, kind: &str| {
        let text = format!(
            "product = \"p.pgp\"\nboard = \"generic-x86\"\n[camera]\n{camera}\n[trigger]\n{kind}\n\
             min_pitch_ms = 100\n[capture]\nexposure_max_ms = 40\ndelivery_ms = 50\n[gate]\n\
             after_ms = 400\npulse_ms = 40\nejector = \"pass\"\n[lines]\nencoder = \"line e\"\n\
             pass = \"line p\"\n[control]\nsocket = \"s\"\n[record]\nfolder = \"r\"\n"
        );
        problems(&text).join("\n")
    };
    let (encoder, socket) = ("kind = \"encoder\"\nevery_counts = 20", "kind = \"socket\"");
    let once = "source = \"rendered\"\non_trigger = true";
    assert!(line(once, encoder).contains("camera.on_trigger: with trigger.kind"));
    assert_eq!(line(once, socket), "");
    assert_eq!(line("source = \"rendered\"", encoder), "");
    let recorded = "source = \"recorded\"\nfolder = \"f\"";
    assert_eq!(line(recorded, socket), "");
    assert_eq!(line(recorded, encoder), "");
    assert!(line("source = \"recorded\"", socket).contains("camera.folder: missing"));
    for useless in ["fps = 10", "on_trigger = true", "seed = 2", "width = 640"] {
        let found = line(&format!("{recorded}\n{useless}"), socket);
        assert!(
            found.contains("has an effect only with"),
            "{useless}: {found}"
        );
    }
}

#[test]
fn a_pass_in_counts_is_over_before_the_next_part_or_refused() {
    let pulse = |counts: &'static str| ("pulse_ms = 40 ", counts);
    let encoder = ("# encoder = ", "encoder = ");
    // As it was found in a run: 200 counts lasted 1,000 ms, with parts every 150 ms.
    let found = [
        ("min_pitch_ms = 100", "min_pitch_ms = 150"),
        pulse("pulse_counts = 200 #"),
        encoder,
    ];
    refuses(
        &found,
        "pulse_counts",
        "gate.pulse_counts",
        &["gate.count_min_us", "gate.encoder_silence_ms below 0.750"],
    );
    let fastest = |us: &'static str| ("# count_min_us = 100", us);
    refuses(
        &[found[0], found[1], encoder, fastest("count_min_us = 600")],
        "pulse_counts",
        "gate.pulse_counts",
        &["120 ms on the fastest belt", "three quarters"],
    );
    let keys = |changes: &[(&str, &str)]| -> Vec<String> {
        let config = parse(&changed(changes)).unwrap_or_else(|e| panic!("{e}"));
        config.warnings().into_iter().map(|w| w.key).collect()
    };
    // The fastest belt is known, the slowest is not.
    let known = [found[0], found[1], encoder, fastest("count_min_us = 100")];
    assert_eq!(keys(&known), ["gate.pulse_counts"]);
    // The belt moves at full speed, or its counts are taken as lost.
    let in_counts = [
        ("after_ms = 400 ", "after_counts = 800 #"),
        ("min_off_ms = 10 ", "min_off_counts = 20 #"),
        ("spin_up_ms", "# spin_up_ms"),
        encoder,
        fastest("count_min_us = 100"),
    ];
    let fast = ("# encoder_silence_ms = 500", "encoder_silence_ms = 1.6");
    let bounded = [&in_counts[..], &[fast, pulse("pulse_counts = 60 #")]].concat();
    assert_eq!(keys(&bounded), [""; 0]);
    // PASS is switched off if no count comes for a quarter of the pitch.
    let short = [pulse("pulse_counts = 3 #"), encoder];
    assert_eq!(keys(&short), [""; 0]);
    // An encoder as trigger states how many counts parts are apart. A long REJECT rejects.
    let by_counts = [
        ("kind = \"gpio\" ", "kind = \"encoder\" "),
        ("debounce_us = 200 ", "# "),
        ("# every_counts", "every_counts"),
        ("\ntrigger = ", "\n# trigger = "),
        pulse("pulse_counts = 60 #"),
        encoder,
    ];
    assert_eq!(keys(&by_counts), [""; 0]);
    let reject = [
        ("ejector = \"pass\"", "ejector = \"reject\""),
        ("# reject = ", "reject = "),
        ("lease_ms = 200", "lease_ms = 99"),
    ];
    assert_eq!(keys(&[&found[..], &reject].concat()), [""; 0]);
}

#[test]
fn an_encoder_that_is_trusted_is_a_warning_that_says_what_follows() {
    let warnings_of = |changes: &[(&str, &str)]| -> Vec<(String, String)> {
        let config = parse(&changed(changes)).unwrap_or_else(|e| panic!("{e}"));
        let warnings = config.warnings().into_iter();
        warnings.map(|w| (w.key, w.message)).collect()
    };
    let counts = [
        ("after_ms = 400 ", "after_counts = 800 #"),
        ("min_off_ms = 10 ", "min_off_counts = 20 #"),
        ("spin_up_ms", "# spin_up_ms"),
        ("# encoder = ", "encoder = "),
    ];
    let silence = ("# encoder_silence_ms", "encoder_silence_ms");
    let never = ("# encoder_silence_ms = 500", "encoder_silence_ms = 0");
    let fastest = ("# count_min_us", "count_min_us");
    let second = ("# encoder_b", "encoder_b");
    let with = |more: &[(&'static str, &'static str)]| warnings_of(&[&counts, more].concat());
    assert_eq!(with(&[silence, fastest]), []);
    assert_eq!(with(&[silence, second]), []);
    let noise = with(&[silence]);
    assert_eq!(noise[0].0, "gate.after_counts");
    assert!(noise[0].1.contains("the PASS of another"), "{noise:?}");
    let dies = with(&[never, fastest]);
    assert_eq!(dies[0].0, "gate.encoder_silence_ms");
    assert!(dies[0].1.contains("the PASS of another"), "{dies:?}");
    assert_eq!((noise.len(), dies.len()), (1, 1));
    // 30 ms by the clock on a belt whose counts come every 7.5 ms at best.
    let pulse = ("pulse_ms = 40 ", "pulse_ms = 30 ");
    let coarse = |us| with(&[silence, pulse, ("# count_min_us = 100", us)]);
    assert_eq!(coarse("count_min_us = 7500"), []);
    let stays = coarse("count_min_us = 7501");
    assert_eq!(stays[0].0, "gate.pulse_ms");
    assert!(stays[0].1.contains("REJECT stays on"), "{stays:?}");
}

#[test]
fn wiring_that_fails_to_stop_is_a_warning_that_says_why() {
    let warnings_of = |changes: &[(&str, &str)]| -> Vec<(String, usize, String)> {
        let config = parse(&changed(changes)).unwrap_or_else(|e| panic!("{e}"));
        let warnings = config.warnings().into_iter();
        warnings.map(|w| (w.key, w.line, w.message)).collect()
    };
    let found = warnings_of(&[("\nheartbeat = ", "\n# heartbeat = ")]);
    assert_eq!(found.len(), 1, "{found:?}");
    let (key, line, message) = &found[0];
    assert_eq!(
        (&**key, *line),
        ("lines", line_of(EXAMPLE, "[lines]")),
        "{message}"
    );
    assert!(message.contains("lines.heartbeat"), "{message}");
    for name in ["ready", "pass"] {
        let low = format!("active_low = [\"{name}\"]");
        let found = warnings_of(&[("# active_low = [\"trigger\"]", &low)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "lines.active_low");
        assert!(found[0].2.contains("without power"), "{found:?}");
    }
    let low = "active_low = [\"trigger\", \"fault\", \"busy\"]";
    assert_eq!(warnings_of(&[("# active_low = [\"trigger\"]", low)]), []);
}
