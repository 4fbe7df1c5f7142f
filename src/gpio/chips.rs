//! What GPIO the machine has, and which pin a text means.

use super::error::{GpioError, errno};
use super::spec::{ChipSpec, LineRef, LineSpec};
use gpiocdev::chip::Chip;
use gpiocdev::line::Direction;
use rustix::io::Errno;
use std::path::PathBuf;

/// One chip, for `partgate doctor`.
#[derive(Debug)]
pub struct ChipReport {
    /// Device file.
    pub path: PathBuf,
    /// The kernel's name, `gpiochip0`.
    pub name: String,
    /// The driver's label; empty if it has none or the chip cannot be opened.
    pub label: String,
    /// Its pins in the order of their numbers.
    pub lines: Vec<LineReport>,
    /// Why the chip, or some of its pins, cannot be read.
    pub problem: Option<GpioError>,
}

/// One pin, for `partgate doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineReport {
    /// Number on its chip.
    pub offset: u32,
    /// Name from the device tree or driver; often empty.
    pub name: String,
    /// Whether a program or a driver uses it.
    pub used: bool,
    /// The user's label; can be empty although the pin is in use.
    pub consumer: String,
    /// Whether it is an output.
    pub output: bool,
    /// Whether the low level means on.
    pub active_low: bool,
}

/// All chips of this machine with their pins, in the order of their numbers; empty if there are
/// none. A chip that cannot be opened is in the list with the reason.
///
/// # Errors
/// [`GpioError::Refused`] if `/dev` itself cannot be read.
pub fn chips() -> Result<Vec<ChipReport>, GpioError> {
    Ok(paths()?.into_iter().map(report).collect())
}

fn paths() -> Result<Vec<PathBuf>, GpioError> {
    gpiocdev::chip::chips().map_err(|source| GpioError::Refused {
        chip: "/dev".into(),
        used_for: "the list of chips".into(),
        source,
    })
}

fn report(path: PathBuf) -> ChipReport {
    let mut report = ChipReport {
        name: path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default(),
        path,
        label: String::new(),
        lines: Vec::new(),
        problem: None,
    };
    let read = open(&report.path).and_then(|chip| {
        let fail = |source| refused(&report.name, "reading its lines", source);
        let info = chip.info().map_err(fail)?;
        report.label = info.label;
        for offset in 0..info.num_lines {
            let line = chip.line_info(offset).map_err(fail)?;
            report.lines.push(LineReport {
                offset,
                name: line.name,
                used: line.used,
                consumer: line.consumer,
                output: line.direction == Direction::Output,
                active_low: line.active_low,
            });
        }
        Ok(())
    });
    report.problem = read.err();
    report
}

fn refused(chip: &str, used_for: &str, source: gpiocdev::Error) -> GpioError {
    GpioError::Refused {
        chip: chip.into(),
        used_for: used_for.into(),
        source,
    }
}

/// Opens a chip by its device file and checks that the kernel is new enough.
fn open(path: &std::path::Path) -> Result<Chip, GpioError> {
    let chip = Chip::from_path(path).map_err(|source| match errno(&source) {
        Some(Errno::ACCESS | Errno::PERM) => GpioError::Permission { path: path.into() },
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => GpioError::NoSuchChip {
            wanted: path.display().to_string(),
            found: names(&paths().unwrap_or_default()),
        },
        _ => refused(&path.display().to_string(), "opening it", source),
    })?;
    // The first user interface asks for line information under another number.
    chip.supports_abi_version(gpiocdev::AbiVersion::V2)
        .map_err(|_| GpioError::OldKernel { chip: chip.name() })?;
    Ok(chip)
}

fn names(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "none".into();
    }
    let mut names: Vec<String> = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let label = Chip::from_path(path).and_then(|chip| chip.info());
        names.push(match label {
            Ok(info) if !info.label.is_empty() => format!("{name} ({})", info.label),
            _ => name.into_owned(),
        });
    }
    names.join(", ")
}

/// A pin that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundLine {
    /// Device file of its chip.
    pub(super) path: PathBuf,
    /// Name of its chip, for messages.
    pub(super) chip: String,
    /// Number on its chip.
    pub(super) offset: u32,
}

/// The pin that `spec` means now.
pub(super) fn find(spec: &LineSpec) -> Result<FoundLine, GpioError> {
    match spec {
        LineSpec::OnChip { chip, line } => on_chip(&find_chip(chip)?, line),
        LineSpec::Named(name) => find_named(name),
    }
}

fn find_chip(spec: &ChipSpec) -> Result<Chip, GpioError> {
    let label = match spec {
        ChipSpec::Path(path) => return open(path.as_ref()),
        ChipSpec::Name(name) => return open(&PathBuf::from("/dev").join(name)),
        ChipSpec::Label(label) => label,
    };
    let paths = paths()?;
    if paths.is_empty() {
        return Err(GpioError::NoChips);
    }
    let mut found = Vec::new();
    let mut unreadable = None;
    for path in &paths {
        match open(path) {
            Ok(chip) => {
                if chip.info().is_ok_and(|info| info.label == *label) {
                    found.push(chip);
                }
            }
            Err(error) => unreadable = Some(error),
        }
    }
    match (found.len(), unreadable) {
        (1, _) => Ok(found.remove(0)),
        // The wanted chip may be the one that this user cannot read, so that error comes first.
        (0, Some(error)) => Err(error),
        (0, None) => Err(GpioError::NoSuchChip {
            wanted: label.clone(),
            found: names(&paths),
        }),
        (count, _) => Err(GpioError::AmbiguousChip {
            label: label.clone(),
            count,
            found: found
                .iter()
                .map(Chip::name)
                .collect::<Vec<String>>()
                .join(", "),
        }),
    }
}

