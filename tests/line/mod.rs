//! A plant around a real `partgate run`: it receives every change of the outputs, lets parts pass
//! the sensor, and reads what the program prints.

// Each test crate uses only some of this.
#![allow(dead_code)]

use super::command::program;
use partgate::clock;
use partgate::config::LineConfig;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for an event that must come: builds and other tests share this machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const MS: u64 = 1_000_000;

/// Text of a line's alarm file before its first start, as after an acknowledgement.
pub(crate) const NO_ALARM_STANDS: &str = "No alarm stands.\n";

/// An output took a level, by the clock of the process that set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) output: String,
    pub(crate) on: bool,
}

/// The changes that the plant has received so far.
type Changes = Arc<Mutex<Vec<Change>>>;

/// A folder with a configuration and the plant's ends of all inputs and outputs. One at a time in a
/// test program: lines run in real time and would slow each other down.
pub(crate) struct Plant {
    pub(crate) folder: tempfile::TempDir,
    changes: Changes,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl Plant {
    /// A plant whose line is configured by `config` and by the sections that every line here has:
    /// `lines`, `record`, `control` and `plant`.
    pub(crate) fn new(config: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("temporary folder");
        let outputs = folder.path().join("outputs");
        mknodat(CWD, &outputs, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("FIFO");
        let (changes, stop) = (Changes::default(), Arc::new(AtomicBool::new(false)));
        let listener = {
            let (changes, stop) = (changes.clone(), stop.clone());
            // Open for writing too: then there is a reader, and no end of file, whether a process
            // writes or not.
            let fifo = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(&outputs)
                .expect("FIFO");
            std::thread::spawn(move || listen(fifo, &changes, &stop))
        };
        let plant = Self {
            folder,
            changes,
            stop,
            listener: Some(listener),
            _alone: alone,
        };
        let trigger = if config.contains("kind = \"gpio\"") {
            "trigger = \"line trigger\"\n"
        } else if config.contains("kind = \"encoder\"") {
            "encoder = \"line encoder\"\n"
        } else {
            ""
        };
        let common = "acknowledge = \"line acknowledge\"\n\
            ready = \"line ready\"\npass = \"line pass\"\nreject = \"line reject\"\n\
            fault = \"line fault\"\nrecord_lost = \"line record_lost\"\n[control]\nsocket = \"control.sock\"\n\
            [plant]\noutputs = \"outputs\"\ninputs = \"inputs.sock\"\n";
        let record = if config.contains("[record]") {
            ""
        } else {
            "[record]\nfolder = \"record\"\nmin_free_mib = 0\n"
        };
        let trust = if config.contains("[trust]") {
            ""
        } else {
            "[trust]\nallow_unsigned = true\n"
        };
        let whole = format!("{config}\n[lines]\n{trigger}{common}{record}{trust}");
        std::fs::write(plant.at("line.toml"), whole).expect("configuration");
        // Not a line's first start, which would wait for an acknowledgement.
        std::fs::create_dir_all(plant.at("record")).expect("folder");
        std::fs::write(plant.at("record/alarm"), NO_ALARM_STANDS).expect("alarm file");
        plant
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every change so far.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.changes.lock().expect("listener").clone()
    }

    /// Waits until `output` becomes `on` after `from`; returns the time.
    pub(crate) fn await_change(&self, output: &str, on: bool, from: u64) -> u64 {
        let started = Instant::now();
        loop {
            if let Some(at) =
                change_after(&self.changes.lock().expect("listener"), output, on, from)
            {
                return at;
            }
            if started.elapsed() > PATIENCE {
                let changes = self.changes();
                let last = &changes[changes.len().saturating_sub(30)..];
                panic!("{output} never became {on} after {from}; last: {last:#?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts `partgate run`; its standard error goes to `said.txt`.
    pub(crate) fn start(&self) -> Running<'_> {
        self.start_by(&[])
    }

    /// The same; `starter` is the beginning of the command, for example `nohup`.
    pub(crate) fn start_by(&self, starter: &[&str]) -> Running<'_> {
        LineConfig::open(&self.at("line.toml")).expect("a configuration");
        let printed = File::options()
            .append(true)
            .create(true)
            .open(self.at("said.txt"))
            .expect("file");
        let mut command = program(&["run", "line.toml", "-v"]);
        if let [starter, arguments @ ..] = starter {
            let line = command;
            command = Command::new(starter);
            command.args(arguments).arg(line.get_program());
            command.args(line.get_args()).env_remove("RUST_LOG");
        }
        let child = command
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(printed)
            .spawn()
            .expect("the program runs");
        Running { plant: self, child }
    }

    /// Sends the line an edge of `input` at `at`. False if no process listens.
    pub(crate) fn edge(&self, input: &str, at: u64) -> bool {
        let socket = UnixDatagram::unbound().expect("socket");
        let text = format!("{at} {input}");
        socket
            .send_to(text.as_bytes(), self.at("inputs.sock"))
            .is_ok()
    }

    /// A part is at the sensor now: sends the trigger and returns its time.
    pub(crate) fn trigger(&self) -> u64 {
        let at = clock::now().0;
        self.edge("trigger", at);
        at
    }

    /// What both processes printed on standard error.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(self.at("said.txt")).unwrap_or_default()
    }

    /// Entries of the event log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let record = self.at("record");
        super::command::partgate(&["log", record.to_str().expect("UTF-8"), "--json"])
            .exits(0)
            .lines()
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        if std::thread::panicking() {
            eprintln!("--- what the line printed:\n{}", self.printed());
        }
    }
}

fn listen(fifo: File, changes: &Changes, stop: &AtomicBool) {
    let mut lines = BufReader::new(fifo);
    let mut text = String::new();
    while !stop.load(Ordering::Relaxed) {
        match lines.read_line(&mut text) {
            Ok(_) if text.ends_with('\n') => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                let [at, output, level] = words[..] else {
                    panic!("not a change: {text:?}");
                };
                let change = Change {
                    at: at.parse().expect("a time"),
                    output: output.to_string(),
                    on: level == "1",
                };
                put_in_its_place(&mut changes.lock().expect("tests"), change);
                text.clear();
            }
            Ok(_) => std::thread::sleep(Duration::from_micros(500)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_micros(500));
            }
            Err(e) => panic!("outputs: {e}"),
        }
    }
}

