//! The camera itself: opening, streaming, losing it and finding it again.

use super::controls::{Setting, plan};
use super::listing::{controls, formats, open_node, reason, usable};
use super::offer::{self, RATE_TOLERANCE};
use super::stamp::{Numbered, Sequence, monotonic_ns, stamped_at_the_end};
use super::{V4l2Settings, choice, fourcc, ioctl};
use crate::capture::source::{CaptureError, FrameSource};
use crate::clock;
use crate::frame::{MAX_AREA, MAX_SIDE};
use crate::frame::{PixelFormat, RawFrame, YuvCoding, YuvMatrix};
use crate::time::{Duration, Instant};
use log::{debug, warn};
use std::io;
use v4l::Device;
use v4l::buffer::{Flags, Type};
use v4l::io::mmap::Stream;
use v4l::io::traits::{CaptureStream, Stream as _};

/// Number of buffers requested from the driver: one in use here, the others for frames on their
/// way. More buffers would only keep older frames after a pause.
const BUFFERS: u32 = 4;
/// More than any driver grants; it bounds the count of those that it did grant.
const MOST_BUFFERS: usize = 32;
/// A buffer is taken only if the kernel reports that one is ready. If the kernel is wrong, this
/// bounds the wait.
const TAKE: Duration = Duration::from_millis(200);
/// A V4L2 camera with memory-mapped streaming.
pub struct V4l2Source {
    settings: V4l2Settings,
    name: String,
    opened: Option<Opened>,
}

struct Opened {
    // Before the device: fields are dropped in this order.
    stream: Stream<'static>,
    device: Device,
    form: Form,
    controls: Vec<Setting>,
    sequence: Sequence,
    /// Whether the log has the entry that stamps are from the end of a frame.
    logged_end: bool,
    /// Whether the log has the entry that the driver does not count frames.
    logged_uncounted: bool,
}

#[derive(Clone, Debug)]
struct Form {
    card: String,
    format: PixelFormat,
    yuv: YuvCoding,
    width: usize,
    height: usize,
    stride: usize,
    bytes: usize,
    /// None if the driver does not report it.
    fps: Option<f64>,
}

impl V4l2Source {
    /// A source for this camera, not yet opened.
    pub fn new(settings: V4l2Settings) -> Self {
        Self {
            name: settings.device.display().to_string(),
            settings,
            opened: None,
        }
    }

    fn failed(&self, problem: impl Into<String>) -> CaptureError {
        CaptureError::Open {
            source_name: self.name.clone(),
            problem: problem.into(),
        }
    }

    /// Closes the camera and drops the frames in its buffers.
    fn close(&mut self) {
        let Some(Opened { mut stream, .. }) = self.opened.take() else {
            return;
        };
        // The crate panics if it drops a stream that cannot be stopped, except for an unplugged
        // camera. A few mappings that stay are the smaller harm.
        let unplugged = Some(rustix::io::Errno::NODEV.raw_os_error());
        match stream.stop() {
            Err(error) if error.raw_os_error() != unplugged => {
                warn!("{}: streaming cannot be stopped: {error}", self.name);
                std::mem::forget(stream);
            }
            _ => drop(stream),
        }
    }

    /// Closes the camera: it must be opened before its next use.
    fn lost(&mut self, problem: impl Into<String>) -> CaptureError {
        self.close();
        let error = CaptureError::Lost {
            source_name: self.name.clone(),
            problem: problem.into(),
        };
        warn!("{error}");
        error
    }

    fn open_device(&self) -> Result<Device, CaptureError> {
        open_node(&self.settings.device).map_err(|problem| self.failed(problem))
    }

