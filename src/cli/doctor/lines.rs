//! Checks the pins of inputs and outputs: are they there, and free?

use super::finding::{Finding, Findings};
use crate::cli::failure::causes;
use gpiocdev::Request;
use gpiocdev::line::Value;
use partgate::config::{LineConfig, LineSpec, Lines};
use partgate::gpio::{ChipReport, LineReport, chips};
use std::path::Path;

/// Name under which this program requests pins from the kernel.
const CONSUMER: &str = "partgate";

/// Every chip and GPIO line, for the report.
pub(super) fn listing() -> Vec<String> {
    let known = match chips() {
        Ok(known) => known,
        Err(error) => return vec![causes(&error).join(": ")],
    };
    let mut text = Vec::new();
    for chip in known {
        text.push(format!(
            "{} [{}] {} lines",
            chip.name,
            chip.label,
            chip.lines.len()
        ));
        if let Some(problem) = &chip.problem {
            text.push(format!("  {}", causes(problem).join(": ")));
        }
        for line in &chip.lines {
            let used = if line.used { "used by" } else { "free" };
            text.push(format!(
                "  {:>3} {:<24} {} {used} {}",
                line.offset,
                line.name,
                way(line),
                line.consumer
            ));
        }
    }
    text
}

fn way(line: &LineReport) -> &'static str {
    if line.output { "output" } else { "input" }
}

/// The GPIO lines among `chips` that `spec` means.
fn matching<'a>(spec: &LineSpec, chips: &'a [ChipReport]) -> Vec<(&'a ChipReport, &'a LineReport)> {
    let on_chip = |chip: &&ChipReport| match &spec.chip {
        None => true,
        Some(name) => *name == chip.name || *name == chip.label || Path::new(name) == chip.path,
    };
    let is_line = |line: &&LineReport| match (spec.offset, &spec.name) {
        (Some(offset), _) => line.offset == offset,
        (None, Some(name)) => line.name == *name,
        (None, None) => false,
    };
    chips
        .iter()
        .filter(on_chip)
        .flat_map(|chip| {
            chip.lines
                .iter()
                .filter(is_line)
                .map(move |line| (chip, line))
        })
        .collect()
}

/// Checks the pin of every wired input and output, unless they go through text.
pub(super) fn check(config: &LineConfig, findings: &mut Findings) {
    if config.plant.is_some() {
        findings.push(Finding::not_checked(
            "gpio",
            "inputs and outputs go through text",
        ));
        return;
    }
    let wired: Vec<_> = config.lines.wired().collect();
    if wired.is_empty() {
        findings.push(Finding::not_checked(
            "gpio",
            "no input and no output is wired",
        ));
        return;
    }
    let known = match chips() {
        Ok(known) => known,
        Err(error) => {
            let fix = "is /dev there, and may this user read it?";
            findings.push(Finding::failed("gpio", causes(&error).join(": "), fix));
            return;
        }
    };
    if known.is_empty() {
        findings.push(Finding::failed(
            "gpio",
            "the kernel has no GPIO chip",
            "is the adapter plugged in, and its driver loaded? a PC has no GPIO of its own",
        ));
        return;
    }
    let problems = known.iter().filter_map(|chip| chip.problem.as_ref());
    let problems: Vec<String> = problems.map(|p| causes(p).join(": ")).collect();
    if problems.len() == known.len() {
        findings.push(Finding::failed(
            "gpio",
            problems.join("; "),
            "is the user in group `gpio`? board/udev has the rule",
        ));
        return;
    }
    for (name, spec) in wired {
        findings.push(line(name, spec, &known));
    }
}

