//! Keys, values and files that are wrong by themselves.

use super::*;

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
        &["not the name of a V4L2 control"],
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
        &[("width = 1280", "width = 1280.5")],
        "width",
        "camera.width",
        &["1280.5 is not a whole number"],
    );
    refuses(
        &[("width = 1280", "width = 99999999999999999999")],
        "width",
        "camera.width",
        &["is out of range"],
    );
    refuses(
        &[("fps = 30.0", "fps = nan")],
        "fps",
        "camera.fps",
        &["nan", "frames per second"],
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
    // In addition one for the product, for each of the gate's two distances, and for a way to acknowledge
    // alarms.
    assert_eq!(keys.len(), required + 4, "{keys:?}");
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
    let file = dir.path().join("latin.toml");
    std::fs::write(&file, b"# first\n# gr\xfc\xdfe\n").expect("write");
    let error = LineConfig::open(&file).expect_err("not UTF-8").to_string();
    assert!(
        error.contains("line 2") && error.contains("UTF-8"),
        "{error}"
    );
}