/// Two processes write, each in its own order. The changes are sorted by time, and only those that
/// change the output's level are kept.
fn put_in_its_place(changes: &mut Vec<Change>, change: Change) {
    let place = changes.iter().rposition(|c| c.at <= change.at);
    let place = place.map_or(0, |before| before + 1);
    let same = |c: &&Change| c.output == change.output;
    let before = changes[..place].iter().rev().find(same);
    if before.is_some_and(|c| c.on == change.on) {
        return;
    }
    let after = changes[place..]
        .iter()
        .position(|c| c.output == change.output);
    if let Some(after) = after.map(|after| place + after)
        && changes[after].on == change.on
    {
        changes.remove(after);
    }
    changes.insert(place, change);
}

/// The time when `output` first became `on` after `from`.
pub(crate) fn change_after(changes: &[Change], output: &str, on: bool, from: u64) -> Option<u64> {
    let after = changes.partition_point(|c| c.at <= from);
    let mut changes = changes[after..].iter().filter(|c| c.output == output);
    changes.find(|c| c.on == on).map(|c| c.at)
}

/// The level of `output` at `at`; off if nothing was received yet.
pub(crate) fn level_at(changes: &[Change], output: &str, at: u64) -> bool {
    let after = changes.partition_point(|c| c.at <= at);
    let before = changes[..after].iter().rev().find(|c| c.output == output);
    before.is_some_and(|c| c.on)
}

/// Whether `output` was on at any instant of `from..=to`.
pub(crate) fn on_between(changes: &[Change], output: &str, from: u64, to: u64) -> bool {
    level_at(changes, output, from)
        || change_after(changes, output, true, from).is_some_and(|at| at <= to)
}

/// A running `partgate run`. Killed when dropped.
pub(crate) struct Running<'a> {
    pub(crate) plant: &'a Plant,
    pub(crate) child: Child,
}

impl Running<'_> {
    /// The supervisor's process.
    pub(crate) fn supervisor(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The vision process, if one lives now.
    pub(crate) fn vision(&self) -> Option<Pid> {
        children_of(self.supervisor()).first().copied()
    }

    /// Waits for a vision process other than `not`.
    pub(crate) fn await_vision(&self, not: Option<Pid>) -> Pid {
        let started = Instant::now();
        loop {
            if let Some(pid) = self.vision().filter(|p| Some(*p) != not) {
                return pid;
            }
            assert!(started.elapsed() < PATIENCE, "no vision process");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the first READY of a plant.
    pub(crate) fn await_ready(&self) -> u64 {
        self.plant.await_change("ready", true, 0)
    }

    /// Waits for the first READY of a plant, and until the parts that were on the belt before it
    /// are rejected.
    pub(crate) fn await_clear(&self) {
        let ready = self.await_ready();
        self.plant.await_change("reject", false, ready);
    }

    /// One command to the control socket.
    pub(crate) fn ask(&self, word: &str) -> Value {
        let socket = self.plant.at("control.sock");
        let answer = partgate::station::ask(&socket, word).expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Waits until `field` of the status satisfies `good`.
    pub(crate) fn await_status(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.ask("status");
            if good(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: {status:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.supervisor(), signal).expect("signal");
    }

    /// Waits for the end.
    pub(crate) fn await_end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it as a service manager does, and asserts that it ended without an error.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.await_end();
        assert!(status.success(), "{status}");
        assert!(!self.plant.printed().contains("panicked"));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let vision = self.vision();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(vision) = vision {
            let _ = kill_process(vision, Signal::KILL);
        }
    }
}

/// Processes whose parent is `parent`.
pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid: i32 = name.to_str()?.parse().ok()?;
            let (state, its_parent) = state_and_parent(pid)?;
            (its_parent == parent && state != 'Z').then_some(())?;
            Pid::from_raw(pid)
        })
        .collect()
}

/// Whether `pid` is a process that has not ended.
pub(crate) fn lives(pid: Pid) -> bool {
    state_and_parent(pid.as_raw_nonzero().get()).is_some_and(|(state, _)| state != 'Z')
}

fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let stat = stat.ok()?;
    // The name in brackets can have any character.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

/// The value below which `percent` of `values` lie.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted
        .get(at.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}
