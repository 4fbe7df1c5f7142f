//! Inputs and outputs through the kernel's GPIO character device.

mod debouncer;
mod inputs;
mod outputs;
mod safe;
mod sequence;

pub use inputs::{Bias, ChardevInputs, Debounce, InputLine};
pub use outputs::{ChardevOutputs, Drive, OutputLine};
pub use safe::ChardevSafeOutputs;

/// Label of every line while this program uses it.
const CONSUMER: &str = "partgate";

use super::chips::{FoundLine, holder};
use super::error::{GpioError, errno};
use rustix::io::Errno;

/// The GPIO lines of one request, and what each is for.
type Uses<'a> = &'a [(FoundLine, &'static str)];

/// Fails if one GPIO line is used for two things, or one thing has two lines.
fn check_distinct(uses: Uses<'_>) -> Result<(), GpioError> {
    for (at, (line, second)) in uses.iter().enumerate() {
        if uses.iter().take(at).any(|(_, first)| first == second) {
            return Err(GpioError::WiredTwice { used_for: second });
        }
        let earlier = uses
            .iter()
            .take(at)
            .find(|(other, _)| other.path == line.path && other.offset == line.offset);
        if let Some((_, first)) = earlier {
            return Err(GpioError::UsedTwice {
                chip: line.chip.clone(),
                offset: line.offset,
                first,
                second,
            });
        }
    }
    Ok(())
}

fn used_for(uses: Uses<'_>) -> String {
    let names: Vec<&str> = uses.iter().map(|(_, name)| *name).collect();
    names.join(", ")
}

/// Why a request failed, and what to do.
fn explain(uses: Uses<'_>, source: gpiocdev::Error) -> GpioError {
    let chip = uses.first().map(|(line, _)| line.chip.clone());
    let chip = chip.unwrap_or_default();
    match errno(&source) {
        Some(Errno::BUSY) => {
            for (line, name) in uses {
                if let Some(holder) = holder(line) {
                    return GpioError::Busy {
                        chip,
                        offset: line.offset,
                        used_for: name,
                        holder,
                    };
                }
            }
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            if let Some((line, _)) = uses.first() {
                return GpioError::Permission {
                    path: line.path.clone(),
                };
            }
        }
        Some(Errno::NODEV | Errno::NXIO) if chip_is_gone(uses) => {
            return GpioError::Lost {
                chip,
                used_for: used_for(uses),
                source: Some(source),
            };
        }
        _ => {}
    }
    GpioError::Refused {
        chip,
        used_for: used_for(uses),
        source,
    }
}

/// The chip itself is gone since it was found.
fn chip_is_gone(uses: Uses<'_>) -> bool {
    uses.first().is_some_and(|(line, _)| !line.path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn line(chip: &str, offset: u32) -> FoundLine {
        FoundLine {
            path: PathBuf::from("/dev").join(chip),
            chip: chip.into(),
            offset,
        }
    }

    #[test]
    fn one_line_cannot_be_two_things() {
        let fine = [
            (line("gpiochip0", 3), "ready"),
            (line("gpiochip1", 3), "pass"),
        ];
        check_distinct(&fine).unwrap();
        let twice = [
            (line("gpiochip0", 3), "ready"),
            (line("gpiochip0", 4), "fault"),
            (line("gpiochip0", 3), "pass"),
        ];
        let text = check_distinct(&twice).unwrap_err().to_string();
        assert_eq!(text, "gpiochip0 line 3 is used both as ready and as pass");
        let wired_twice = [
            (line("gpiochip0", 3), "ready"),
            (line("gpiochip0", 4), "ready"),
        ];
        assert!(matches!(
            check_distinct(&wired_twice),
            Err(GpioError::WiredTwice { used_for: "ready" })
        ));
    }

    #[test]
    fn refusals_state_what_to_do() {
        let uses = [(line("gpiochip4711", 3), "trigger")];
        let os = |e: Errno| gpiocdev::Error::from(std::io::Error::from(e));
        let text = explain(&uses, os(Errno::ACCESS)).to_string();
        assert!(text.contains("group `gpio`"), "{text}");
        assert!(text.contains("/dev/gpiochip4711"), "{text}");
        assert!(matches!(
            explain(&uses, os(Errno::NODEV)),
            GpioError::Lost { .. }
        ));
        // The chip does not exist, so the user of the line is not known.
        assert!(matches!(
            explain(&uses, os(Errno::BUSY)),
            GpioError::Refused { .. }
        ));
    }
}
