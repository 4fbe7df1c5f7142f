//! The settings of what runs the line: who inspects, who holds the output lines, who may ask, and who
//! stands for the lines where there is no hardware.

use crate::line::controller::MAX_PARTS;
use crate::settings::kind::{device, hours, ms, path, socket, text, whole};
use crate::settings::section;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// `[inference]`: the inspector.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Inference, read as InferenceRead in "inference" {
        /// Threads that share one image.
        threads: usize = "threads", whole(1..=256, "threads"),
            optional "one a processor, less one for camera and gate";
        /// Inspection one part longer than this is a fault.
        timeout: Duration = "timeout_ms", ms(1.0..=60_000.0), default 1000;
        /// Parts waiting for the inspector beyond which READY drops.
        max_waiting: usize = "max_waiting", whole(1..=MAX_PARTS as u64, "parts"), default 2;
    }
}

impl Inference {
    /// [`Inference::threads`] on this machine.
    pub fn threads_here(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads
            .unwrap_or_else(|| processors().saturating_sub(1).max(1))
    }
}

section! {
    /// `[challenge]`: a known-bad part must be rejected from time to time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Challenge, read as ChallengeRead in "challenge" {
        /// At least this often.
        every: Duration = "every_hours", hours(0.01..=744.0), demanded "never";
    }
}

section! {
    /// `[plant]`: all wired lines go through text, for tests and demonstrations without hardware.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Plant, read as PlantRead in "plant" {
        /// FIFO, unix datagram socket or plain file that is told every change of the output lines.
        outputs: PathBuf =
            "outputs", path("path of a FIFO, unix datagram socket or file"), demanded "none";
        /// Unix datagram socket on which edges of the input lines arrive; made here.
        inputs: PathBuf = "inputs", socket(), demanded "none";
    }
}

section! {
    /// `[supervisor]`: who holds the output lines.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Supervisor, read as SupervisorRead in "supervisor" {
        /// READY and PASS fall when the vision process is silent for so long.
        lease: Duration = "lease_ms", ms(20.0..=5000.0), default 200;
        /// A command that is carried out later than this, or a supervisor that runs later than this,
        /// is an incident: the lines fall and what lay on the stretch is rejected.
        late: Duration = "late_ms", ms(5.0..=1000.0), default 40;
        /// Pause before the vision process is started again.
        restart: Duration = "restart_ms", ms(0.0..=60_000.0), default 200;
        /// Hardware watchdog; None: not used. In the file "board" is the board profile's.
        watchdog: PathBuf = "watchdog_device",
            device("a device node, or \"board\" for the board profile's"), optional "none";
    }
}

section! {
    /// `[metrics]`: figures for Prometheus.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Metrics, read as MetricsRead in "metrics" {
        /// Address of the page; None: there is none.
        listen: SocketAddr = "listen", text("an address with a port").try_map(|text| {
            let address = text.parse().ok();
            address.ok_or("is no address with a port, such as \"127.0.0.1:9464\"".into())
        }), optional "none";
    }
}

section! {
    /// `[control]`: commands to the running line.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Control, read as ControlRead in "control" {
        /// The control socket; None: there is none.
        socket: PathBuf = "socket", socket(), optional "none";
    }
}
