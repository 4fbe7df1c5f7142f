//! The scene before the camera: frames that are written to vivid's output node come out of its
//! capture node.
//!
//! vivid is the kernel's virtual video driver. With the same timings on both nodes and its loop
//! switched on, frames pass unchanged. The last frame stays in view until the next one is written.

use crate::ioctl::{self, Control, Format, Picture, Query, Timings};
use rustix::fd::AsFd;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pixels per row: twice the demo part's width, because vivid accepts no pixel clock below 14 MHz.
pub const WIDTH: usize = 640;
/// Rows.
pub const HEIGHT: usize = 512;
/// Bytes of one RGB frame.
pub const FRAME_BYTES: usize = WIDTH * HEIGHT * 3;

const CAPTURE: u32 = 1;
const OUTPUT: u32 = 2;
const RGB3: u32 = u32::from_le_bytes(*b"RGB3");
const FIELD_NONE: u32 = 1;

/// vivid's platform device.
const DRIVER: &str = "/sys/bus/platform/drivers/vivid";
const DEVICE: &str = "vivid.0";

fn failed(path: &Path, doing: &str, error: impl Into<Error>) -> Error {
    let error = error.into();
    Error::new(
        error.kind(),
        format!("{}: {doing}: {error}", path.display()),
    )
}

/// A video device node.
struct Node {
    path: PathBuf,
    file: File,
}

impl Node {
    /// Opens a node; waits until it exists.
    fn open(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if Instant::now() > until => return Err(failed(&path, "open", error)),
                Err(_) => sleep(Duration::from_millis(10)),
            }
        }
    }

    /// 640 x 512 at 40 Hz by the CVT formula with reduced blanking, version 2. The driver accepts
    /// only timings of a formula, and this is the only one that allows any width.
    fn set_timings(&self) -> Result<()> {
        const HORIZONTAL: [u32; 3] = [8, 32, 40]; // front porch, sync, back porch
        const VERTICAL: [u32; 3] = [1, 8, 6];
        let columns = WIDTH as u32 + HORIZONTAL.iter().sum::<u32>();
        let rows = HEIGHT as u32 + VERTICAL.iter().sum::<u32>();
        let mut timings = Timings { words: [0; 33] };
        timings.words[1] = WIDTH as u32;
        timings.words[2] = HEIGHT as u32;
        timings.words[4] = 1 << 1; // horizontal sync positive, vertical negative
        timings.words[5] = columns * rows * 40; // pixel clock, low word
        timings.words[7..10].copy_from_slice(&HORIZONTAL);
        timings.words[10..13].copy_from_slice(&VERTICAL);
        timings.words[16] = 1 << 2; // V4L2_DV_BT_STD_CVT
        ioctl::set_timings(self.file.as_fd(), &mut timings)
            .map_err(|e| failed(&self.path, "VIDIOC_S_DV_TIMINGS", e))?;
        let set = [timings.words[1], timings.words[2]];
        if set == [WIDTH as u32, HEIGHT as u32] {
            Ok(())
        } else {
            Err(failed(
                &self.path,
                "VIDIOC_S_DV_TIMINGS",
                Error::other(format!("the driver made it {} x {}", set[0], set[1])),
            ))
        }
    }

    fn set_format(&self, kind: u32) -> Result<()> {
        let mut format = Format {
            kind,
            padding: 0,
            pix: [0; 12],
            rest: [0; 38],
        };
        format.pix[..4].copy_from_slice(&[WIDTH as u32, HEIGHT as u32, RGB3, FIELD_NONE]);
        ioctl::set_format(self.file.as_fd(), &mut format)
            .map_err(|e| failed(&self.path, "VIDIOC_S_FMT", e))?;
        let [width, height, fourcc, _, stride, bytes, ..] = format.pix;
        if [width, height, fourcc, stride, bytes]
            == [
                WIDTH as u32,
                HEIGHT as u32,
                RGB3,
                WIDTH as u32 * 3,
                FRAME_BYTES as u32,
            ]
        {
            Ok(())
        } else {
            Err(failed(
                &self.path,
                "VIDIOC_S_FMT",
                Error::other(format!(
                    "the driver made it {width} x {height}, format {:?}, {stride} bytes a row, {bytes} in all",
                    String::from_utf8_lossy(&fourcc.to_le_bytes())
                )),
            ))
        }
    }

    /// Sets the control with this name. vivid's own controls have no numbers in the kernel's
    /// headers.
    fn set_control(&self, name: &str, value: i32) -> Result<()> {
        const NEXT: u32 = 0x8000_0000;
        let mut id = NEXT;
        loop {
            let mut query = Query {
                id,
                kind: 0,
                name: [0; 32],
                limits: [0; 4],
                flags: 0,
                reserved: [0; 2],
            };
            if ioctl::query_control(self.file.as_fd(), &mut query).is_err() {
                return Err(failed(
                    &self.path,
                    &format!("control {name:?}"),
                    Error::from(ErrorKind::NotFound),
                ));
            }
            let end = query.name.iter().position(|&b| b == 0).unwrap_or(32);
            if &query.name[..end] == name.as_bytes() {
                let mut control = Control {
                    id: query.id,
                    value,
                };
                return ioctl::set_control(self.file.as_fd(), &mut control)
                    .map_err(|e| failed(&self.path, &format!("control {name:?}"), e));
            }
            id = query.id | NEXT;
        }
    }
}

