//! Pins and board profiles.

use super::*;
use crate::config::board::PROFILES;

#[test]
fn a_line_has_one_meaning_and_a_pin_one_line() {
    refuses(
        &[("busy = \"pin 32\"", "busy = \"pin 29\"")],
        "busy",
        "lines.busy",
        &["lines.ready"],
    );
    // Pin 29 by its name, with and without the chip.
    for wire in ["line PQ.05", "tegra234-gpio:PQ.05"] {
        let named = format!("busy = \"{wire}\"");
        refuses(
            &[("busy = \"pin 32\"", &named)],
            "busy",
            "lines.busy",
            &["lines.ready"],
        );
    }
    refuses(
        &[
            ("busy = \"pin 32\"", "busy = \"/dev/gpiochip0:5\""),
            ("ready = \"pin 29\"", "ready = \"gpiochip0:5\""),
        ],
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
    let trigger = lines.named("trigger").expect("wired");
    assert!(trigger.active_low && trigger.bias == Bias::PullUp);
    assert_eq!(lines.named("ready").expect("wired").drive, Drive::OpenDrain);
    let busy = lines.named("busy").expect("wired");
    assert_eq!(
        (busy.chip.as_deref(), busy.offset),
        (Some("tegra234-gpio-aon"), Some(9))
    );
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
        // The same with every input and output in use.
        let all: String = text
            .lines()
            .map(|line| {
                let role = line.strip_prefix("# ").filter(|l| {
                    // An index needs triggers by the encoder, and recipes need several products; this
                    // example has neither.
                    let starts = |name: &&str| {
                        let needs = *name == "index" || name.starts_with("recipe");
                        !needs && l.starts_with(&format!("{name} ="))
                    };
                    Lines::INPUTS.iter().any(starts)
                        || Lines::OUTPUTS.iter().any(starts)
                        || ["[confirm]", "kind =", "tolerance_ms ="]
                            .iter()
                            .any(|start| l.starts_with(start))
                });
                role.unwrap_or(line).to_string() + "\n"
            })
            .collect();
        let config = parse(&all).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(config.lines.wired().count(), 15, "{name}");
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
