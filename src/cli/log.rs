//! `partgate log`: shows the event log, and checks whether it is whole.

use super::failure::{Code, Failure, tell};
use super::terminal::{Colour, Out};
use clap::Args;
use partgate::record::{LogCheck, LogReader};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// Show the event log of a line, or check that it is whole
///
/// Takes a log file, or the folder that `record.folder` names. The checksum of every entry depends
/// on the previous entry, so a changed or missing entry is found and reported with its file.
/// Entries missing at the very end cannot be found.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate log /var/lib/partgate/record\n  partgate log /var/lib/partgate/record --verify\n  partgate log /var/lib/partgate/record --json | jq 'select(.reason == \"late\")'\n\nExit codes: 0 done, 3 the log cannot be read or is not whole."
)]
pub(crate) struct Arguments {
    /// A log file, or a folder of them
    path: PathBuf,
    /// Print only a summary and the first fault, not the entries
    #[arg(long)]
    verify: bool,
}

#[derive(Serialize)]
struct Report {
    whole: bool,
    faults: u64,
    first_fault: Option<String>,
    #[serde(flatten)]
    check: LogCheck,
}

/// One entry as text.
fn shown(value: &Value, out: &Out) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    let mut line = text("wall").to_string();
    let Some(part) = value.get("part") else {
        line += &format!(" {}", out.paint(text("event"), Colour::Bold));
        for key in ["subject", "detail", "file", "lost", "count", "bytes", "why"] {
            match value.get(key) {
                Some(Value::String(text)) if !text.is_empty() => line += &format!(" {text}"),
                Some(Value::Number(n)) => line += &format!(" {key}={n}"),
                _ => {}
            }
        }
        return line;
    };
    let decision = if text("decision") == "passed" {
        out.paint("passed", Colour::Good)
    } else {
        out.paint(format_args!("rejected ({})", text("reason")), Colour::Bad)
    };
    line += &format!(" part {part} {decision}");
    if let Some(score) = value.get("score").and_then(Value::as_f64) {
        line += &format!(" score {score:.3}");
    }
    if !text("verdict").is_empty() {
        line += &format!(" verdict {}", text("verdict"));
    }
    let total = value.pointer("/latency_us/trigger_to_output");
    if let Some(us) = total.and_then(Value::as_f64) {
        line += &format!(" output after {:.1} ms", us / 1e3);
    }
    if !text("image").is_empty() {
        line += &format!(" image {}", text("image"));
    }
    line
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let reader = LogReader::open(&arguments.path).map_err(Failure::input)?;
    let mut check = LogCheck::default();
    let mut faults = 0;
    let mut first_fault = None;
    for line in reader {
        match line {
            Ok(line) => {
                check.count(&line.value);
                if arguments.verify {
                    continue;
                }
                if out.json() {
                    out.json_line(&line.value)?;
                } else {
                    out.line(shown(&line.value, out))?;
                }
            }
            Err(fault) => {
                faults += 1;
                if first_fault.is_none() {
                    tell(&fault);
                    first_fault = Some(fault.to_string());
                    out.when_left(Code::Input);
                }
            }
        }
    }
    let whole = faults == 0;
    if arguments.verify && out.json() {
        out.json_page(&Report {
            whole,
            faults,
            first_fault,
            check,
        })?;
    } else if arguments.verify {
        let LogCheck {
            lines,
            parts,
            passed,
            rejected,
            lost,
            torn,
            ..
        } = check;
        let word = if whole {
            out.paint("whole", Colour::Good)
        } else {
            out.paint(format_args!("NOT WHOLE: {faults} faults"), Colour::Bad)
        };
        out.line(format_args!(
            "{word}: {lines} entries, {parts} parts, {passed} passed, {rejected} rejected; {lost} entries noted as lost, {torn} as torn"
        ))?;
        if let (Some(first), Some(last)) = (check.first, check.last) {
            out.line(format_args!("from {first} to {last}"))?;
        }
    }
    Ok(if whole { Code::Done } else { Code::Input })
}
