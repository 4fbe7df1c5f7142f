//! Requests input lines from the kernel, chip by chip, with or without its debouncing.

use super::super::debouncer::Debouncer;
use super::super::sequence::Sequence;
use super::super::{CONSUMER, check_distinct, explain, used_for};
use super::{Bias, Debounce, EDGE_WORDS, InputLine, LONGEST_DEBOUNCE, OpenChip, READ, Watched};
use crate::clock;
use crate::gpio::chips::{FoundLine, find};
use crate::gpio::error::{GpioError, errno};
use crate::time::{Duration, Instant};
use gpiocdev::Request;
use gpiocdev::chip::Chip;
use gpiocdev::line::{EdgeDetection, Value};
use rustix::io::Errno;

/// The largest event buffer that the kernel gives; it limits every request.
const KERNEL_BUFFER: u32 = 1024;

pub(super) fn request_all(lines: &[InputLine]) -> Result<Vec<OpenChip>, GpioError> {
    let mut uses = Vec::new();
    for line in lines {
        let asked = line.debounce.period();
        if asked > LONGEST_DEBOUNCE {
            return Err(GpioError::DebounceTooLong {
                used_for: line.input.name(),
                asked_us: asked.as_micros(),
                longest_us: LONGEST_DEBOUNCE.as_micros(),
            });
        }
        uses.push((find(&line.spec)?, line.input.name()));
    }
    check_distinct(&uses)?;
    let mut chips: Vec<OpenChip> = Vec::new();
    for (found, _) in &uses {
        if chips.iter().any(|open| open.chip == found.chip) {
            continue;
        }
        let on_chip: Vec<(&InputLine, FoundLine)> = lines
            .iter()
            .zip(&uses)
            .filter(|(_, (line, _))| line.path == found.path)
            .map(|(line, (found, _))| (line, found.clone()))
            .collect();
        chips.push(request(&on_chip)?);
    }
    Ok(chips)
}

/// Requests the GPIO lines of one chip, with kernel debouncing if configured and possible, else
/// without.
fn request(lines: &[(&InputLine, FoundLine)]) -> Result<OpenChip, GpioError> {
    let uses: Vec<(FoundLine, &'static str)> = lines
        .iter()
        .map(|(line, found)| (found.clone(), line.input.name()))
        .collect();
    let by_kernel = lines
        .iter()
        .any(|(line, _)| matches!(line.debounce, Debounce::Kernel(p) if !p.is_zero()));
    for (line, found) in lines {
        if matches!(line.bias, Bias::PullUp | Bias::PullDown) && ignores_bias(&chip_label(found)) {
            return Err(GpioError::NoPull {
                chip: found.chip.clone(),
                offset: found.offset,
                used_for: line.input.name(),
            });
        }
    }
    // The wanted request, and those to try if the driver refuses: no filter, then on-edges only.
    let wanted = Ask {
        debounced: by_kernel,
        both: lines.iter().any(|(line, _)| line.off_edges),
    };
    let mut ways: heapless::Vec<Ask, 3> = heapless::Vec::new();
    for way in [
        wanted,
        Ask {
            debounced: false,
            ..wanted
        },
        Ask {
            debounced: false,
            both: false,
        },
    ] {
        if !ways.contains(&way) {
            let _ = ways.push(way);
        }
    }
    let mut refused: Option<gpiocdev::Error> = None;
    for way in ways {
        let opened = clock::now();
        match ask(lines, way) {
            Ok(request) => {
                if let Some(error) = refused {
                    warn_of_less(&uses, wanted, way, &error);
                }
                return open_chip(lines, request, opened, way);
            }
            // Busy, forbidden and gone do not depend on filters and edges.
            Err(error)
                if matches!(
                    errno(&error),
                    Some(Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::NODEV)
                ) =>
            {
                return Err(explain(&uses, error));
            }
            Err(error) => refused = Some(error),
        }
    }
    // If all requests fail, the last error is the reason.
    Err(match refused {
        Some(error) => explain(&uses, error),
        None => GpioError::Lost {
            chip: uses
                .first()
                .map_or_else(String::new, |(line, _)| line.chip.clone()),
            used_for: used_for(&uses),
            source: None,
        },
    })
}

/// How to request a chip's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ask {
    /// The kernel filters, if configured.
    debounced: bool,
    /// Off-edges too, if they matter.
    both: bool,
}

