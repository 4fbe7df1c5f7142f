//! The system's ssh, as a program. Keys, hosts and users are its business.

use std::io::Write;
use std::process::{Command, Stdio};
use thiserror::Error;

/// Options of every call. Nobody is asked for a password: several boards are asked at once. A board that
/// is silent for 30 s is given up, because a pulled cable ends no connection.
const OPTIONS: [&str; 4] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
];
/// ssh's own exit code for its own failures.
const SSH_FAILED: i32 = 255;

/// Why a board cannot be asked.
#[derive(Debug, Error)]
pub(crate) enum SshError {
    #[error("`{program}` cannot be run; is it installed?")]
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("{host}: no connection: {said}")]
    Connection { host: String, said: String },
    #[error("{host}: `{command}` ends with {code}: {said}")]
    Command {
        host: String,
        command: String,
        code: String,
        said: String,
    },
}

/// What a command on a board printed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The ssh program with its options.
#[derive(Clone, Debug)]
pub(crate) struct Ssh {
    pub(crate) program: String,
}

impl Ssh {
    /// Runs `command` there with `input` and waits for its end, whatever its exit code.
    pub(crate) fn ask(&self, host: &str, command: &str) -> Result<Answer, SshError> {
        self.send(host, command, &[])
    }

    /// As [`Ssh::ask`], and the command must succeed.
    pub(crate) fn run(&self, host: &str, command: &str, input: &[u8]) -> Result<Answer, SshError> {
        let answer = self.send(host, command, input)?;
        if answer.code == Some(0) {
            return Ok(answer);
        }
        Err(SshError::Command {
            host: host.into(),
            command: command.into(),
            code: answer
                .code
                .map_or("a signal".into(), |code| code.to_string()),
            said: answer.stderr.trim().into(),
        })
    }

    fn send(&self, host: &str, command: &str, input: &[u8]) -> Result<Answer, SshError> {
        let start = |source| SshError::Start {
            program: self.program.clone(),
            source,
        };
        let mut child = Command::new(&self.program)
            .args(OPTIONS.iter().flat_map(|option| ["-o", option]))
            .args(["-T", "--"])
            .args([host, command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A connection that breaks is seen by the exit code.
                let _ = stdin.map(|mut stdin| stdin.write_all(input));
            });
            child.wait_with_output()
        });
        let output = output.map_err(start)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = Answer {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        if answer.code == Some(SSH_FAILED) {
            return Err(SshError::Connection {
                host: host.into(),
                said: answer.stderr.trim().into(),
            });
        }
        Ok(answer)
    }
}
