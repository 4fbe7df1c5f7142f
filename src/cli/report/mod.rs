//! `partgate report`: everything that the maker of a product or of the program needs, in one archive.

mod archive;

use super::doctor;
use super::failure::{Code, Failure, causes};
use super::terminal::Out;
use archive::Archive;
use clap::Args;
use partgate::config::{LineConfig, ProductPlace};
use partgate::station::ask;
use partgate::store::Products;
use serde::Serialize;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Most bytes of the end of the event log.
const LOG_END: u64 = 1 << 20;
/// Most bytes of any other file or answer.
const MOST: u64 = 16 << 20;
/// Longest wait for the metrics.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pack what support needs into one archive: configuration, findings, log, metrics, product
///
/// In the archive are the findings of `doctor`, the configuration, the end of the event log, the alarm,
/// the metrics and the status of a running line, the manifest of the product, and state and history of
/// the store. Pictures are in it only with --images. What could not be read is in `missing.txt`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate report line.toml -o support.tar\n  partgate report line.toml -o support.tar --images 20\n\nExit codes: 0 written, 3 the archive cannot be written."
)]
pub(crate) struct Arguments {
    /// The line's configuration
    config: PathBuf,
    /// The archive to write
    #[arg(short, long, value_name = "FILE.tar")]
    output: PathBuf,
    /// Put this many of the newest kept images into it
    #[arg(long, value_name = "N", default_value_t = 0)]
    images: usize,
}

#[derive(Debug, Error)]
#[error("{}: cannot be written", path.display())]
struct Unwritable {
    path: PathBuf,
    source: io::Error,
}

#[derive(Serialize)]
struct Packed {
    path: PathBuf,
    files: Vec<String>,
    missing: Vec<String>,
}

/// The archive with what is missing from it.
struct Report<W: Write> {
    archive: Archive<W>,
    files: Vec<String>,
    missing: Vec<String>,
}

impl<W: Write> Report<W> {
    /// Adds a file, or notes why it cannot be had.
    fn add(&mut self, name: &str, bytes: Result<Vec<u8>, Box<dyn Error>>) -> io::Result<()> {
        match bytes {
            Ok(bytes) => {
                self.archive.file(&format!("report/{name}"), &bytes)?;
                self.files.push(name.to_owned());
            }
            Err(error) => {
                let why = causes(&*error).join(": ");
                self.missing.push(format!("{name}: {why}"));
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let path = &arguments.output;
    let unwritable = |source| {
        let path = path.clone();
        Failure::input(Unwritable { path, source })
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let file = File::create(path).map_err(unwritable)?;
    let mut report = Report {
        archive: Archive::new(BufWriter::new(file), since.map_or(0, |s| s.as_secs())),
        files: Vec::new(),
        missing: Vec::new(),
    };
    pack(arguments, &mut report).map_err(unwritable)?;
    let Report {
        archive,
        files,
        missing,
    } = report;
    archive.finish().map_err(unwritable)?;
    let packed = Packed {
        path: path.clone(),
        files,
        missing,
    };
    if out.json() {
        out.json_page(&packed)?;
        return Ok(Code::Done);
    }
    out.line(format_args!(
        "{}: {} files{}",
        path.display(),
        packed.files.len(),
        if arguments.images == 0 {
            ", no pictures"
        } else {
            ""
        }
    ))?;
    for line in &packed.missing {
        out.line(format_args!("  missing: {line}"))?;
    }
    Ok(Code::Done)
}

fn pack<W: Write>(arguments: &Arguments, report: &mut Report<W>) -> io::Result<()> {
    let findings = doctor::support_text(&arguments.config);
    report.add("doctor.txt", Ok(findings.into_bytes()))?;
    report.add("line.toml", read(&arguments.config, MOST))?;
    match LineConfig::open(&arguments.config) {
        Err(error) => report.add("what the configuration names", Err(error.into()))?,
        Ok(config) => of_line(&config, arguments.images, report)?,
    }
    if !report.missing.is_empty() {
        let text = report.missing.join("\n") + "\n";
        report.add("missing.txt", Ok(text.into_bytes()))?;
    }
    Ok(())
}

/// What a configuration names.
fn of_line<W: Write>(config: &LineConfig, images: usize, report: &mut Report<W>) -> io::Result<()> {
    let record = &config.record.folder;
    report.add("alarm", read(&record.join("alarm"), MOST))?;
    let log = newest(record, |name| name.starts_with("events-"), 1);
    if log.is_empty() {
        report.add("events.log", Err("there is no event log".into()))?;
    }
    for path in &log {
        report.add("events.log", read(path, LOG_END))?;
    }
    if let Some(socket) = &config.control.socket {
        let answer = ask(socket, "status").map(String::into_bytes);
        report.add("status.json", answer.map_err(Into::into))?;
    }
    if let Some(address) = config.metrics.listen {
        report.add("metrics.txt", metrics(address).map_err(Into::into))?;
    }
    report.add("product.json", product(config))?;
    if let ProductPlace::Store(place) = &config.product {
        of_store(&place.products, report)?;
    }
    for path in newest(&record.join("images"), |_| true, images) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        report.add(&format!("images/{name}"), read(&path, MOST))?;
    }
    Ok(())
}

/// State and history of each product's store.
fn of_store<W: Write>(products: &Products, report: &mut Report<W>) -> io::Result<()> {
    let mut folders = vec![("store".to_owned(), products.folder().to_path_buf())];
    if products.several() {
        let chosen = read(&products.folder().join("chosen"), MOST);
        report.add("store/chosen", chosen)?;
        let stores = products
            .names()
            .filter_map(|name| Some((format!("store/{name}"), products.store_of(name).ok()?)));
        folders = stores.collect();
    }
    for (label, folder) in folders {
        for name in ["state", "history"] {
            report.add(&format!("{label}/{name}"), read(&folder.join(name), MOST))?;
        }
    }
    Ok(())
}

/// The end of a file.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Box<dyn Error>> {
    let end = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    end().map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The newest files below a folder.
fn newest(folder: &Path, wanted: impl Fn(&str) -> bool, most: usize) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    while let Some(folder) = folders.pop().filter(|_| most > 0) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) if about.is_file() && wanted(&name.to_string_lossy()) => {
                    found.push((about.modified().unwrap_or(UNIX_EPOCH), entry.path()));
                }
                _ => {}
            }
        }
    }
    found.sort();
    let newest = found.into_iter().rev().take(most);
    newest.map(|(_, path)| path).collect()
}

/// The metrics page of a running line.
fn metrics(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n");
    Ok(answer.split_off(head.map_or(0, |at| at + 4)))
}

/// Who the product is: its manifest, without the bytes.
fn product(config: &LineConfig) -> Result<Vec<u8>, Box<dyn Error>> {
    #[derive(Serialize)]
    struct Facts<'a> {
        place: String,
        file: &'a str,
        blake3: String,
        signer: Option<String>,
        judged: String,
        manifest: &'a partgate::product::Manifest,
    }
    let product = config.product.open()?;
    let judged = match config.judge(product.signature()) {
        Ok(origin) => origin.to_string(),
        Err(refusal) => format!("refused: {}", causes(&*refusal).join(": ")),
    };
    let facts = Facts {
        place: config.product.to_string(),
        file: product.origin(),
        blake3: product.digest().to_hex().to_string(),
        signer: product.signature().signer().map(ToString::to_string),
        judged,
        manifest: product.manifest(),
    };
    Ok(serde_json::to_vec_pretty(&facts)?)
}