fn warn_of_less(
    uses: &[(FoundLine, &'static str)],
    wanted: Ask,
    way: Ask,
    error: &gpiocdev::Error,
) {
    let (chip, lines) = (
        uses.first().map_or("", |(line, _)| line.chip.as_str()),
        used_for(uses),
    );
    if wanted.debounced != way.debounced {
        log::warn!(
            "{chip} ({lines}): the driver refuses to debounce ({error}); this program does it"
        );
    }
    if wanted.both != way.both {
        log::warn!(
            "{chip} ({lines}): the driver refuses to watch both edges ({error}); how long a part covers the sensor is not seen"
        );
    }
}

fn chip_label(line: &FoundLine) -> String {
    let info = Chip::from_path(&line.path).and_then(|chip| chip.info());
    // If the chip cannot be opened, the request that follows fails with the reason.
    info.map(|info| info.label).unwrap_or_default()
}

/// Whether a chip's driver cannot set resistors. The kernel grants them all the same
/// (`gpio_set_bias` treats "not supported" as done) and reports them as set.
fn ignores_bias(label: &str) -> bool {
    // gpio-tegra186, on every Jetson since the TX2: the pin controller sets the pulls.
    label.starts_with("tegra") && label.contains("gpio")
}

fn ask(lines: &[(&InputLine, FoundLine)], way: Ask) -> gpiocdev::Result<Request> {
    let mut builder = Request::builder();
    builder
        .with_consumer(CONSUMER)
        .with_kernel_event_buffer_size(KERNEL_BUFFER);
    for (line, found) in lines {
        let (period, by_kernel) = filter(line.debounce, way.debounced);
        builder
            .on_chip(found.path.clone())
            .with_line(found.offset)
            .as_input()
            .with_edge_detection(if both_edges(line, way) {
                EdgeDetection::BothEdges
            } else {
                EdgeDetection::RisingEdge
            })
            .with_bias(match line.bias {
                Bias::AsIs => None,
                Bias::PullUp => Some(gpiocdev::line::Bias::PullUp),
                Bias::PullDown => Some(gpiocdev::line::Bias::PullDown),
                Bias::Disabled => Some(gpiocdev::line::Bias::Disabled),
            });
        if by_kernel {
            builder.with_debounce_period(period.into());
        }
        if line.active_low {
            builder.as_active_low();
        }
    }
    builder.request()
}

/// Whether both edges of `line` are requested: because they matter, or because this program
/// debounces.
fn both_edges(line: &InputLine, way: Ask) -> bool {
    let (period, by_kernel) = filter(line.debounce, way.debounced);
    (way.both && line.off_edges) || !(period.is_zero() || by_kernel)
}

/// The period, and whether the kernel filters.
fn filter(debounce: Debounce, kernel_can: bool) -> (Duration, bool) {
    let period = debounce.period();
    let by_kernel = kernel_can && matches!(debounce, Debounce::Kernel(_)) && !period.is_zero();
    (period, by_kernel)
}

fn open_chip(
    lines: &[(&InputLine, FoundLine)],
    request: Request,
    opened: Instant,
    way: Ask,
) -> Result<OpenChip, GpioError> {
    let mut open = OpenChip {
        chip: lines
            .first()
            .map(|(_, found)| found.chip.clone())
            .unwrap_or_default(),
        request,
        opened,
        watched: Vec::with_capacity(lines.len()),
        words: [0; READ * EDGE_WORDS],
        next_word: 0,
        end_word: 0,
        head: None,
        second: None,
    };
    for (line, found) in lines {
        let (period, by_kernel) = filter(line.debounce, way.debounced);
        let debouncer = if period.is_zero() || by_kernel {
            None
        } else {
            let level = open.request.value(found.offset);
            let level = level.map_err(|source| open.lost(Some(source)))?;
            Some(Debouncer::new(period, level == Value::Active))
        };
        if by_kernel {
            log::info!(
                "{} line {} ({}): debounced by the kernel over {period:?}; without a filter in the chip its edges are stamped that much later, rounded up to the kernel's tick",
                found.chip,
                found.offset,
                line.input.name(),
            );
        }
        open.watched.push(Watched {
            input: line.input,
            offset: found.offset,
            sequence: Sequence::default(),
            debouncer,
            both: both_edges(line, way),
            off_edges: line.off_edges,
        });
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jetsons_have_no_pulls_to_set() {
        for label in [
            "tegra234-gpio",
            "tegra234-gpio-aon",
            "tegra194-gpio",
            "tegra186-gpio",
        ] {
            assert!(ignores_bias(label), "{label}");
        }
        for label in [
            "",
            "gpio-sim.0",
            "INT33C7:00",
            "pinctrl-bcm2711",
            "9030000.pl061",
        ] {
            assert!(!ignores_bias(label), "{label}");
        }
    }
}
