//! Settings of what runs the line: the inspector, the supervisor that holds the outputs, commands,
//! and the inputs and outputs that replace hardware.

use crate::line::controller::MAX_PARTS;
use crate::network::{Accelerator, Placement};
use crate::settings::kind::{device, flag, hours, ms, path, socket, text, whole, word};
use crate::settings::section;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// `[inference]`: the inspector.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Inference, read as InferenceRead in "inference" {
        /// Threads that work on one image.
        threads: usize = "threads", whole(1..=256, "threads"),
            optional "one a processor, less one for camera and gate";
        /// The inspection of one part must not take longer, else it is a fault.
        timeout: Duration = "timeout_ms", ms(1.0..=60_000.0), default 1000;
        /// If more parts wait for the inspector, READY is switched off.
        max_waiting: usize = "max_waiting", whole(1..=MAX_PARTS as u64, "parts"), default 2;
        /// A product of which a network, or a part of one, would run in floats is refused.
        require_integers: bool = "require_integers", flag(), default false;
        /// What runs the backbone.
        accelerator: Accelerator = "accelerator",
            word(&[("cpu", Accelerator::Cpu), ("cuda", Accelerator::Cuda)]), default "cpu";
        /// Nodes of the backbone that the accelerator does not have may run on the CPU.
        cpu_nodes: bool = "cpu_nodes", flag(), default false;
    }
}

impl Inference {
    /// Where the backbone runs.
    pub fn placement(&self) -> Placement {
        Placement {
            accelerator: self.accelerator,
            cpu_nodes: self.cpu_nodes,
        }
    }

    /// [`Inference::threads`], or the default for this machine.
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
        /// Longest time between two challenges.
        every: Duration = "every_hours", hours(0.01..=744.0), demanded "never";
    }
}

section! {
    /// `[plant]`: inputs and outputs are text, for tests and demonstrations without hardware.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Plant, read as PlantRead in "plant" {
        /// FIFO, unix datagram socket or plain file that receives every change of the outputs.
        outputs: PathBuf =
            "outputs", path("path of a FIFO, unix datagram socket or file"), demanded "none";
        /// Unix datagram socket that receives edges of the inputs; created by the program.
        inputs: PathBuf = "inputs", socket(), demanded "none";
    }
}

section! {
    /// `[supervisor]`: the process that holds the outputs.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Supervisor, read as SupervisorRead in "supervisor" {
        /// If the vision process is silent for this long, READY and PASS are switched off.
        lease: Duration = "lease_ms", ms(20.0..=5000.0), default 200;
        /// If a command is carried out later than this, or the supervisor itself runs later than
        /// this, it is an incident: the outputs are switched off and everything on the line is
        /// rejected.
        late: Duration = "late_ms", ms(5.0..=1000.0), default 40;
        /// Pause before the vision process is started again.
        restart: Duration = "restart_ms", ms(0.0..=60_000.0), default 200;
        /// Hardware watchdog; None: not used. The value "board" in the file means the one of the
        /// board profile.
        watchdog: PathBuf = "watchdog_device",
            device("a device node, or \"board\" for the board profile's"), optional "none";
    }
}

section! {
    /// `[metrics]`: metrics for Prometheus.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Metrics, read as MetricsRead in "metrics" {
        /// Address of the metrics page; None: there is no page.
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
        /// Path of the control socket; None: there is none.
        socket: PathBuf = "socket", socket(), optional "none";
    }
}