    /// Sets format and rate, and reads back what was granted.
    fn set_form(&self, device: &Device, card: String) -> Result<Form, CaptureError> {
        let V4l2Settings { width, height, .. } = self.settings;
        let sides = u32::try_from(width).ok().zip(u32::try_from(height).ok());
        let Some((w, h)) = sides.filter(|_| {
            (1..=MAX_SIDE).contains(&width)
                && (1..=MAX_SIDE).contains(&height)
                && width * height <= MAX_AREA
        }) else {
            return Err(self.failed(format!("{width} x {height} pixels is not a picture size")));
        };
        let offers = formats(device, Some((w, h)));
        debug!("{}: offers {offers:?}", self.name);
        let wanted = self.settings.format;
        let format = choice::choose(&offers, (width, height), self.settings.fps, wanted)
            .map_err(|problem| self.failed(problem))?;
        let Some(code) = fourcc(format) else {
            return Err(self.failed("cameras do not send image files"));
        };
        ioctl::set_format(device, code, w, h).map_err(|error| {
            let code = offer::code(code);
            self.failed(format!(
                "{code} {width} x {height} is refused: {}",
                reason(&error)
            ))
        })?;
        let granted = ioctl::format(device)
            .map_err(|error| self.failed(format!("its format cannot be read: {error}")))?;
        let got = granted.pixelformat.to_le_bytes();
        if (granted.width, granted.height) != (w, h) || got != code {
            return Err(self.failed(format!(
                "asked for {} {width} x {height}, granted {} {} x {}; set what the camera grants",
                offer::code(code),
                offer::code(got),
                granted.width,
                granted.height
            )));
        }
        // Drivers without fields leave 0.
        if granted.field > ioctl::FIELD_NONE {
            return Err(self.failed(
                "the camera sends interlaced half pictures; a progressive mode is needed",
            ));
        }
        let fps = self.set_rate(device)?;
        let row = bytes_a_pixel(format) * width;
        let stride = match granted.bytesperline as usize {
            _ if row == 0 => 0,
            // Drivers that leave it 0 do not pad.
            0 => row,
            stride if stride < row => {
                return Err(self.failed(format!(
                    "the driver reports {stride} bytes for a row that takes {row}"
                )));
            }
            stride => stride,
        };
        let bytes = (granted.sizeimage as usize).max(stride.saturating_mul(height));
        // Eight bytes per pixel is more than any format here needs; a driver that asks for more is
        // broken.
        if bytes == 0 || bytes > width * height * 8 + 65_536 {
            return Err(self.failed(format!(
                "the driver asks for {bytes} bytes for a picture of {width} x {height}"
            )));
        }
        Ok(Form {
            card,
            format,
            yuv: coding(
                granted.colorspace,
                ioctl::encoding(&granted),
                granted.quantization,
            ),
            width,
            height,
            stride,
            bytes,
            fps,
        })
    }

    fn set_rate(&self, device: &Device) -> Result<Option<f64>, CaptureError> {
        let wanted = self.settings.fps;
        // Milliseconds are too coarse for 29.97; microseconds are not.
        let over = 1_000_000.0 / wanted;
        if !wanted.is_finite() || !(1.0..=1e9).contains(&over) {
            return Err(self.failed(format!("{wanted} frames per second is not a rate")));
        }
        let whole = (wanted.round() - wanted).abs() < 1e-9;
        let interval = if whole {
            (1, wanted.round() as u32)
        } else {
            (over.round() as u32, 1_000_000)
        };
        let unknown = |error: &io::Error| {
            warn!(
                "{}: the driver does not report its frame rate: {error}",
                self.name
            );
            Ok(None)
        };
        let can_be_set = match ioctl::interval(device) {
            Ok((_, can_be_set)) => can_be_set,
            Err(error) => return unknown(&error),
        };
        if can_be_set {
            ioctl::set_interval(device, interval).map_err(|error| {
                self.failed(format!("{wanted} frames per second is refused: {error}"))
            })?;
        }
        match ioctl::interval(device) {
            Ok(((over, under), _)) if over > 0 && under > 0 => {
                let fps = f64::from(under) / f64::from(over);
                if (fps - wanted).abs() > wanted * RATE_TOLERANCE {
                    let fixed = if can_be_set {
                        ""
                    } else {
                        " (its input fixes it)"
                    };
                    return Err(self.failed(format!(
                        "asked for {wanted} frames per second, the camera gives {fps:.3}{fixed}; set fps = {fps:.3}"
                    )));
                }
                Ok(Some(fps))
            }
            Ok(_) => unknown(&io::Error::other("it reports an interval of zero")),
            Err(error) => unknown(&error),
        }
    }