fn line(name: &str, spec: &LineSpec, known: &[ChipReport]) -> Finding {
    let check = format!("line {name}");
    let found = matching(spec, known);
    let (chip, info) = match &found[..] {
        [one] => *one,
        [] => {
            let chips: Vec<String> = known
                .iter()
                .map(|chip| format!("{} ({}, {} lines)", chip.name, chip.label, chip.lines.len()))
                .collect();
            return Finding::failed(
                check,
                format!(
                    "{} ({}) is on no chip; there are {}",
                    spec.text,
                    spec.wire(),
                    chips.join(", ")
                ),
                format!("is `board` right? `gpioinfo` lists lines; then set lines.{name}"),
            );
        }
        several => {
            let chips: Vec<&str> = several.iter().map(|(chip, _)| &*chip.name).collect();
            return Finding::failed(
                check,
                format!("{} is on several chips: {}", spec.text, chips.join(", ")),
                format!("name the chip: lines.{name} = \"LABEL:NAME\""),
            );
        }
    };
    let place = format!(
        "{} is {} line {} {:?}",
        spec.text, chip.name, info.offset, info.name
    );
    if info.used && info.consumer.starts_with(CONSUMER) {
        return Finding::ok(
            check,
            format!("{place}, held by {}: a line is running", info.consumer),
        );
    }
    if info.used {
        return Finding::failed(
            check,
            format!("{place}, used by {:?}", info.consumer),
            "a kernel driver or another program has it: wire to another pin, or free it (pin multiplexer, device tree)",
        );
    }
    if Lines::OUTPUTS.contains(&name) {
        return Finding::ok(check, format!("{place}, free, now an {}", way(info)));
    }
    match level(&chip.path, info) {
        Ok(high) => {
            let on = if high != spec.active_low { "on" } else { "off" };
            let wire = if high { "high" } else { "low" };
            Finding::ok(
                check,
                format!("{place}, free, {wire} now, which means {on}"),
            )
        }
        Err(error) => Finding::failed(
            check,
            format!("{place} cannot be read: {error}"),
            "may this user write the chip's device? board/udev has the rule",
        ),
    }
}

/// Whether the level of an input is high. The direction of the pin is not changed.
fn level(chip: &Path, info: &LineReport) -> Result<bool, gpiocdev::Error> {
    let mut request = Request::builder();
    request
        .on_chip(chip)
        .with_consumer("partgate doctor")
        .with_line(info.offset);
    if info.output {
        request.as_is();
    } else {
        request.as_input();
    }
    Ok(request.request()?.value(info.offset)? == Value::Active)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn spec(text: &str) -> LineSpec {
        let board = partgate::config::Board::embedded("generic-x86");
        let board = board.expect("known").expect("valid");
        board.line(text, true).expect("a line")
    }

    fn chip(name: &str, label: &str, lines: &[&str]) -> ChipReport {
        let lines = (0..).zip(lines).map(|(offset, name)| LineReport {
            offset,
            name: (*name).to_string(),
            used: false,
            consumer: String::new(),
            output: false,
            active_low: false,
        });
        ChipReport {
            path: Path::new("/dev").join(name),
            name: name.into(),
            label: label.into(),
            lines: lines.collect(),
            problem: None,
        }
    }

    #[test]
    fn lines_are_found_by_every_form() {
        let known = [
            chip("gpiochip0", "main", &["A", "B", "C"]),
            chip("gpiochip1", "aon", &["C", "D"]),
        ];
        for (text, expected) in [
            ("gpiochip1:0", Some(("gpiochip1", 0))),
            ("aon:1", Some(("gpiochip1", 1))),
            ("main:C", Some(("gpiochip0", 2))),
            ("/dev/gpiochip0:1", Some(("gpiochip0", 1))),
            ("line D", Some(("gpiochip1", 1))),
            ("line E", None),
            ("gpiochip1:2", None),
        ] {
            let found = matching(&spec(text), &known);
            let found = found.first().map(|(chip, line)| (&*chip.name, line.offset));
            assert_eq!(found, expected, "{text}");
        }
        let finding = line("ready", &spec("line C"), &known);
        assert!(finding.found.contains("several chips"), "{}", finding.found);
        let finding = line("ready", &spec("line E"), &known);
        assert!(
            finding.found.contains("gpiochip1 (aon, 2 lines)"),
            "{}",
            finding.found
        );
    }

    #[test]
    fn lines_that_others_hold_fail_and_our_own_do_not() {
        let mut known = [chip("gpiochip0", "main", &["A"])];
        let ready = |known: &[ChipReport]| line("ready", &spec("line A"), known);
        assert_eq!(ready(&known).state, State::Ok);
        known[0].lines[0].used = true;
        known[0].lines[0].consumer = "spi0 CS0".into();
        let finding = ready(&known);
        assert_eq!(finding.state, State::Failed);
        assert!(finding.found.contains("spi0 CS0"), "{}", finding.found);
        known[0].lines[0].consumer = "partgate".into();
        assert_eq!(ready(&known).state, State::Ok);
    }

    #[test]
    fn lines_of_text_are_not_looked_for() {
        let plant = "[plant]\noutputs = \"out\"\ninputs = \"in\"\n\n[supervisor]";
        let text = partgate::config::EXAMPLE.replace("[supervisor]", plant);
        let config = LineConfig::parse(&text, Path::new("line.toml")).expect("valid");
        let mut findings = Findings::new();
        check(&config, &mut findings);
        let expected = Finding::not_checked("gpio", "inputs and outputs go through text");
        assert_eq!(findings, [expected]);
    }
}
