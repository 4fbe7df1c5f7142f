//! What a valid file means.

use super::*;
use crate::line::devices::Input;
use crate::line::gate::Ejector;
use crate::time::{Duration, Span};

#[test]
fn the_example_means_what_it_says() {
    let config = parse(EXAMPLE).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.product, ProductPlace::File("lid.pgp".into()));
    assert_eq!(config.gate.after(), Span::Time(Duration::from_millis(400)));
    assert_eq!(config.gate.min_off(), Span::Time(Duration::from_millis(10)));
    assert_eq!(config.gate.ejector, Ejector::Pass);
    assert_eq!(config.record.log_max, 64 << 20);
    let CameraSource::V4l2(camera) = &config.camera.source else {
        panic!("another source");
    };
    assert_eq!(
        (camera.width, camera.height, camera.format),
        (1280, 720, None)
    );
    let controls = [
        ("exposure_us", 2000),
        ("gain", 16),
        ("focus", 30),
        ("white_balance_k", 4600),
        ("power_line_frequency", 1),
    ];
    let controls = controls.map(|(key, value)| (key.to_string(), value));
    assert_eq!(config.camera.controls, controls);
    let trigger = config.lines.input(Input::Trigger).expect("wired");
    assert_eq!(trigger.chip.as_deref(), Some("tegra234-gpio"));
    assert_eq!(trigger.name.as_deref(), Some("PN.01"));
    assert_eq!(trigger.wire(), "tegra234-gpio:PN.01");
    assert_eq!(config.lines.wired().count(), 7);
    assert_eq!(
        config.line_of("gate.after_ms"),
        Some(line_of(EXAMPLE, "after_ms"))
    );
    // 400 ms to the gate, less 60 ms of exposure window and 60 ms of delivery.
    let budget = std::time::Duration::from_millis(310);
    assert_eq!(config.inspection_budget(), Some(budget));
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
    let known: Vec<(String, String)> = known_keys()
        .into_iter()
        .map(|key| (key.section.to_string(), key.key.to_string()))
        .collect();
    assert!(known.len() > 60, "{}", known.len());
    for key in &known {
        assert!(shown.contains(key), "{key:?} is not in the example");
    }
    for key in shown {
        let any = key.1 == "power_line_frequency";
        assert!(
            known.contains(&key) || any,
            "{key:?} is only in the example"
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
    let product = ProductPlace::File("/etc/partgate/lid.pgp".into());
    assert_eq!(config.product, product);
    assert_eq!(config.record.folder, Path::new("/var/lib/partgate/record"));
}