    fn set_controls(&self, device: &Device) -> Result<Vec<Setting>, CaptureError> {
        if self.settings.controls.is_empty() {
            return Ok(Vec::new());
        }
        let settings = plan(&self.settings.controls, &controls(device))
            .map_err(|problem| self.failed(problem))?;
        for setting in &settings {
            let Setting { id, key, value } = setting;
            debug!("{}: control {key} = {value}", self.name);
            ioctl::set_control(device, *id, *value).map_err(|error| {
                self.failed(format!(
                    "control {key} = {value} is refused: {}",
                    reason(&error)
                ))
            })?;
        }
        // After all are set, because one control can change another.
        if let Some(problem) = differing(device, &settings)
            .map_err(|(key, error)| self.failed(format!("control {key} cannot be read: {error}")))?
        {
            return Err(self.failed(problem));
        }
        Ok(settings)
    }

    fn stream(&self, device: &Device) -> io::Result<Stream<'static>> {
        let mut stream = Stream::with_buffers(device, Type::VideoCapture, BUFFERS)?;
        stream.set_timeout(TAKE.into());
        // The crate's `next` returns the buffer in use before it takes another, and starts with
        // number 0 in use. So all others are queued here. It does not report how many there are;
        // the driver refuses the first that does not exist.
        let queued = (1..MOST_BUFFERS)
            .take_while(|&index| CaptureStream::queue(&mut stream, index).is_ok())
            .count();
        if queued < 2 {
            return Err(io::Error::other(format!(
                "the driver gives only {} buffers",
                queued + 1
            )));
        }
        stream.start()?;
        Ok(stream)
    }
}

/// The first control that no longer has its value, in words.
fn differing(device: &Device, settings: &[Setting]) -> Result<Option<String>, (String, io::Error)> {
    for Setting { id, key, value } in settings {
        let found = ioctl::control(device, *id).map_err(|error| (key.clone(), error))?;
        if found != *value {
            return Ok(Some(format!(
                "control {key} was set to {value} and reads {found}"
            )));
        }
    }
    Ok(None)
}

impl Drop for V4l2Source {
    fn drop(&mut self) {
        self.close();
    }
}

