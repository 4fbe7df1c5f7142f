//! A camera of one's own: a type that implements [`FrameSource`], and its frames inspected.
//!
//! ```console
//! $ cargo run --example own_camera -- calibration/demo.pgp
//! ```
//!
//! A camera maker's library would stand in `OwnCamera::expose`. Here it draws a bright bar that
//! moves, so every picture is NG.

use partgate::capture::source::{CaptureError, FrameSource};
use partgate::clock;
use partgate::frame::Frame;
use partgate::frame::decode;
use partgate::frame::{PixelFormat, RawFrame};
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::Product;
use partgate::time::{Duration, Instant};
use std::error::Error;
use std::path::Path;

/// Time from one exposure to the next.
const INTERVAL: Duration = Duration::from_millis(100);

struct OwnCamera {
    width: usize,
    height: usize,
    next: Instant,
    sequence: u64,
}

impl OwnCamera {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            next: Instant::default(),
            sequence: 0,
        }
    }

    fn expose(&self, pixels: &mut [u8]) {
        let bar = self.sequence as usize * 8 % self.width;
        for (index, pixel) in pixels.iter_mut().enumerate() {
            let column = index % self.width;
            *pixel = if column.abs_diff(bar) < 8 { 255 } else { 64 };
        }
    }
}

impl FrameSource for OwnCamera {
    fn open(&mut self) -> Result<(), CaptureError> {
        // Gate and trigger use the same clock: another one gives wrong pairs.
        self.next = clock::now();
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let wait = self.next.since(clock::now());
        clock::sleep(wait.min(at_most));
        if wait > at_most {
            return Ok(false);
        }
        // The buffer keeps its memory from frame to frame.
        into.bytes.resize(self.width * self.height, 0);
        self.expose(&mut into.bytes);
        into.format = PixelFormat::Grey8;
        (into.width, into.height, into.stride) = (self.width, self.height, self.width);
        into.time = self.next;
        into.sequence = self.sequence;
        (into.lost_before, into.damaged, into.content) = (0, false, None);
        self.sequence += 1;
        self.next = self.next.after(INTERVAL);
        Ok(true)
    }

    fn frame_bytes(&self) -> usize {
        self.width * self.height
    }

    fn describe(&self) -> String {
        format!("own camera, {} x {}, grey", self.width, self.height)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bundle = std::env::args()
        .nth(1)
        .ok_or("usage: own_camera BUNDLE.pgp")?;
    let product = Product::open(Path::new(&bundle))?;
    let mut inspector = Inspector::new(&product, &Threads::new(2)?)?;

    let [width, height] = product.manifest().training.smallest;
    let mut camera = OwnCamera::new(width as usize, height as usize);
    camera.open()?;
    println!("{}", camera.describe());

    let mut raw = RawFrame::with_capacity(camera.frame_bytes());
    let mut frame = Frame::blank();
    let mut inspected = 0;
    while inspected < 5 {
        if !camera.next(&mut raw, Duration::from_millis(500))? {
            println!("no frame");
            continue;
        }
        decode(&raw, &mut frame)?;
        let inspection = inspector.inspect(&frame)?;
        println!(
            "frame {}: score {:.3}, verdict {}",
            raw.sequence, inspection.score, inspection.verdict
        );
        inspected += 1;
    }
    Ok(())
}
