//! `partgate diff`: what changed between two bundles.

use super::failure::{Code, Failure};
use super::open;
use super::terminal::{Colour, Out};
use clap::Args;
use partgate::product::{Difference, Product, difference};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// Longer values are cut in text output; JSON has them whole.
const WIDEST: usize = 72;

/// Show which fields of two bundles differ, with both values
///
/// Compares all fields of the manifests. Data (backbone, bank, masks, golden images) differs if
/// its digest differs. The exit code is 0 with and without differences.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate diff part-r3.pgp part-r4.pgp\n  partgate diff a.pgp b.pgp --json | jq '.differences[].field'\n\nExit codes: 0 done, 4 a bundle cannot be used."
)]
pub(crate) struct Arguments {
    /// First bundle
    a: PathBuf,
    /// Second bundle
    b: PathBuf,
}

#[derive(Serialize)]
struct Report {
    a: PathBuf,
    b: PathBuf,
    /// Whether both files are the same, byte for byte.
    identical: bool,
    differences: Vec<Difference>,
}

/// A value for people: numbers as short as an f32 needs, long lists as their length.
fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "(none)".into(),
        Some(Value::Null) => return "(not set)".into(),
        Some(Value::Number(n)) => match n.as_f64() {
            // Values that were f32 print as f32: 0.1, not 0.10000000149011612.
            Some(v) if n.is_f64() && f64::from(v as f32) == v => (v as f32).to_string(),
            _ => n.to_string(),
        },
        Some(Value::Array(list)) if list.len() > 8 => {
            return format!("({} values)", list.len());
        }
        Some(other) => other.to_string(),
    };
    if text.chars().count() > WIDEST {
        text.chars().take(WIDEST).chain("...".chars()).collect()
    } else {
        text
    }
}

/// Kind of the section that `field` is about: `sections.3.length` alone means nothing to people.
fn section_kind(field: &str, a: &Product, b: &Product) -> String {
    let index = field
        .strip_prefix("sections.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|n| n.parse::<usize>().ok());
    let section = index.and_then(|i| {
        let of = |product: &'_ Product| product.manifest().sections.get(i).map(|s| s.kind);
        of(a).or_else(|| of(b))
    });
    section.map_or(String::new(), |kind| format!(" ({kind})"))
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let (a, b) = (open(&arguments.a)?, open(&arguments.b)?);
    let mut differences = difference(&a, &b).map_err(Failure::unexpected)?;
    if a.signature() != b.signature() {
        let reported = |product: &Product| Some(super::inspect::signature(product).into());
        differences.push(Difference {
            field: "file.signature".into(),
            a: reported(&a),
            b: reported(&b),
        });
    }
    let identical = a.digest() == b.digest();
    if out.json() {
        out.json_page(&Report {
            a: arguments.a.clone(),
            b: arguments.b.clone(),
            identical,
            differences,
        })?;
        return Ok(Code::Done);
    }
    if differences.is_empty() {
        out.line(if identical {
            "no differences: the same file, byte for byte"
        } else {
            "no differences"
        })?;
        return Ok(Code::Done);
    }
    for d in &differences {
        let title = format!("{}{}", d.field, section_kind(&d.field, &a, &b));
        out.line(out.paint(title, Colour::Bold))?;
        out.line(format_args!("  - {}", shown(d.a.as_ref())))?;
        out.line(format_args!("  + {}", shown(d.b.as_ref())))?;
    }
    let count = differences.len();
    out.line(format_args!(
        "{count} field{} differ{}",
        if count == 1 { "" } else { "s" },
        if count == 1 { "s" } else { "" }
    ))?;
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_short_and_honest() {
        assert_eq!(shown(None), "(none)");
        assert_eq!(shown(Some(&json!(0.1f32))), "0.1");
        assert_eq!(shown(Some(&json!(0.1f64))), "0.1");
        assert_eq!(shown(Some(&json!(7))), "7");
        assert_eq!(shown(Some(&json!("x"))), "\"x\"");
        assert_eq!(shown(Some(&json!([1, 2]))), "[1,2]");
        assert_eq!(shown(Some(&json!(vec![1; 256]))), "(256 values)");
        assert!(shown(Some(&json!("ä".repeat(500)))).ends_with("..."));
    }
}
