//! Values that must agree with each other.

use super::*;
use crate::line::gate::{Counts, Nanos, Span};

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
        &[("pulse_ms = 40 ", "pulse_counts = 60 #")],
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
    assert_eq!(config.gate.after, Span::Counts(Counts(800)));
    assert_eq!(config.gate.pulse, Span::Time(Nanos::from_millis(40)));
    assert_eq!(config.judging_budget(), None);
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
        let told = found.into_iter().map(|w| (w.key, w.line));
        told.collect::<Vec<_>>()
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
        line_of(EXAMPLE, "timeout_ms = 1000            # judging"),
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
        &[("# folder = ", "folder = ")],
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