impl FrameSource for V4l2Source {
    fn open(&mut self) -> Result<(), CaptureError> {
        // Frames in the old buffers are dropped with them, and the driver releases the node.
        self.close();
        let device = self.open_device()?;
        let card = usable(&device).map_err(|problem| self.failed(problem))?;
        let form = self.set_form(&device, card)?;
        let controls = self.set_controls(&device)?;
        let stream = self.stream(&device).map_err(|error| {
            self.failed(format!("streaming does not start: {}", reason(&error)))
        })?;
        self.opened = Some(Opened {
            stream,
            device,
            form,
            controls,
            sequence: Sequence::default(),
            logged_end: false,
            logged_uncounted: false,
        });
        debug!("opened {}", self.describe());
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let Some(opened) = &mut self.opened else {
            return Err(self.lost("not open"));
        };
        let handle = opened.stream.handle();
        match wait(&handle, at_most) {
            Ok(Readiness::Frame) => {}
            Ok(Readiness::Nothing) => return Ok(false),
            Ok(Readiness::Broken) => {
                return Err(self.lost("the driver reports an error; was it unplugged?"));
            }
            Err(error) => return Err(self.lost(format!("waiting for a frame: {error}"))),
        }
        // After any error here the crate's stream has a buffer that is neither queued nor in use,
        // so the stream is not used again.
        let (bytes, meta) = match CaptureStream::next(&mut opened.stream) {
            Ok(taken) => taken,
            Err(error) => {
                return Err(self.lost(format!("taking a frame: {}", reason(&error))));
            }
        };
        let stamp = monotonic_ns(meta.flags.bits(), meta.timestamp.sec, meta.timestamp.usec);
        let time = match stamp {
            Ok(ns) => Instant(ns),
            Err(problem) => {
                self.close();
                return Err(self.failed(problem));
            }
        };
        if stamped_at_the_end(meta.flags.bits()) && !std::mem::replace(&mut opened.logged_end, true)
        {
            warn!(
                "{}: frames are stamped at their end, after exposure and readout: capture.exposure_min_ms and capture.exposure_max_ms count to there, and exposure_min_ms should not be below these two together, or a part may have a picture that was begun before its trigger",
                self.name
            );
        }
        let numbered = match opened.sequence.take(meta.sequence) {
            Ok(numbered) => numbered,
            Err(problem) => return Err(self.lost(problem)),
        };
        if let Numbered::Uncounted(_) = numbered
            && !std::mem::replace(&mut opened.logged_uncounted, true)
        {
            warn!(
                "{}: the driver does not count its frames: lost ones are not seen",
                self.name
            );
        }
        let form = &opened.form;
        let used = meta.bytesused as usize;
        let whole = match form.stride {
            0 => used > 0,
            // Padding after the last row can be missing.
            stride => used >= stride * (form.height - 1) + bytes_a_pixel(form.format) * form.width,
        };
        let room = into.bytes.capacity();
        let taken = used.min(bytes.len()).min(room);
        into.bytes.clear();
        into.bytes.extend_from_slice(&bytes[..taken]);
        into.format = form.format;
        into.yuv = form.yuv;
        (into.width, into.height, into.stride) = (form.width, form.height, form.stride);
        into.time = time;
        (into.sequence, into.lost_before) = match numbered {
            Numbered::Next(number, lost) => (number, lost),
            Numbered::Uncounted(number) => (number, 0),
        };
        into.damaged = meta.flags.contains(Flags::ERROR) || !whole || taken < used;
        if into.damaged {
            debug!(
                "{}: frame {} is damaged, {used} bytes",
                self.name, into.sequence
            );
        }
        Ok(true)
    }

    fn frame_bytes(&self) -> usize {
        self.opened.as_ref().map_or(0, |opened| opened.form.bytes)
    }

    fn check_controls(&mut self) -> Result<(), CaptureError> {
        let Some(opened) = &self.opened else {
            return Err(self.lost("not open"));
        };
        match differing(&opened.device, &opened.controls) {
            Ok(None) => Ok(()),
            Ok(Some(problem)) => Err(CaptureError::Changed {
                source_name: self.name.clone(),
                problem,
            }),
            Err((key, error)) => Err(self.lost(format!("control {key} cannot be read: {error}"))),
        }
    }

    fn describe(&self) -> String {
        let Some(Opened { form, controls, .. }) = &self.opened else {
            return format!("{}: not open", self.name);
        };
        let code = fourcc(form.format).map_or(String::new(), offer::code);
        let rate = form
            .fps
            .map_or("an unknown rate".to_owned(), |fps| format!("{fps:.2} fps"));
        format!(
            "{} ({}): {code} {} x {} at {rate}, {} controls locked",
            self.name,
            form.card,
            form.width,
            form.height,
            controls.len()
        )
    }
}

/// 0 for compressed formats.
fn bytes_a_pixel(format: PixelFormat) -> usize {
    match format {
        PixelFormat::Grey8 => 1,
        PixelFormat::Grey16 | PixelFormat::Yuyv => 2,
        PixelFormat::Rgb24 | PixelFormat::Bgr24 => 3,
        PixelFormat::Mjpeg | PixelFormat::File => 0,
    }
}

enum Readiness {
    Frame,
    Nothing,
    Broken,
}