fn on_chip(chip: &Chip, line: &LineRef) -> Result<FoundLine, GpioError> {
    let fail = |source| refused(&chip.name(), "reading its lines", source);
    let lines = chip.info().map_err(fail)?.num_lines;
    let found = |offset| FoundLine {
        path: chip.path().to_path_buf(),
        chip: chip.name(),
        offset,
    };
    match line {
        LineRef::Offset(offset) if *offset < lines => Ok(found(*offset)),
        LineRef::Offset(offset) => Err(GpioError::NoSuchLine {
            chip: chip.name(),
            line: offset.to_string(),
            last: lines.saturating_sub(1),
        }),
        LineRef::Name(name) => match named(chip, name)?.as_slice() {
            [one] => Ok(found(*one)),
            [] => Err(GpioError::NoSuchName {
                name: name.clone(),
                where_looked: format!(" on {}", chip.name()),
            }),
            many => Err(GpioError::AmbiguousName {
                name: name.clone(),
                found: places(&chip.name(), many),
            }),
        },
    }
}

/// Numbers of the pins of `chip` with the name `name`.
fn named(chip: &Chip, name: &str) -> Result<Vec<u32>, GpioError> {
    let fail = |source| refused(&chip.name(), "reading its lines", source);
    let mut offsets = Vec::new();
    for info in chip.line_info_iter().map_err(fail)? {
        let info = info.map_err(fail)?;
        if info.name == name {
            offsets.push(info.offset);
        }
    }
    Ok(offsets)
}

fn places(chip: &str, offsets: &[u32]) -> String {
    let places: Vec<String> = offsets.iter().map(|o| format!("{chip}:{o}")).collect();
    places.join(", ")
}

fn find_named(name: &str) -> Result<FoundLine, GpioError> {
    let paths = paths()?;
    if paths.is_empty() {
        return Err(GpioError::NoChips);
    }
    let mut found = Vec::new();
    let mut unreadable = None;
    for path in &paths {
        match open(path) {
            Ok(chip) => {
                for offset in named(&chip, name)? {
                    found.push(FoundLine {
                        path: chip.path().to_path_buf(),
                        chip: chip.name(),
                        offset,
                    });
                }
            }
            Err(error) => unreadable = Some(error),
        }
    }
    match (found.len(), unreadable) {
        (1, _) => Ok(found.remove(0)),
        (0, Some(error)) => Err(error),
        (0, None) => Err(GpioError::NoSuchName {
            name: name.into(),
            where_looked: String::new(),
        }),
        (_, _) => Err(GpioError::AmbiguousName {
            name: name.into(),
            found: found
                .iter()
                .map(|line| format!("{}:{}", line.chip, line.offset))
                .collect::<Vec<String>>()
                .join(", "),
        }),
    }
}

/// The label of the program or driver that uses a pin, for messages.
pub(super) fn holder(line: &FoundLine) -> Option<String> {
    let info = open(&line.path).ok()?.line_info(line.offset).ok()?;
    info.used.then_some(if info.consumer.is_empty() {
        "an unnamed program or driver".into()
    } else {
        info.consumer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> GpioError {
        find(&text.parse().unwrap()).unwrap_err()
    }

    #[test]
    fn a_missing_chip_is_named_together_with_those_that_are_there() {
        let error = error_of("gpiochip4711:17");
        let text = error.to_string();
        assert!(matches!(error, GpioError::NoSuchChip { .. }), "{error:?}");
        assert!(text.contains("/dev/gpiochip4711"), "{text}");
        assert!(text.contains("this machine has "), "{text}");
        assert!(matches!(
            error_of("/dev/no/such:1"),
            GpioError::NoSuchChip { .. }
        ));
    }

    #[test]
    fn a_file_that_is_no_chip_is_refused() {
        let error = error_of("/dev/null:1");
        assert!(matches!(error, GpioError::Refused { .. }), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("/dev/null"), "{cause}");
        assert!(matches!(
            error_of("/etc/passwd:1"),
            GpioError::Refused { .. }
        ));
    }

    #[test]
    fn labels_and_names_that_nothing_has_are_errors() {
        for text in ["no-such-label:1", "line no-such-name"] {
            let error = error_of(text);
            assert!(
                matches!(
                    error,
                    GpioError::NoChips
                        | GpioError::NoSuchChip { .. }
                        | GpioError::NoSuchName { .. }
                        | GpioError::Permission { .. }
                ),
                "{error:?}"
            );
        }
    }

    #[test]
    fn the_list_of_chips_can_be_made_anywhere() {
        for chip in chips().unwrap() {
            assert!(chip.name.starts_with("gpiochip"), "{chip:?}");
            assert!(chip.problem.is_some() || !chip.lines.is_empty());
        }
    }
}
