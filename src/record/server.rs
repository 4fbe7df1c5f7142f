//! The metrics page: a small HTTP server for Prometheus and for programs that ask for READY.

use super::metrics::Metrics;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest head of a request, bytes.
const LONGEST: usize = 4_096;
/// Longest time that a connection stays open.
const AT_MOST: Duration = Duration::from_secs(2);
/// Connections at the same time.
const CONNECTIONS: usize = 4;
/// How often the server checks whether it must stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why there is no metrics page.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The server cannot listen on the address.
    #[error("metrics.listen {address}: cannot be listened on; is another program there?")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("metrics: no thread for the page")]
    Thread {
        /// The system's error.
        source: io::Error,
    },
}

/// Serves `GET /metrics` and `GET /healthz` until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens on `address`. Port 0 takes any free port.
    ///
    /// # Errors
    /// [`ServeError`], which names the address.
    pub fn start(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || serve(&listener, &metrics, &stopped))
            .map_err(|source| ServeError::Thread { source })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // The thread does not panic. If it did, nothing could be reported here.
            let _ = thread.join();
        }
    }
}

/// One of the allowed connections. Dropping it frees the place.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn serve(listener: &TcpListener, metrics: &Arc<Metrics>, stop: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    while !stop.load(SeqCst) {
        let mut waiting = [rustix::event::PollFd::new(
            listener,
            rustix::event::PollFlags::IN,
        )];
        let patience = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: LOOK_EVERY.as_nanos() as _,
        };
        // The result is not needed: `accept` reports what happened. An interrupted wait is only
        // shorter.
        let _ = rustix::event::poll(&mut waiting, Some(&patience));
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => {
                // For example, no descriptor is free. The request stays in the queue.
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
        };
        open.fetch_add(1, SeqCst);
        let place = Place(Arc::clone(&open));
        if open.load(SeqCst) > CONNECTIONS {
            let _ = stream.set_nonblocking(true);
            let _ = respond(&stream, &Response::plain(503, "too many connections\n"));
            continue;
        }
        let metrics = Arc::clone(metrics);
        let work = move || {
            let _place = place;
            // If the client left or was too slow, no answer is needed.
            let _ = answer(&stream, &metrics);
        };
        let started = std::thread::Builder::new()
            .name("metrics-answer".into())
            .spawn(work);
        if let Err(error) = started {
            ::log::warn!("metrics: no thread for an answer: {error}");
        }
    }
}

struct Response {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Response {
    fn plain(status: u16, body: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

fn answer(stream: &TcpStream, metrics: &Metrics) -> io::Result<()> {
    let until = Instant::now() + AT_MOST;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(AT_MOST))?;
    let response = match read_head(stream, until)? {
        Ok(head) => route(&head, metrics),
        Err(response) => response,
    };
    respond(stream, &response)?;
    stream.shutdown(Shutdown::Write)?;
    // If unread bytes stay, the system discards the answer.
    let mut rest = [0; 1_024];
    for _ in 0..16 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left.min(LOOK_EVERY)))?;
        if (&*stream).read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// The bytes up to the empty line, or the response for a request that is not whole.
fn read_head(mut stream: &TcpStream, until: Instant) -> io::Result<Result<Vec<u8>, Response>> {
    let mut head = Vec::with_capacity(LONGEST);
    let mut some = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err(Response::plain(408, "too slow\n")));
        }
        stream.set_read_timeout(Some(left))?;
        let got = match stream.read(&mut some) {
            Ok(0) => return Ok(Err(Response::plain(400, "not a whole request\n"))),
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(Err(Response::plain(408, "too slow\n")));
            }
            Err(e) => return Err(e),
        };
        head.extend_from_slice(&some[..got]);
        if head.windows(4).any(|w| w == b"\r\n\r\n") {
            return Ok(Ok(head));
        }
        if head.len() > LONGEST {
            return Ok(Err(Response::plain(431, "the request is too long\n")));
        }
    }
}

fn route(head: &[u8], metrics: &Metrics) -> Response {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let words = std::str::from_utf8(line).map(|l| l.split(' ').collect::<Vec<_>>());
    let Ok([method, target, version]) = words.as_deref() else {
        return Response::plain(400, "not an HTTP request\n");
    };
    if !version.starts_with("HTTP/1.") || method.is_empty() || !target.starts_with('/') {
        return Response::plain(400, "not an HTTP/1 request\n");
    }
    let path = target.split('?').next().unwrap_or_default();
    match (path, *method) {
        ("/metrics", "GET") => Response {
            status: 200,
            kind: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics.page(),
        },
        ("/healthz", "GET") if metrics.ready() => Response::plain(200, "ready\n"),
        ("/healthz", "GET") => Response::plain(503, "not ready\n"),
        ("/metrics" | "/healthz", _) => Response::plain(405, "only GET\n"),
        _ => Response::plain(404, "here are /metrics and /healthz\n"),
    }
}

fn respond(mut stream: &TcpStream, response: &Response) -> io::Result<()> {
    let words = match response.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if response.status == 405 {
        "Allow: GET\r\n"
    } else {
        ""
    };
    let text = format!(
        "HTTP/1.1 {} {words}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n{}",
        response.status,
        response.kind,
        response.body.len(),
        response.body
    );
    stream.write_all(text.as_bytes())
}
