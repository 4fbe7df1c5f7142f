//! Why a GPIO pin cannot be used, and what to do.

use rustix::io::Errno;
use std::path::PathBuf;
use thiserror::Error;

/// Why a GPIO pin cannot be used.
#[derive(Debug, Error)]
pub enum GpioError {
    /// The machine has no GPIO character device.
    #[error(
        "this machine has no /dev/gpiochip*; is the driver of its GPIO loaded, and was the kernel built with CONFIG_GPIO_CDEV?"
    )]
    NoChips,
    /// No chip has this path, name or label.
    #[error("there is no GPIO chip {wanted:?}; this machine has {found}")]
    NoSuchChip {
        /// As configured.
        wanted: String,
        /// Names and labels of those that are there.
        found: String,
    },
    /// Several chips have the same label.
    #[error(
        "{} GPIO chips have the label {label:?} ({found}); name one by its device file, or the line by its own name",
        count
    )]
    AmbiguousChip {
        /// As configured.
        label: String,
        /// Number of chips with this label.
        count: usize,
        /// Their names.
        found: String,
    },
    /// The file permissions do not allow it.
    #[error(
        "{} may not be opened by this user; the udev rule in board/udev gives it to group `gpio`: is the rule installed and the user in that group? (log in again after `usermod -aG gpio USER`)",
        path.display()
    )]
    Permission {
        /// The device file.
        path: PathBuf,
    },
    /// The chip has fewer pins.
    #[error("{chip} has no line {line}; its lines are 0 to {last}")]
    NoSuchLine {
        /// Chip.
        chip: String,
        /// As configured.
        line: String,
        /// Number of its last line.
        last: u32,
    },
    /// No pin has this name.
    #[error(
        "no GPIO line is named {name:?}{}; `partgate doctor` lists all names",
        where_looked
    )]
    NoSuchName {
        /// As configured.
        name: String,
        /// " on CHIP", " (CHIP could not be read)", or nothing.
        where_looked: String,
    },
    /// Several pins have this name.
    #[error(
        "several GPIO lines are named {name:?} ({found}); write the chip as well, \"CHIP:LINE\""
    )]
    AmbiguousName {
        /// As configured.
        name: String,
        /// Where they are.
        found: String,
    },
    /// The configuration uses one pin for two things.
    #[error("{chip} line {offset} is used both as {first} and as {second}")]
    UsedTwice {
        /// Chip.
        chip: String,
        /// Line.
        offset: u32,
        /// The first use.
        first: &'static str,
        /// The second use.
        second: &'static str,
    },
    /// The configuration has two pins for one use.
    #[error("{used_for} has two pins; only one of them would be used")]
    WiredTwice {
        /// The use.
        used_for: &'static str,
    },
    /// Another program or driver uses it.
    #[error(
        "{chip} line {offset} ({used_for}) is used by {holder:?}; stop that program or driver, or choose another pin"
    )]
    Busy {
        /// Chip.
        chip: String,
        /// Line.
        offset: u32,
        /// What the pin is for.
        used_for: &'static str,
        /// The label that its holder gave.
        holder: String,
    },
    /// A pull resistor that the kernel grants although the driver has none.
    #[error(
        "{chip} line {offset} ({used_for}): this driver cannot set a pull-up or pull-down, and does not report this; set it in the board's pin configuration or by a resistor, and take the name out of lines.pull_up and lines.pull_down"
    )]
    NoPull {
        /// Chip.
        chip: String,
        /// Line.
        offset: u32,
        /// What the pin is for.
        used_for: &'static str,
    },
    /// The kernel is too old.
    #[error("{chip} does not know the second GPIO user interface; Linux 5.10 or later is needed")]
    OldKernel {
        /// Chip.
        chip: String,
    },
    /// A debounce time above the limit.
    #[error(
        "a debounce time of {asked_us} us for {used_for} is too long; the longest is {longest_us} us"
    )]
    DebounceTooLong {
        /// What the input is for.
        used_for: &'static str,
        /// As configured, microseconds.
        asked_us: u64,
        /// The limit, microseconds.
        longest_us: u64,
    },
    /// The kernel or driver refused.
    #[error("{chip}: lines for {used_for} cannot be requested")]
    Refused {
        /// Chip.
        chip: String,
        /// What the pins are for.
        used_for: String,
        /// The system's error.
        source: gpiocdev::Error,
    },
    /// The chip is gone, or no longer answers.
    #[error("{chip} ({used_for}): lost; was it unplugged, or its driver unloaded?")]
    Lost {
        /// Chip.
        chip: String,
        /// What its pins are for.
        used_for: String,
        /// The system's error, if there is one.
        source: Option<gpiocdev::Error>,
    },
    /// An output of another process cannot be switched off.
    #[error("{used_for}: cannot be switched off; is its GPIO chip still there?")]
    Fall {
        /// The line.
        used_for: &'static str,
        /// The system's error.
        source: gpiocdev_uapi::Error,
    },
    /// An output is in a request that this process did not receive: a bug, or another version of
    /// the program.
    #[error("{used_for}: the request of this output was not handed over")]
    NoRequest {
        /// The line.
        used_for: &'static str,
    },
    /// The time of an edge was never shown by CLOCK_MONOTONIC while the input was watched.
    #[error(
        "{chip} line {offset} stamped an edge at {at_ns} ns, outside [{from_ns}, {to_ns}] of CLOCK_MONOTONIC; edges timed by another clock have no known place on the belt"
    )]
    Clock {
        /// Chip.
        chip: String,
        /// Line.
        offset: u32,
        /// The edge's time.
        at_ns: u64,
        /// When the input was requested.
        from_ns: u64,
        /// When the edge was read.
        to_ns: u64,
    },
    /// Waiting for edges failed.
    #[error("waiting for edges failed")]
    Wait(#[source] std::io::Error),
}

/// The system's error number inside an error of the GPIO library.
pub(super) fn errno(error: &gpiocdev::Error) -> Option<Errno> {
    let number = match error {
        gpiocdev::Error::Os(e) => e.0,
        gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(e)) => e.0,
        _ => return None,
    };
    Some(Errno::from_raw_os_error(number))
}
