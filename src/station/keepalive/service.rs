//! The connection to the service manager: datagrams to `$NOTIFY_SOCKET` (sd_notify(3)).

use super::{KeepaliveError, LONGEST_STATUS, Pace};
use crate::time::{Duration, Instant};
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A watchdog time above this is an error, microseconds: the kernel's clock does not reach it.
const LONGEST_WATCHDOG_US: u64 = u64::MAX / 1_000;

/// systemd, as the environment names it.
#[derive(Debug)]
pub(super) struct Service {
    socket: UnixDatagram,
    name: String,
    /// Set if systemd expects kicks.
    watchdog: Option<(Pace, Duration)>,
}

fn environment(name: &'static str, value: &OsString, expected: &'static str) -> KeepaliveError {
    KeepaliveError::Environment {
        name,
        value: value.to_string_lossy().chars().take(120).collect(),
        expected,
    }
}

impl Service {
    /// None if no socket is named.
    pub(super) fn from_environment(
        variable: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, KeepaliveError> {
        let Some(path) = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let fail = |_| environment("NOTIFY_SOCKET", &path, "unix socket");
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).map_err(fail)?,
            [b'/', ..] => SocketAddr::from_pathname(&path).map_err(fail)?,
            _ => return Err(environment("NOTIFY_SOCKET", &path, "unix socket")),
        };
        let name = path.to_string_lossy().into_owned();
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(&address)?;
            Ok(socket)
        };
        let socket = connect().map_err(|source| KeepaliveError::Notify {
            socket: name.clone(),
            source,
        })?;
        let watchdog = watchdog_time(variable)?.map(|timeout| (Pace::new(timeout), timeout));
        Ok(Some(Self {
            socket,
            name,
            watchdog,
        }))
    }

    pub(super) fn watches(&self) -> bool {
        self.watchdog.is_some()
    }

    pub(super) fn describe(&self) -> String {
        match self.watchdog {
            Some((_, timeout)) => {
                format!("systemd restarts the service after {timeout:?} of silence")
            }
            None => "systemd is notified, and sets no watchdog time".into(),
        }
    }

    /// Sends `what`, each entry with a line break at its end, and a status.
    pub(super) fn tell(&self, what: &str, status: &str) -> Result<(), KeepaliveError> {
        let mut text = String::with_capacity(what.len() + LONGEST_STATUS + 16);
        text.push_str(what);
        text.push_str("STATUS=");
        for letter in status.chars() {
            if text.len() - what.len() + letter.len_utf8() > LONGEST_STATUS {
                break;
            }
            // A line break would begin a second message.
            text.push(if letter.is_control() { ' ' } else { letter });
        }
        self.send(text.as_bytes())
    }

    pub(super) fn kick(&mut self, now: Instant) -> Result<(), KeepaliveError> {
        let due = match &mut self.watchdog {
            Some((pace, _)) => pace.due(now),
            None => false,
        };
        if due {
            self.send(b"WATCHDOG=1")
        } else {
            Ok(())
        }
    }

    /// The next kick may come as late as `at_most` from now (systemd 233 or later; an older one
    /// ignores it).
    pub(super) fn wait(&self, at_most: Duration) -> Result<(), KeepaliveError> {
        match self.watchdog {
            Some((_, usual)) => {
                let us = at_most.max(usual).as_micros();
                self.send(format!("WATCHDOG_USEC={us}\nWATCHDOG=1").as_bytes())
            }
            None => Ok(()),
        }
    }

    /// Ends the longer time of [`Service::wait`].
    pub(super) fn wait_as_usual(&self) -> Result<(), KeepaliveError> {
        self.wait(Duration::ZERO)
    }

    fn send(&self, text: &[u8]) -> Result<(), KeepaliveError> {
        match self.socket.send(text) {
            Ok(_) => Ok(()),
            Err(source) => Err(KeepaliveError::Notify {
                socket: self.name.clone(),
                source,
            }),
        }
    }
}

