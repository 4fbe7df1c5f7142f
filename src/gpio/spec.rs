//! Pins, as a person writes them.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Longest name of a chip or pin in the kernel's interface, bytes.
const LONGEST_NAME: usize = 31;

/// Longest path of a chip, bytes.
const LONGEST_PATH: usize = 255;

/// A GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChipSpec {
    /// A device file: `/dev/gpiochip0`, or a link that a udev rule made.
    Path(String),
    /// The kernel's name: `gpiochip0`. If several drivers load, numbers can change from boot to
    /// boot; a label or a pin name does not.
    Name(String),
    /// The driver's label: `tegra234-gpio`.
    Label(String),
}

/// A pin of a given chip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LineRef {
    /// By its number, from 0.
    Offset(u32),
    /// By the name from the device tree or driver.
    Name(String),
}

/// A pin of the machine.
///
/// As text, one of
///
/// - `gpiochip0:17`: chip by the kernel's name, pin by number;
/// - `/dev/gpiochip0:17`: chip by its device file;
/// - `tegra234-gpio:17`: chip by its label (anything that is neither of the above);
/// - `tegra234-gpio:PQ.05`: a pin by name on one chip (anything after the last colon that is not a
///   number);
/// - `line PQ.05`: a pin by name on any chip; an error if two chips have it.
///
/// Names of header pins (`pin 11`) are in the board profile; the configuration translates them into
/// these forms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LineSpec {
    /// A pin of a given chip.
    OnChip {
        /// The chip.
        chip: ChipSpec,
        /// Its pin.
        line: LineRef,
    },
    /// A pin by name, on any chip.
    Named(String),
}

/// Why a text names no pin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineSpecError {
    /// It has none of the forms.
    #[error(
        "{0:?} names no GPIO line; write \"gpiochip0:17\", \"CHIP-LABEL:17\", \"CHIP-LABEL:NAME\" or \"line NAME\""
    )]
    Form(String),
    /// It is longer than the kernel allows.
    #[error("{part:?} is longer than the {longest} bytes that the kernel allows")]
    TooLong {
        /// The part of the text that is too long.
        part: String,
        /// The limit, bytes.
        longest: usize,
    },
    /// The number does not fit into 32 bits.
    #[error("line number {0} is too large")]
    Number(String),
}

fn bounded(part: &str, longest: usize) -> Result<String, LineSpecError> {
    if part.len() > longest {
        // The error is printed, so a megabyte of wrong text is cut.
        return Err(LineSpecError::TooLong {
            part: part.chars().take(40).chain("...".chars()).collect(),
            longest,
        });
    }
    Ok(part.to_owned())
}

impl FromStr for LineSpec {
    type Err = LineSpecError;

    fn from_str(text: &str) -> Result<Self, LineSpecError> {
        let form = || LineSpecError::Form(text.chars().take(80).collect());
        if text.chars().any(char::is_control) {
            return Err(form());
        }
        let text = text.trim();
        if let Some(name) = text.strip_prefix("line ") {
            return Ok(LineSpec::Named(bounded(name.trim(), LONGEST_NAME)?));
        }
        let (chip, line) = text.rsplit_once(':').ok_or_else(form)?;
        let (chip, line) = (chip.trim(), line.trim());
        if chip.is_empty() || line.is_empty() {
            return Err(form());
        }
        let numbered = |name: &str| {
            name.strip_prefix("gpiochip")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        let chip = if chip.starts_with('/') {
            ChipSpec::Path(bounded(chip, LONGEST_PATH)?)
        } else if numbered(chip) {
            ChipSpec::Name(bounded(chip, LONGEST_NAME)?)
        } else {
            ChipSpec::Label(bounded(chip, LONGEST_NAME)?)
        };
        let line = if line.bytes().all(|b| b.is_ascii_digit()) {
            let line = bounded(line, LONGEST_NAME)?;
            LineRef::Offset(line.parse().map_err(|_| LineSpecError::Number(line))?)
        } else {
            LineRef::Name(bounded(line, LONGEST_NAME)?)
        };
        Ok(LineSpec::OnChip { chip, line })
    }
}

impl fmt::Display for ChipSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChipSpec::Path(text) | ChipSpec::Name(text) | ChipSpec::Label(text) => {
                f.write_str(text)
            }
        }
    }
}

impl fmt::Display for LineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineSpec::OnChip {
                chip,
                line: LineRef::Offset(offset),
            } => write!(f, "{chip}:{offset}"),
            LineSpec::OnChip {
                chip,
                line: LineRef::Name(name),
            } => write!(f, "{chip}:{name}"),
            LineSpec::Named(name) => write!(f, "line {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> LineSpec {
        text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    #[test]
    fn every_documented_form_is_understood() {
        let on = |chip, line| LineSpec::OnChip { chip, line };
        assert_eq!(
            parsed("gpiochip0:17"),
            on(ChipSpec::Name("gpiochip0".into()), LineRef::Offset(17))
        );
        assert_eq!(
            parsed("/dev/ejector:3"),
            on(ChipSpec::Path("/dev/ejector".into()), LineRef::Offset(3))
        );
        assert_eq!(
            parsed("tegra234-gpio:PQ.05"),
            on(
                ChipSpec::Label("tegra234-gpio".into()),
                LineRef::Name("PQ.05".into())
            )
        );
        // ACPI labels contain a colon.
        assert_eq!(
            parsed("INTC1055:00:42"),
            on(ChipSpec::Label("INTC1055:00".into()), LineRef::Offset(42))
        );
        assert_eq!(
            parsed("line gpio sim:3"),
            LineSpec::Named("gpio sim:3".into())
        );
        // Not a number after "gpiochip", so it is a label.
        assert_eq!(
            parsed("gpiochip:1"),
            on(ChipSpec::Label("gpiochip".into()), LineRef::Offset(1))
        );
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_would_do() {
        for text in ["", "17", "pin 11", ":17", "gpiochip0:", "a\nb:1", ":"] {
            let error = text.parse::<LineSpec>().unwrap_err();
            assert!(
                error.to_string().contains("gpiochip0:17"),
                "{text:?}: {error}"
            );
        }
        assert_eq!(
            "gpiochip0:4294967296".parse::<LineSpec>(),
            Err(LineSpecError::Number("4294967296".into()))
        );
        for long in [
            format!("line {}", "x".repeat(32)),
            format!("{}:1", "x".repeat(32)),
            format!("gpiochip0:{}", "x".repeat(32)),
            format!("/dev/{}:1", "x".repeat(255)),
        ] {
            assert!(matches!(
                long.parse::<LineSpec>(),
                Err(LineSpecError::TooLong { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_prints_as_it_was_meant(text in "\\PC{0,60}") {
            if let Ok(spec) = text.parse::<LineSpec>() {
                prop_assert_eq!(spec.to_string().parse::<LineSpec>(), Ok(spec));
            }
        }

        #[test]
        fn specs_survive_the_way_through_text(
            chip in "(gpiochip[0-9]{1,3}|/dev/[a-z]{1,9}|[A-Z]{3,8}:[0-9]{2})",
            line in "([0-9]{1,9}|[A-Z]{2}\\.[0-9]{2})",
        ) {
            let text = format!("{chip}:{line}");
            let spec: LineSpec = text.parse().unwrap();
            // A number can have leading zeros.
            prop_assert_eq!(spec.to_string().parse::<LineSpec>(), Ok(spec));
        }
    }
}