/// Waits until the driver has a frame or an error, at most `at_most`; signals do not shorten the
/// wait.
fn wait(handle: &v4l::device::Handle, at_most: Duration) -> io::Result<Readiness> {
    /// `POLLIN`; errors and hang-ups are reported with any mask.
    const READABLE: i16 = 1;
    let until = clock::now().after(at_most);
    loop {
        let left = clock::until(until);
        // Rounded up, because a wait of half a millisecond must not become a busy loop.
        let ms = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        match handle.poll(READABLE, ms) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if clock::now() >= until {
                    return Ok(Readiness::Nothing);
                }
            }
            Err(error) => return Err(error),
            Ok(0) => return Ok(Readiness::Nothing),
            // With an empty mask, only errors are reported.
            Ok(_) if handle.poll(0, 0)? > 0 => return Ok(Readiness::Broken),
            Ok(_) => return Ok(Readiness::Frame),
        }
    }
}

/// Matrix and range of YUYV: the driver's values, or the defaults of its colour space
/// (`V4L2_MAP_YCBCR_ENC_DEFAULT`, `V4L2_MAP_QUANTIZATION_DEFAULT` in videodev2.h).
fn coding(colourspace: u32, encoding: u32, quantisation: u32) -> YuvCoding {
    const JPEG: u32 = 7;
    const REC709: u32 = 3;
    const DCI_P3: u32 = 12;
    // Encodings: 1 is BT.601, 2 BT.709; 3 and 4 are their extended gamuts.
    let matrix = match (encoding, colourspace) {
        (2 | 4, _) | (0, REC709 | DCI_P3) => YuvMatrix::Bt709,
        _ => YuvMatrix::Bt601,
    };
    // Quantisations: 1 is full, 2 limited.
    let full_range = match quantisation {
        1 => true,
        2 => false,
        _ => colourspace == JPEG,
    };
    YuvCoding { matrix, full_range }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(device: &str) -> V4l2Source {
        V4l2Source::new(V4l2Settings {
            device: device.into(),
            width: 640,
            height: 480,
            format: None,
            fps: 30.0,
            controls: Vec::new(),
        })
    }

    #[test]
    fn a_device_that_is_no_camera_is_refused_with_the_fix() {
        for (device, words) in [
            ("/dev/video99", "plugged in"),
            ("/dev/null", "no camera"),
            ("/etc/hostname", "not a device"),
            ("/dev/vi\0deo", "zero byte"),
        ] {
            let error = source(device).open().expect_err("opened").to_string();
            assert!(error.contains(words), "{error}");
        }
        let mut source = source("/dev/null");
        let mut frame = RawFrame::with_capacity(10);
        let error = source
            .next(&mut frame, Duration::ZERO)
            .expect_err("a frame");
        assert!(matches!(error, CaptureError::Lost { .. }), "{error}");
        assert!(source.check_controls().is_err());
        assert_eq!(source.frame_bytes(), 0);
    }

    #[test]
    fn waiting_ends_in_time_whatever_the_device() {
        // A pipe without a writer would be better, but a handle comes only from a path: a character
        // device that is always readable, and one wait that must not become longer.
        let device = Device::with_path("/dev/zero").expect("open");
        let start = clock::now();
        assert!(wait(&device.handle(), Duration::from_secs(5)).is_ok());
        assert!(clock::now().since(start) < Duration::from_secs(1));
    }

    #[test]
    fn colour_coding_follows_the_kernels_defaults() {
        let of = |colourspace, encoding, quantisation| {
            let coding = coding(colourspace, encoding, quantisation);
            (coding.matrix, coding.full_range)
        };
        assert_eq!(of(8, 0, 0), (YuvMatrix::Bt601, false));
        assert_eq!(of(7, 0, 0), (YuvMatrix::Bt601, true));
        assert_eq!(of(3, 0, 0), (YuvMatrix::Bt709, false));
        assert_eq!(of(3, 1, 1), (YuvMatrix::Bt601, true));
        assert_eq!(of(8, 2, 2), (YuvMatrix::Bt709, false));
    }
}
