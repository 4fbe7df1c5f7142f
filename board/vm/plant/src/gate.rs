//! The program under test, as processes.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Path of the program in the test machine.
pub const PROGRAM: &str = "/bin/partgate";

/// `partgate run`: the supervisor, which starts the vision process.
pub struct Gate {
    supervisor: Child,
}

fn echo(stream: impl Read + Send + 'static) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            println!("        | {line}");
        }
    });
}

/// The parent of a process, from /proc; None if the process does not exist or is a zombie.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "98 (partgate) S 97 ...": the name can hold any characters, so the fields are counted from
    // its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| state != "Z")
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

impl Gate {
    /// Starts the program; its output goes to the console.
    pub fn start(config: &str) -> Result<Self> {
        let mut supervisor = Command::new(PROGRAM)
            .args(["run", "-v", config])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::new(e.kind(), format!("{PROGRAM}: {e}")))?;
        if let Some(stream) = supervisor.stdout.take() {
            echo(stream);
        }
        if let Some(stream) = supervisor.stderr.take() {
            echo(stream);
        }
        Ok(Self { supervisor })
    }

    /// The vision process, a child of the supervisor.
    pub fn vision(&self) -> Option<i32> {
        let supervisor = self.supervisor.id() as i32;
        processes()
            .into_iter()
            .find(|&pid| parent(pid) == Some(supervisor))
    }

    /// Answer of the control socket to `status`.
    pub fn status(config: &str) -> Result<serde_json::Value> {
        let output = Command::new(PROGRAM)
            .args(["tell", config, "status"])
            .stderr(Stdio::inherit())
            .output()?;
        serde_json::from_slice(&output.stdout).map_err(Error::other)
    }

    /// Sends a signal to the vision process. Returns its process number.
    pub fn signal_vision(&self, signal: Signal) -> Result<i32> {
        let gone = || Error::new(ErrorKind::NotFound, "partgate run has no vision process");
        let pid = self.vision().ok_or_else(gone)?;
        kill_process(Pid::from_raw(pid).ok_or_else(gone)?, signal)?;
        Ok(pid)
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.supervisor), signal)?)
    }

    /// Waits until the supervisor has ended.
    pub fn ended(&mut self, at_most: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + at_most;
        loop {
            let status = self.supervisor.try_wait()?;
            if status.is_some() || Instant::now() > until {
                return Ok(status);
            }
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// Whether the process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    parent(pid).is_some()
}

/// All metrics that are not 0, without the buckets of histograms.
pub fn metrics() -> Result<Vec<String>> {
    let wait = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], 9464).into(), wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: line\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(body
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains("_bucket"))
        .filter(|line| !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect())
}
