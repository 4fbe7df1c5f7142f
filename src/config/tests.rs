use super::*;
use crate::line::gate::{Counts, Ejector, Nanos, Span};
use proptest::prelude::*;

const FILE: &str = "line.toml";

fn parse(text: &str) -> Result<LineConfig, ConfigError> {
    LineConfig::parse(text, Path::new(FILE))
}

/// The problems of `text` as printed, one a line.
fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

/// The example with each `old` replaced; every one has to be there.
fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = EXAMPLE.to_string();
    for (old, new) in changes {
        assert!(text.contains(old), "the example has no {old:?}");
        text = text.replacen(old, new, 1);
    }
    text
}

fn line_of(text: &str, start: &str) -> usize {
    let at = text.lines().position(|line| line.starts_with(start));
    1 + at.unwrap_or_else(|| panic!("no line starts with {start:?}"))
}

/// Asserts that `changes` to the example give exactly one problem, of `key`, on the line that starts
/// with `at`, and that it says all of `words`.
fn refuses(changes: &[(&str, &str)], at: &str, key: &str, words: &[&str]) {
    let text = changed(changes);
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{changes:?}: {found:#?}");
    let start = format!("line {}: {key}: ", line_of(&text, at));
    assert!(found[0].starts_with(&start), "{start:?}: {}", found[0]);
    for word in words {
        assert!(found[0].contains(word), "{word:?}: {}", found[0]);
    }
}

#[test]
fn the_example_means_what_it_says() {
    let config = parse(EXAMPLE).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.product, Path::new("lid.pgp"));
    assert_eq!(config.gate.after, Span::Time(Nanos::from_millis(400)));
    assert_eq!(config.gate.min_off, Span::Time(Nanos::from_millis(10)));
    assert_eq!(config.gate.ejector, Ejector::Pass);
    assert_eq!(config.record.log_max, 64 << 20);
    let CameraSource::V4l2(camera) = &config.camera.source else {
        panic!("another source");
    };
    assert_eq!(
        (camera.width, camera.height, camera.format),
        (1280, 720, None)
    );
    assert_eq!(
        camera.controls.exposure,
        Some(std::time::Duration::from_millis(2))
    );
    assert_eq!(
        camera.controls.others,
        [("power_line_frequency".to_string(), 1)]
    );
    let trigger = config.lines.trigger.as_ref().expect("wired");
    assert_eq!(trigger.chip.as_deref(), Some("tegra234-gpio"));
    assert_eq!(trigger.name.as_deref(), Some("PN.01"));
    assert_eq!(trigger.wire(), "tegra234-gpio:PN.01");
    assert_eq!(config.lines.wired().count(), 7);
    assert_eq!(
        config.line_of("gate.after_ms"),
        Some(line_of(EXAMPLE, "after_ms"))
    );
    // 400 ms to the gate, less 60 ms of exposure window and 60 ms of delivery.
    let budget = std::time::Duration::from_millis(280);
    assert_eq!(config.judging_budget(), Some(budget));
}

#[test]
fn every_key_is_in_the_example() {
    let mut section = String::new();
    let mut shown = Vec::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            section = name.to_string();
        }
        if let Some((key, _)) = line.split_once(" = ") {
            shown.push((section.clone(), key.to_string()));
        }
    }
    let known = known_keys();
    assert!(known.len() > 60, "{}", known.len());
    for key in known {
        let named = (key.section.to_string(), key.key.to_string());
        assert!(
            shown.contains(&named) || key.key == "controls",
            "{named:?} is not in the example"
        );
    }
}

#[test]
fn the_rate_of_rejects_is_rounded_towards_the_alarm() {
    let mut alarm = parse(EXAMPLE).expect("valid").alarm;
    assert_eq!(alarm.rate_rejects(), Some(30));
    for (percent, window, rejects) in [(30.0, 7, 3), (0.1, 10, 1), (100.0, 256, 256), (7.0, 100, 7)]
    {
        (alarm.rate_percent, alarm.rate_window) = (Some(percent), window);
        assert_eq!(
            alarm.rate_rejects(),
            Some(rejects),
            "{percent} % of {window}"
        );
    }
    alarm.rate_percent = None;
    assert_eq!(alarm.rate_rejects(), None);
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = LineConfig::parse(EXAMPLE, Path::new("/etc/partgate/line.toml")).expect("valid");
    assert_eq!(config.product, Path::new("/etc/partgate/lid.pgp"));
    assert_eq!(config.record.folder, Path::new("/var/lib/partgate/record"));
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    refuses(
        &[("\nwidth =", "\nwidht =")],
        "widht",
        "camera.widht",
        &["`width`"],
    );
    refuses(&[("[drift]", "[drft]")], "[drft]", "drft", &["`drift`"]);
    refuses(
        &[("threads = 2", "fps = 2")],
        "fps = 2",
        "inference.fps",
        &["belongs in [camera]"],
    );
    refuses(
        &[("threads = 2", "colour = 2")],
        "colour",
        "inference.colour",
        &["threads, timeout_ms"],
    );
    refuses(
        &[("power_line_frequency = 1", "\"Power Line\" = 1")],
        "\"Power Line\"",
        "camera.controls.Power Line",
        &["no name of a V4L2 control"],
    );
}

