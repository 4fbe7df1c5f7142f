//! A plant round a real `partgate run`: hears every change of its output lines, lets parts pass its
//! sensor, and reads what the program says.

// Each test crate uses its own part of this.
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
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything that is bound to come: builds and other tests share this machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const MS: u64 = 1_000_000;

/// What a line's alarm file says before its first start, as after an acknowledgement.
pub(crate) const NO_ALARM_STANDS: &str = "No alarm stands.\n";

/// An output line took a level, by the clock of the process that set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) line: String,
    pub(crate) on: bool,
}

/// What the plant has heard so far.
type Heard = Arc<Mutex<Vec<Change>>>;

/// A folder with a configuration and the plant's ends of all lines. One at a time in a test program:
/// they run in real time, and would take each other's.
pub(crate) struct Plant {
    pub(crate) folder: tempfile::TempDir,
    heard: Heard,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl Plant {
    /// A plant whose line is configured by `config`, besides what every line here has: the sections
    /// `lines`, `record`, `control` and `plant`.
    pub(crate) fn new(config: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("temporary folder");
        let outputs = folder.path().join("outputs");
        mknodat(CWD, &outputs, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("FIFO");
        let (heard, stop) = (Heard::default(), Arc::new(AtomicBool::new(false)));
        let listener = {
            let (heard, stop) = (heard.clone(), stop.clone());
            // Open for writing too: then there is a reader, and no end, whoever writes or not.
            let fifo = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(&outputs)
                .expect("FIFO");
            std::thread::spawn(move || listen(fifo, &heard, &stop))
        };
        let plant = Self {
            folder,
            heard,
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
        let whole = format!("{config}\n[lines]\n{trigger}{common}{record}");
        std::fs::write(plant.at("line.toml"), whole).expect("configuration");
        // Not a line's first start, which would wait to be acknowledged.
        std::fs::create_dir_all(plant.at("record")).expect("folder");
        std::fs::write(plant.at("record/alarm"), NO_ALARM_STANDS).expect("alarm file");
        plant
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every change so far.
    pub(crate) fn heard(&self) -> Vec<Change> {
        self.heard.lock().expect("listener").clone()
    }

    /// Waits until `line` becomes `on` after `from`; when that was.
    pub(crate) fn await_change(&self, line: &str, on: bool, from: u64) -> u64 {
        let started = Instant::now();
        loop {
            if let Some(at) = change_after(&self.heard.lock().expect("listener"), line, on, from) {
                return at;
            }
            if started.elapsed() > PATIENCE {
                let heard = self.heard();
                let last = &heard[heard.len().saturating_sub(30)..];
                panic!("{line} never became {on} after {from}; last: {last:#?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts `partgate run`; what it says on standard error goes to `said.txt`.
    pub(crate) fn start(&self) -> Running<'_> {
        LineConfig::open(&self.at("line.toml")).expect("a configuration");
        let said = File::options()
            .append(true)
            .create(true)
            .open(self.at("said.txt"))
            .expect("file");
        let child = program(&["run", "line.toml", "-v"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("the program runs");
        Running { plant: self, child }
    }

    /// Tells the line's inputs of an edge at `at`. False where no process listens.
    pub(crate) fn edge(&self, input: &str, at: u64) -> bool {
        let socket = UnixDatagram::unbound().expect("socket");
        let text = format!("{at} {input}");
        socket
            .send_to(text.as_bytes(), self.at("inputs.sock"))
            .is_ok()
    }

    /// A part is at the sensor now: tells the line, and when it was.
    pub(crate) fn trigger(&self) -> u64 {
        let at = clock::now().0;
        self.edge("trigger", at);
        at
    }

    /// What both processes said.
    pub(crate) fn said(&self) -> String {
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
            eprintln!("--- what the line said:\n{}", self.said());
        }
    }
}

fn listen(fifo: File, heard: &Heard, stop: &AtomicBool) {
    let mut lines = BufReader::new(fifo);
    let mut text = String::new();
    while !stop.load(Ordering::Relaxed) {
        match lines.read_line(&mut text) {
            Ok(_) if text.ends_with('\n') => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                let [at, line, level] = words[..] else {
                    panic!("not a change: {text:?}");
                };
                let change = Change {
                    at: at.parse().expect("a time"),
                    line: line.to_string(),
                    on: level == "1",
                };
                put_in_its_place(&mut heard.lock().expect("tests"), change);
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

/// Two processes write, each in its own order: sorted by time, and only what changes the line's level
/// is kept.
fn put_in_its_place(heard: &mut Vec<Change>, change: Change) {
    let place = heard.iter().rposition(|c| c.at <= change.at);
    let place = place.map_or(0, |before| before + 1);
    let same = |c: &&Change| c.line == change.line;
    let before = heard[..place].iter().rev().find(same);
    if before.is_some_and(|c| c.on == change.on) {
        return;
    }
    let after = heard[place..].iter().position(|c| c.line == change.line);
    if let Some(after) = after.map(|after| place + after)
        && heard[after].on == change.on
    {
        heard.remove(after);
    }
    heard.insert(place, change);
}

/// When `line` first became `on` after `from`.
pub(crate) fn change_after(heard: &[Change], line: &str, on: bool, from: u64) -> Option<u64> {
    let after = heard.partition_point(|c| c.at <= from);
    let mut changes = heard[after..].iter().filter(|c| c.line == line);
    changes.find(|c| c.on == on).map(|c| c.at)
}

/// The level of `line` at `at`; off where nothing was heard yet.
pub(crate) fn level_at(heard: &[Change], line: &str, at: u64) -> bool {
    let after = heard.partition_point(|c| c.at <= at);
    let before = heard[..after].iter().rev().find(|c| c.line == line);
    before.is_some_and(|c| c.on)
}

/// Whether `line` was on at any instant of `from..=to`.
pub(crate) fn on_between(heard: &[Change], line: &str, from: u64, to: u64) -> bool {
    level_at(heard, line, from) || change_after(heard, line, true, from).is_some_and(|at| at <= to)
}

/// A running `partgate run`. Killed when dropped.
pub(crate) struct Running<'a> {
    pub(crate) plant: &'a Plant,
    pub(crate) child: Child,
}

impl Running<'_> {
    /// The process that holds the lines.
    pub(crate) fn supervisor(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The vision process, where one lives now.
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

    /// Waits for the first READY of a plant, and until what lay on the line before has been thrown
    /// out.
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

    /// Ends it as a service manager would, and asserts that it ended well.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.await_end();
        assert!(status.success(), "{status}");
        assert!(!self.plant.said().contains("panicked"));
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
    // The name in brackets may hold anything.
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