/// The output node, streaming. The capture node is closed, because the program under test uses it.
pub struct Scene {
    /// Unmapped before the node is closed.
    buffers: Vec<Picture>,
    output: Node,
}

impl Scene {
    /// Sets up the loop on the device that vivid has just created, with `first` in view.
    pub fn set_up(first: &[u8]) -> Result<Self> {
        let capture = Node::open("/dev/video0")?;
        let output = Node::open("/dev/video1")?;
        output.set_timings()?;
        output.set_format(OUTPUT)?;
        capture.set_control("OSD Text Mode", 2)?;
        capture.set_control("Loop Video", 1)?;
        // Stamp the beginning of the exposure. For its end the driver would add nine tenths of a
        // frame to the present, and the program under test accepts no frame from the future.
        capture.set_control("Timestamp Source", 1)?;
        // The last step: the program under test tries to open the camera again and again, and
        // succeeds as soon as the timings are set. It sets the format itself.
        capture.set_timings()?;
        let node = output.file.as_fd();
        let mut buffers =
            ioctl::buffers(node, OUTPUT, 2).map_err(|e| failed(&output.path, "buffers", e))?;
        for buffer in &mut buffers {
            buffer.fill(first);
            ioctl::queue(node, OUTPUT, buffer)
                .map_err(|e| failed(&output.path, "VIDIOC_QBUF", e))?;
        }
        ioctl::stream(node, OUTPUT).map_err(|e| failed(&output.path, "VIDIOC_STREAMON", e))?;
        Ok(Self { buffers, output })
    }

    /// Puts a picture, RGB, before the camera. It is in view one frame later.
    pub fn show(&mut self, rgb: &[u8]) -> Result<()> {
        // The driver keeps the last picture and returns the previous one.
        let node = self.output.file.as_fd();
        let path = &self.output.path;
        let free = ioctl::dequeue(node, OUTPUT).map_err(|e| failed(path, "VIDIOC_DQBUF", e))?;
        let buffer = self
            .buffers
            .get_mut(free)
            .ok_or_else(|| failed(path, "VIDIOC_DQBUF", Error::from(ErrorKind::InvalidData)))?;
        buffer.fill(rgb);
        ioctl::queue(node, OUTPUT, buffer).map_err(|e| failed(path, "VIDIOC_QBUF", e))
    }

    /// Sets one of vivid's faults. The capture node can be in use: every process can set controls.
    pub fn inject(&self, control: &str, value: i32) -> Result<()> {
        Node::open("/dev/video0")?.set_control(control, value)
    }
}

/// Shows a picture and reads the camera until the picture arrives byte for byte. Returns the
/// number of frames until then; None if it does not arrive. The capture node must be free.
pub fn frames_until_seen(scene: &mut Scene, rgb: &[u8], at_most: usize) -> Result<Option<usize>> {
    let mut capture = Node::open("/dev/video0")?;
    capture.set_format(CAPTURE)?;
    let mut frame = vec![0; FRAME_BYTES];
    scene.show(rgb)?;
    for n in 1..=at_most {
        let got = capture.file.read(&mut frame)?;
        if got == rgb.len() && frame == rgb {
            return Ok(Some(n));
        }
    }
    Ok(None)
}

/// Unplugs the camera: the driver releases the device, and its nodes disappear.
pub fn unplug() -> Result<()> {
    std::fs::write(Path::new(DRIVER).join("unbind"), DEVICE)
}

/// Plugs the camera in again.
pub fn plug_in() -> Result<()> {
    std::fs::write(Path::new(DRIVER).join("bind"), DEVICE)
}