/// The time that systemd waits for a kick. `WATCHDOG_PID` names the process that systemd started: the
/// supervisor, which is this process's parent, or this process itself.
fn watchdog_time(
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Duration>, KeepaliveError> {
    let number = |name: &'static str| -> Result<Option<u64>, KeepaliveError> {
        let Some(text) = variable(name) else {
            return Ok(None);
        };
        let number = text.to_str().and_then(|text| text.parse().ok());
        number
            .map(Some)
            .ok_or_else(|| environment(name, &text, "number"))
    };
    let own = u64::from(std::process::id());
    let parent = u64::from(std::os::unix::process::parent_id());
    if number("WATCHDOG_PID")?.is_some_and(|pid| pid != own && pid != parent) {
        return Ok(None);
    }
    match number("WATCHDOG_USEC")? {
        None | Some(0) => Ok(None),
        Some(us) if us > LONGEST_WATCHDOG_US => Ok(None),
        Some(us) => Ok(Some(Duration::from_micros(us))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keepalive;
    use super::*;
    use std::path::Path;

    fn named<'a>(
        socket: &'a str,
        rest: &'a [(&'a str, String)],
    ) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| {
            if name == "NOTIFY_SOCKET" {
                return Some(socket.into());
            }
            let found = rest.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        }
    }

    fn received(socket: &UnixDatagram) -> Option<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    #[test]
    fn a_service_hears_of_start_kicks_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let variables = [
            ("WATCHDOG_USEC", "400000".to_owned()),
            ("WATCHDOG_PID", std::process::id().to_string()),
        ];
        let mut alive = Keepalive::with(named(path.to_str().unwrap(), &variables), None).unwrap();
        assert!(alive.watched());
        assert!(alive.describe().contains("400ms"), "{}", alive.describe());
        let start = Instant::from_millis(100);
        alive.loading(Duration::from_secs(30), start).unwrap();
        assert_eq!(
            received(&systemd).unwrap(),
            "WATCHDOG_USEC=30000000\nWATCHDOG=1"
        );
        assert_eq!(received(&systemd).unwrap(), "WATCHDOG=1");
        alive.serving("lid.pgp, 30 frames per second").unwrap();
        assert_eq!(
            received(&systemd).unwrap(),
            "WATCHDOG_USEC=400000\nWATCHDOG=1"
        );
        assert_eq!(
            received(&systemd).unwrap(),
            "READY=1\nSTATUS=lid.pgp, 30 frames per second"
        );
        for ms in 0..250 {
            alive.kick(Instant::from_millis(1000 + ms)).unwrap();
        }
        let kicks = std::iter::from_fn(|| received(&systemd)).collect::<Vec<String>>();
        assert_eq!(kicks, ["WATCHDOG=1"; 3]);
        alive.status("two\nlines").unwrap();
        assert_eq!(received(&systemd).unwrap(), "STATUS=two lines");
        alive.end().unwrap();
        assert_eq!(received(&systemd), None);
    }

    #[test]
    fn abstract_sockets_are_reached_too() {
        let name = format!("partgate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let alive = Keepalive::with(named(&format!("@{name}"), &[]), None).unwrap();
        assert!(!alive.watched(), "no WATCHDOG_USEC");
        alive.serving("here").unwrap();
        assert_eq!(received(&systemd).unwrap(), "READY=1\nSTATUS=here");
    }

    #[test]
    fn a_watchdog_meant_for_another_process_is_not_kicked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _systemd = UnixDatagram::bind(&path).unwrap();
        let socket = path.to_str().unwrap();
        let watched = |pid: u32| {
            let variables = [
                ("WATCHDOG_USEC", "400000".to_owned()),
                ("WATCHDOG_PID", pid.to_string()),
            ];
            Keepalive::with(named(socket, &variables), None)
                .unwrap()
                .watched()
        };
        assert!(watched(std::process::id()));
        assert!(watched(std::os::unix::process::parent_id()), "supervised");
        assert!(!watched(u32::MAX));
    }

    #[test]
    fn a_systemd_that_is_gone_is_an_error_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = path.to_str().unwrap();
        let error = Keepalive::with(named(socket, &[]), None).unwrap_err();
        assert!(error.to_string().contains(socket), "{error}");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let variables = [("WATCHDOG_USEC", "4000".to_owned())];
        let mut alive = Keepalive::with(named(socket, &variables), None).unwrap();
        // Nobody reads: the socket's queue fills up, and kicks fail instead of waiting.
        let failed = (0..100_000u64).find_map(|ms| alive.kick(Instant::from_millis(ms)).err());
        assert!(failed.is_some());
        drop(systemd);
        assert!(alive.kick(Instant::from_millis(200_000)).is_err());
        // Not due: nothing is sent.
        alive.kick(Instant::from_millis(200_000)).unwrap();
    }

    #[test]
    fn variables_that_hold_nonsense_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _systemd = UnixDatagram::bind(&path).unwrap();
        for (socket, variables, name) in [
            ("vsock:2:1234", vec![], "NOTIFY_SOCKET"),
            (
                path.to_str().unwrap(),
                vec![("WATCHDOG_USEC", "soon".to_owned())],
                "WATCHDOG_USEC",
            ),
            (
                path.to_str().unwrap(),
                vec![("WATCHDOG_PID", "-1".to_owned())],
                "WATCHDOG_PID",
            ),
        ] {
            let error = Keepalive::with(named(socket, &variables), None).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let long = format!("/{}", "x".repeat(500));
        assert!(Keepalive::with(named(&long, &[]), None).is_err());
        assert!(
            Keepalive::with(named("", &[]), None).is_ok(),
            "empty is unset"
        );
    }

    #[test]
    fn a_status_is_cut_between_letters() {
        let folder = tempfile::tempdir().unwrap();
        let path: &Path = &folder.path().join("notify");
        let systemd = UnixDatagram::bind(path).unwrap();
        let alive = Keepalive::with(named(path.to_str().unwrap(), &[]), None).unwrap();
        alive.status(&"\u{fc}".repeat(1000)).unwrap();
        let text = received(&systemd).unwrap();
        assert!(text.len() <= LONGEST_STATUS && text.len() > LONGEST_STATUS - 4);
        assert!(text.ends_with('\u{fc}'));
    }
}