#[test]
fn wrong_types_and_ranges_name_value_range_and_unit() {
    refuses(
        &[("width = 1280", "width = 99999")],
        "width",
        "camera.width",
        &["99999", "16 to 16384 pixels"],
    );
    refuses(
        &[("width = 1280", "width = -3")],
        "width",
        "camera.width",
        &["-3", "out of range"],
    );
    refuses(
        &[("width = 1280", "width = \"wide\"")],
        "width",
        "camera.width",
        &["\"wide\" is text"],
    );
    refuses(
        &[("fps = 30.0", "fps = nan")],
        "fps",
        "camera.fps",
        &["nan", "frames a second"],
    );
    refuses(
        &[("lease_ms = 200", "lease_ms = 5")],
        "lease_ms",
        "supervisor.lease_ms",
        &["20 to 5000 ms"],
    );
    refuses(
        &[("kind = \"gpio\"", "kind = \"gipo\"")],
        "kind",
        "trigger.kind",
        &["did you mean \"gpio\"?"],
    );
    refuses(
        &[("listen = \"127.0.0.1:9464\"", "listen = \"localhost\"")],
        "listen",
        "metrics.listen",
        &["port"],
    );
    refuses(
        &[("rate_window = 100", "rate_window = 257")],
        "rate_window",
        "alarm.rate_window",
        &["1 to 256 parts"],
    );
    refuses(
        &[("stop_line = true", "stop_line = 1")],
        "stop_line",
        "alarm.stop_line",
        &["true or false"],
    );
}

