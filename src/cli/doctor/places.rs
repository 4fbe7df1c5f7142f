//! Checks of the record folder, the metrics port and the control socket.

use super::finding::{Finding, Findings};
use partgate::config::{LineConfig, Record};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn check(root: &Path, config: &LineConfig, findings: &mut Findings) {
    let record = &config.record;
    if let Some(finding) = sandbox(root, &record.folder) {
        findings.push(finding);
    }
    match std::fs::metadata(&record.folder) {
        Ok(about) if about.is_dir() => {
            findings.push(writing(&record.folder));
            findings.push(room(record));
        }
        Ok(_) => findings.push(Finding::failed(
            "record folder",
            format!("{} is not a folder", record.folder.display()),
            "move the file away, or set record.folder to a folder",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            findings.push(absent(&record.folder));
        }
        Err(error) => findings.push(Finding::failed(
            "record folder",
            format!("{}: {error}", record.folder.display()),
            "may this user enter the folders above it?",
        )),
    }
    findings.push(match config.metrics.listen {
        Some(address) => metrics(address),
        None => Finding::not_checked("metrics port", "metrics.listen is not set"),
    });
    findings.push(match &config.control.socket {
        Some(path) => control(path),
        None => Finding::not_checked("control socket", "control.socket is not set"),
    });
}

/// The packaged service can write only in its own folders. This program, run by a person, can
/// write elsewhere and would not notice.
fn sandbox(root: &Path, folder: &Path) -> Option<Finding> {
    const OWN: [&str; 2] = ["/var/lib/partgate", "/run/partgate"];
    const UNIT: &str = "partgate.service";
    let folder = std::path::absolute(folder).ok()?;
    let real = folder.canonicalize().unwrap_or(folder);
    let systems = [
        "usr/lib/systemd/system",
        "lib/systemd/system",
        "etc/systemd/system",
    ];
    let units = systems.map(|at| root.join(at).join(UNIT));
    let unit = units.into_iter().find(|unit| unit.is_file())?;
    let drop_ins = root.join("etc/systemd/system").join(format!("{UNIT}.d"));
    let drop_ins = std::fs::read_dir(drop_ins).into_iter().flatten().flatten();
    let files = std::iter::once(unit).chain(drop_ins.map(|entry| entry.path()));
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    let more: Vec<String> = texts
        .flat_map(|text| {
            let lines = text
                .lines()
                .filter_map(|l| l.trim().strip_prefix("ReadWritePaths="));
            let paths = lines.flat_map(str::split_ascii_whitespace);
            let paths = paths.map(|p| p.trim_start_matches(['-', '+']).to_string());
            paths.collect::<Vec<_>>()
        })
        .collect();
    let mut allowed = OWN.into_iter().chain(more.iter().map(String::as_str));
    if allowed.any(|path| real.starts_with(path)) {
        return None;
    }
    let shown = real.display();
    Some(Finding::warning(
        "record folder",
        format!("{shown}: the packaged service cannot write there, even if this user can"),
        format!("`systemctl edit partgate`: [Service] ReadWritePaths={shown}"),
    ))
}

/// The nearest existing folder above `path`.
fn nearest_folder(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|folder| folder.is_dir());
    match above {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn may_write(folder: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

fn absent(folder: &Path) -> Finding {
    let above = nearest_folder(folder);
    let (folder, shown) = (folder.display(), above.display());
    if may_write(&above) {
        Finding::warning(
            "record folder",
            format!("{folder} is not there yet; it would be made in {shown}"),
            "make it on the disk that is meant for it, and run `partgate doctor` again",
        )
    } else {
        Finding::failed(
            "record folder",
            format!("{folder} is not there, and this user cannot make it in {shown}"),
            format!(
                "`sudo install -d -o \"$USER\" {folder}`, or run the packaged service, which makes it"
            ),
        )
    }
}

/// Writes, syncs and removes a file as large as a kept image.
fn writing(folder: &Path) -> Finding {
    const BYTES: usize = 1 << 20;
    let check = "record folder";
    let path = folder.join(format!(".partgate-doctor-{}", std::process::id()));
    let started = Instant::now();
    let written = std::fs::File::create_new(&path).and_then(|mut file| {
        file.write_all(&vec![0x5a; BYTES])?;
        file.sync_all()
    });
    let took = started.elapsed();
    let removed = std::fs::remove_file(&path);
    match written.and(removed) {
        Err(error) => Finding::failed(
            check,
            format!(
                "{}: a test file cannot be written: {error}",
                folder.display()
            ),
            format!(
                "is the disk full or read-only? may this user write? `ls -ld {}`",
                folder.display()
            ),
        ),
        Ok(()) => {
            let found = format!(
                "{}: 1 MiB written and synced in {:.1} ms",
                folder.display(),
                took.as_secs_f64() * 1e3
            );
            if took > Duration::from_secs(1) {
                Finding::warning(
                    check,
                    found,
                    "the disk is slow: images will be dropped, the gate does not wait for it",
                )
            } else {
                Finding::ok(check, found)
            }
        }
    }
}

/// Bytes under `folder`. Files that cannot be read do not count. It stops after a number of files,
/// because a record can hold very many images.
fn used(folder: &Path) -> u64 {
    const MOST: usize = 200_000;
    let (mut bytes, mut seen) = (0u64, 0);
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            match entry.metadata() {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => bytes = bytes.saturating_add(about.len()),
                Err(_) => {}
            }
            if seen >= MOST {
                return bytes;
            }
        }
    }
    bytes
}

fn room(record: &Record) -> Finding {
    let check = "disk room";
    let system = match rustix::fs::statvfs(&record.folder) {
        Ok(system) => system,
        Err(error) => {
            let why = format!("{}: {error}", record.folder.display());
            return Finding::not_checked(check, why);
        }
    };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    enough(record, free, used(&record.folder))
}

fn enough(record: &Record, free: u64, used: u64) -> Finding {
    let check = "disk room";
    let logs = record.log_max.saturating_mul(u64::from(record.log_keep));
    let wanted = logs.saturating_add(record.images_quota);
    let still = wanted.saturating_sub(used).saturating_add(record.min_free);
    let found = format!(
        "{} MiB free, {} MiB used by the record of {} MiB at most",
        free >> 20,
        used >> 20,
        wanted >> 20
    );
    if free < record.min_free {
        Finding::warning(
            check,
            format!(
                "{found}: below record.min_free_mib = {}, so no images are kept",
                record.min_free >> 20
            ),
            "make room, or lower record.min_free_mib",
        )
    } else if free < still {
        Finding::warning(
            check,
            found,
            format!(
                "the record may still grow by {} MiB: lower record.images_quota_mib or record.log_keep, or make room",
                still.saturating_sub(record.min_free) >> 20
            ),
        )
    } else {
        Finding::ok(check, found)
    }
}

fn metrics(address: SocketAddr) -> Finding {
    let check = "metrics port";
    match TcpListener::bind(address) {
        Ok(_) if !address.ip().is_loopback() => Finding::warning(
            check,
            format!("{address} is free, and everybody on the network can read it"),
            "listen on 127.0.0.1 unless the network is the machine's own",
        ),
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && answers_as_partgate(address) => {
            Finding::ok(check, format!("{address} answers: a line is running"))
        }
        Err(error) => Finding::failed(
            check,
            format!("{address} cannot be used: {error}"),
            format!("`ss -ltnp` shows who has it; or set another metrics.listen than {address}"),
        ),
    }
}

/// Whether `address` answers with a page of this program's metrics.
fn answers_as_partgate(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        // A program that answers byte by byte is not waited for either.
        let until = Instant::now() + 2 * PATIENCE;
        let (mut answer, mut some) = (Vec::new(), [0; 4096]);
        while answer.len() < 1 << 16 && Instant::now() < until {
            match stream.read(&mut some) {
                Ok(count @ 1..) => answer.extend_from_slice(&some[..count]),
                _ => break,
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer.contains("partgate_"))
}

/// Whether a program listens at `path`. Does not wait: a listener with a full queue counts.
fn listens(path: &Path) -> std::io::Result<()> {
    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn control(path: &Path) -> Finding {
    let check = "control socket";
    let shown = path.display();
    match listens(path) {
        Ok(()) => Finding::ok(check, format!("{shown} answers: a line is running")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Finding::ok(
            check,
            format!("{shown} is left over from a process that ended; it will be replaced"),
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = nearest_folder(path);
            if folder != path.parent().unwrap_or(Path::new("")) {
                Finding::warning(
                    check,
                    format!("the folder of {shown} is not there"),
                    "the packaged service makes /run/partgate; elsewhere make it before the line starts",
                )
            } else if may_write(&folder) {
                Finding::ok(check, format!("{shown} is free"))
            } else {
                Finding::failed(
                    check,
                    format!("{shown}: this user cannot make it"),
                    format!("may this user write into {}?", folder.display()),
                )
            }
        }
        Err(error) => Finding::failed(
            check,
            format!("{shown}: {error}"),
            "is it another program's file? set control.socket to a path of its own",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use std::os::unix::net::UnixListener;

    fn record(folder: &Path) -> Record {
        Record {
            folder: folder.to_path_buf(),
            log_max: 1 << 20,
            log_keep: 4,
            images_quota: 100 << 20,
            ok_sample_percent: 1.0,
            min_free: 50 << 20,
            required: false,
        }
    }

    #[test]
    fn room_counts_what_the_record_has_already() {
        let record = record(Path::new("."));
        let mib = |n: u64| n << 20;
        // 104 MiB of record, and 50 MiB that must stay free.
        assert_eq!(enough(&record, mib(154), 0).state, State::Ok);
        assert_eq!(enough(&record, mib(153), 0).state, State::Warning);
        assert_eq!(enough(&record, mib(54), mib(100)).state, State::Ok);
        let finding = enough(&record, mib(49), mib(104));
        assert!(
            finding.found.contains("no images are kept"),
            "{}",
            finding.found
        );
    }

    #[test]
    fn a_folder_is_written_to_and_left_clean() {
        let dir = tempfile::tempdir().expect("folder");
        assert_eq!(writing(dir.path()).state, State::Ok);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
        let gone = dir.path().join("gone");
        assert_eq!(writing(&gone).state, State::Failed);
        assert_eq!(absent(&gone.join("deeper")).state, State::Warning);
        std::fs::write(dir.path().join("a"), [0; 1000]).expect("write");
        std::fs::create_dir(&gone).expect("folder");
        std::fs::write(gone.join("b"), [0; 24]).expect("write");
        assert_eq!(used(dir.path()), 1024);
    }

    #[test]
    fn a_record_outside_the_services_sandbox_is_reported() {
        let root = tempfile::tempdir().expect("folder");
        let folder = Path::new("/data/record");
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let fix_of = |folder| sandbox(root.path(), Path::new(folder)).map(|f| f.fix);
        // Without the package there is no restriction.
        assert_eq!(fix_of("/data/record"), None);
        write(
            "lib/systemd/system/partgate.service",
            include_str!("../../../board/systemd/partgate.service"),
        );
        let fix = fix_of("/data/record").flatten().expect("reported");
        assert!(fix.contains("ReadWritePaths=/data/record"), "{fix}");
        assert_eq!(fix_of("/var/lib/partgate/record"), None);
        let drop_in = "[Service]\nReadWritePaths=/data/other -/data\n";
        write(
            "etc/systemd/system/partgate.service.d/override.conf",
            drop_in,
        );
        assert!(sandbox(root.path(), folder).is_none());
        assert!(fix_of("/database").is_some());
    }

    #[test]
    fn a_port_that_somebody_else_has_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        assert_eq!(metrics(address).state, State::Failed);
        drop(listener);
        assert_eq!(metrics(address).state, State::Ok);
    }

    #[test]
    fn the_running_line_is_told_from_another_program() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut question = [0; 64];
            let _ = stream.read(&mut question);
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\npartgate_parts_total 3\n")
                .expect("answer");
        });
        assert_eq!(metrics(address).state, State::Ok);
        server.join().expect("served");
    }

    #[test]
    fn sockets_are_free_taken_or_left_over() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("control.sock");
        assert!(control(&path).found.contains("is free"));
        let listener = UnixListener::bind(&path).expect("socket");
        assert!(control(&path).found.contains("running"));
        drop(listener);
        assert!(control(&path).found.contains("left over"));
        let astray = dir.path().join("no/control.sock");
        assert_eq!(control(&astray).state, State::Warning);
    }
}