#[test]
fn whole_numbers_may_be_written_as_toml_allows() {
    let text = changed(&[
        ("width = 1280", "width = 0x5_00"),
        ("fps = 30.0", "fps = 30"),
    ]);
    assert!(parse(&text).is_ok(), "{:?}", problems(&text));
}

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
        &[
            ("pulse_ms = 40 ", "pulse_counts = 60 #"),
            ("lease_ms = 200", "lease_ms = 99"),
        ],
        "pulse_counts",
        "gate.pulse_counts",
        &["lines.encoder"],
    );
    refuses(
        &[
            ("after_ms = 400 ", "after_counts = 800 #"),
            ("spin_up_ms", "# spin_up_ms"),
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
        &[("exposure_max_ms = 60", "exposure_max_ms = 100")],
        "exposure_max_ms",
        "capture.exposure_max_ms",
        &["two parts"],
    );
    refuses(
        &[("delivery_ms = 60", "delivery_ms = 340")],
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
        &[("exposure_min_ms = 0", "exposure_min_ms = 61")],
        "exposure_max_ms",
        "capture.exposure_max_ms",
        &["before capture.exposure_min_ms"],
    );
    let counts = [
        ("pulse_ms = 40 ", "pulse_counts = 60 #"),
        ("# encoder = ", "encoder = "),
    ];
    refuses(
        &counts,
        "lease_ms",
        "supervisor.lease_ms",
        &["trigger.min_pitch_ms = 100 ms", "next part"],
    );
    let short = [&counts[..], &[("lease_ms = 200", "lease_ms = 99")]].concat();
    assert!(parse(&changed(&short)).is_ok());
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
    assert_eq!(keys(&[("delivery_ms = 60", "delivery_ms = 40")]), delivery);
    let kept = ("delivery_ms = 60", "delivery_ms = 39");
    assert_eq!(keys(&[kept]), []);
    let pulse = ("pulse_ms = 40", "pulse_ms = 100");
    assert_eq!(keys(&[kept, pulse]), at("gate.pulse_ms", "pulse_ms"));
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
    // 400 ms at a pitch of 100 ms: parts at 0, 100, 200, 300 and 400 ms.
    let text = changed(&[("capacity = 64", "capacity = 5")]);
    assert!(parse(&text).is_ok(), "{:?}", problems(&text));
    refuses(
        &[("capacity = 64", "capacity = 4")],
        "capacity",
        "gate.capacity",
        &["5 fit", "5 to 256"],
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
fn a_line_has_one_meaning_and_a_pin_one_line() {
    refuses(
        &[("busy = \"pin 32\"", "busy = \"pin 29\"")],
        "busy",
        "lines.busy",
        &["lines.ready"],
    );
    refuses(
        &[("busy = \"pin 32\"", "busy = \"pin 30\"")],
        "busy",
        "lines.busy",
        &["no GPIO on pin 30", "29, 31"],
    );
    refuses(
        &[("busy = \"pin 32\"", "busy = \"buzz\"")],
        "busy",
        "lines.busy",
        &["gpiochipN:OFFSET"],
    );
    refuses(
        &[("busy = \"pin 32\"", "busy = \"gpiochip0:70000\"")],
        "busy",
        "lines.busy",
        &["65535"],
    );
    refuses(
        &[("# active_low = [\"trigger\"]", "active_low = [\"reject\"]")],
        "active_low",
        "lines.active_low",
        &["trigger, ready"],
    );
    refuses(
        &[("# open_drain = [\"ready\"]", "open_drain = [\"trigger\"]")],
        "open_drain",
        "lines.open_drain",
        &["ready"],
    );
    let text = changed(&[
        ("# active_low", "active_low"),
        ("# pull_up", "pull_up"),
        ("# open_drain", "open_drain"),
        ("busy = \"pin 32\"", "busy = \"tegra234-gpio-aon:9\""),
    ]);
    let lines = parse(&text).unwrap_or_else(|e| panic!("{e}")).lines;
    let trigger = lines.trigger.expect("wired");
    assert!(trigger.active_low && trigger.bias == Bias::PullUp);
    assert_eq!(lines.ready.expect("wired").drive, Drive::OpenDrain);
    let busy = lines.busy.expect("wired");
    assert_eq!(
        (busy.chip.as_deref(), busy.offset),
        (Some("tegra234-gpio-aon"), Some(9))
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
        &[("# on_trigger", "on_trigger")],
        "on_trigger",
        "camera.on_trigger",
        &["triggered by wire"],
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
fn all_problems_are_told_in_the_order_of_the_file() {
    let text = changed(&[
        ("width = 1280", "width = 1"),
        ("threads = 2", "thread = 2"),
        ("product = ", "produkt = "),
        ("pulse_ms = 40", "pulse_ms = -1"),
    ]);
    let error = parse(&text).expect_err("broken");
    let lines: Vec<usize> = error.problems().iter().map(|p| p.line).collect();
    assert!(lines.is_sorted());
    let keys: Vec<&str> = error.problems().iter().map(|p| &*p.key).collect();
    assert_eq!(
        keys,
        [
            "product",
            "produkt",
            "camera.width",
            "gate.pulse_ms",
            "inference.thread"
        ]
    );
    assert!(
        error
            .to_string()
            .starts_with("line.toml: 5 problems:\n(1) line 1: product: missing")
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let found = problems("product = \"a\"\nboard = \n[camera]\nwidth == 3\n");
    assert!(
        found.iter().any(|p| p.starts_with("line 2: not TOML")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|p| p.starts_with("line 4: not TOML")),
        "{found:?}"
    );
    let found = problems("product = \"a\"\nproduct = \"b\"\n");
    assert!(found[0].starts_with("line 2: "), "{found:?}");
}

#[test]
fn an_empty_file_misses_what_has_no_default() {
    let error = parse("").expect_err("empty");
    let keys: Vec<&str> = error.problems().iter().map(|p| &*p.key).collect();
    for key in [
        "product",
        "board",
        "camera.source",
        "trigger.kind",
        "gate.after_ms",
        "gate.ejector",
        "record.folder",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    let required = known_keys()
        .into_iter()
        .filter(|k| k.absent == "required")
        .count();
    // And one each of the gate's two ways to give a distance, and a way to acknowledge alarms.
    assert_eq!(keys.len(), required + 3, "{keys:?}");
}

#[test]
fn every_profile_parses_and_its_example_is_valid() {
    let names: Vec<&str> = Board::known().collect();
    for name in [
        "jetson-orin-nano",
        "jetson-orin-nx",
        "jetson-agx-orin",
        "jetson-xavier-nx",
        "generic-x86",
        "gpio-sim",
        "raspberry-pi-4",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    for name in names {
        let board = Board::embedded(name)
            .expect("known")
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(board.name, name);
        assert!(!board.sources.is_empty() && !board.verified.is_empty());
        let mut wires: Vec<_> = board.pins.values().map(|p| (&p.chip, &p.line)).collect();
        wires.sort();
        let count = wires.len();
        wires.dedup();
        assert_eq!(wires.len(), count, "{name}: two pins are one line");
        for role in Lines::INPUTS.into_iter().chain(Lines::OUTPUTS) {
            let text = board
                .example
                .get(role)
                .unwrap_or_else(|| panic!("{name}: {role}"));
            let output = Lines::OUTPUTS.contains(&role);
            board
                .line(text, output)
                .unwrap_or_else(|e| panic!("{name}: {role}: {e}"));
        }
        let text = example(&board);
        let config = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
        assert_eq!(config.board.name, name);
        // With every line of the wiring in use, too.
        let all: String = text
            .lines()
            .map(|line| {
                let role = line.strip_prefix("# ").filter(|l| {
                    ["encoder =", "acknowledge =", "reject ="]
                        .iter()
                        .any(|r| l.starts_with(r))
                });
                role.unwrap_or(line).to_string() + "\n"
            })
            .collect();
        let config = parse(&all).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(config.lines.wired().count(), 10, "{name}");
    }
}

#[test]
fn the_example_for_its_own_board_is_the_example() {
    let board = Board::embedded("jetson-orin-nano")
        .expect("known")
        .expect("valid");
    assert_eq!(example(&board), EXAMPLE);
}

#[test]
fn a_profile_can_be_a_file() {
    let dir = tempfile::tempdir().expect("folder");
    let (_, text) = PROFILES
        .iter()
        .find(|(name, _)| *name == "gpio-sim")
        .expect("known");
    std::fs::write(dir.path().join("mine.toml"), text).expect("write");
    let wiring = Board::parse(text, Path::new("./mine.toml")).expect("valid");
    let config = example(&wiring).replace("board = \"mine\"", "board = \"./mine.toml\"");
    let file = dir.path().join("line.toml");
    std::fs::write(&file, &config).expect("write");
    assert_eq!(
        LineConfig::open(&file)
            .unwrap_or_else(|e| panic!("{e}"))
            .board
            .name,
        "mine"
    );
    std::fs::write(dir.path().join("mine.toml"), "titel = 3").expect("write");
    let error = LineConfig::open(&file).expect_err("broken profile");
    assert!(
        error.to_string().contains("did you mean `title`?"),
        "{error}"
    );
    std::fs::remove_file(dir.path().join("mine.toml")).expect("remove");
    let error = LineConfig::open(&file).expect_err("no profile");
    assert!(
        error
            .to_string()
            .contains("mine.toml: cannot be read: No such file"),
        "{error}"
    );
    refuses(
        &[("\"jetson-orin-nano\"", "\"jetson-orin-nona\"")],
        "board",
        "board",
        &["did you mean \"jetson-orin-nano\"?"],
    );
}

#[test]
fn pins_that_go_one_way_are_used_that_way() {
    let board = Board::embedded("jetson-agx-orin")
        .expect("known")
        .expect("valid");
    assert!(board.line("pin 11", true).is_ok());
    let error = board.line("pin 11", false).expect_err("an input");
    assert!(error.to_string().contains("only be an output"), "{error}");
}

#[test]
fn files_that_are_none_are_refused() {
    assert!(matches!(
        LineConfig::open(Path::new("/nonexistent/line.toml")),
        Err(ConfigError::Read { .. })
    ));
    assert!(matches!(
        LineConfig::open(Path::new("/dev/zero")),
        Err(ConfigError::Read { .. })
    ));
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("large.toml");
    std::fs::write(&file, vec![b'#'; MAX_FILE as usize + 1]).expect("write");
    assert!(matches!(
        LineConfig::open(&file),
        Err(ConfigError::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_problems_with_lines_in_it(text in "(\\PC|\n){0,400}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            let lines = text.split('\n').count();
            prop_assert!(error.problems().iter().all(|p| (1..=lines).contains(&p.line)));
        }
    }

    /// Any line of the example with its value replaced by any other TOML value.
    #[test]
    fn any_value_in_any_place_is_taken_or_refused_with_its_line(
        at in 0usize..200,
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| format!("{n:?}").replace("NaN", "nan")),
            Just("true".to_string()),
            Just("\"text\"".to_string()),
            Just("\"\"".to_string()),
            Just("[]".to_string()),
            Just("[1, \"a\", []]".to_string()),
            Just("{ a = 1 }".to_string()),
            Just("1979-05-27".to_string()),
        ],
    ) {
        let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_string).collect();
        let at = at % lines.len();
        let bare = lines[at].strip_prefix("# ").unwrap_or(&lines[at]).to_string();
        if let Some((key, _)) = bare.split_once(" = ") {
            lines[at] = format!("{key} = {value}");
            let text = lines.join("\n");
            if let Err(error) = parse(&text) {
                prop_assert!(!error.problems().is_empty());
                prop_assert!(error.problems().iter().all(|p| p.line <= lines.len() && !p.message.is_empty()));
            }
        }
    }

    #[test]
    fn any_text_for_a_line_is_a_line_or_says_why_not(text in "\\PC{0,40}", output: bool) {
        for name in Board::known() {
            if let Some(Ok(board)) = Board::embedded(name) {
                match board.line(&text, output) {
                    Ok(spec) => prop_assert!(spec.name.is_some() != spec.offset.is_some()),
                    Err(why) => prop_assert!(!why.to_string().is_empty()),
                }
            }
        }
    }
}
