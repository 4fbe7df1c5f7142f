//! Promise: from the trigger to the frame that is inspected nothing is allocated after the first
//! frames: exposing, taking a frame, decoding the uncompressed formats, checking it.

#![allow(clippy::expect_used)]
// The counting allocator must implement an unsafe trait; it forwards to the system's.
#![allow(unsafe_code)]

use partgate::capture::Exposure;
use partgate::capture::folder_source::FolderSource;
use partgate::capture::recorded::RecordedSource;
use partgate::capture::source::FrameSource;
use partgate::frame::Frame;
use partgate::frame::decode;
use partgate::frame::{PixelFormat, RawFrame};
use partgate::sanity::{Sanity, SanitySettings};
use partgate::simulation::camera::{Production, RenderedSource};
use partgate::simulation::faults::{FaultySource, FrameFaults, Kind, Shares};
use partgate::time::{Duration, Instant};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Of this thread alone, because the test runner and other tests allocate too.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: every call goes to the system allocator unchanged; the counter touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_counter_counts() {
    let before = allocations();
    let boxed = std::hint::black_box(Box::new(7));
    assert_eq!(allocations() - before, 1);
    drop(boxed);
}

#[test]
fn uncompressed_formats_decode_into_the_same_memory() {
    for (format, bytes) in [
        (PixelFormat::Grey8, 1),
        (PixelFormat::Grey16, 2),
        (PixelFormat::Rgb24, 3),
        (PixelFormat::Bgr24, 3),
        (PixelFormat::Yuyv, 2),
    ] {
        let mut raw = RawFrame::with_capacity(0);
        (raw.width, raw.height, raw.stride) = (64, 48, 64 * bytes + 10);
        raw.format = format;
        raw.bytes = (0..raw.stride * 48).map(|i| i as u8).collect();
        let mut frame = Frame::blank();
        let settings = SanitySettings::default();
        let reference = Frame::blank();
        let mut sanity = Sanity::new(settings, Some(&reference)).expect("checks");
        decode(&raw, &mut frame).expect("first");
        sanity.check(&frame);
        let before = allocations();
        let mut sum = 0.0;
        for sequence in 0..20 {
            raw.sequence = sequence;
            raw.bytes[sequence as usize] ^= 0xff;
            decode(&raw, &mut frame).expect("decode");
            sum += sanity.check(&frame).mean;
        }
        assert_eq!(allocations() - before, 0, "{format:?}");
        assert!(sum > 0.0 && frame.sequence == 19);
    }
}

/// Takes frames of a triggered or running source; returns the allocations after the first three.
fn taken(mut source: impl FrameSource, frames: u64) -> u64 {
    source.open().expect("open");
    let mut flash = source.flash();
    let mut raw = RawFrame::with_capacity(source.frame_bytes());
    let mut before = 0;
    for number in 0..frames {
        if number == 3 {
            before = allocations();
        }
        if let Some(flash) = &mut flash {
            flash.fire(Instant(number + 1));
        }
        assert!(source.next(&mut raw, SOON).expect("next"));
        assert!(!raw.bytes.is_empty());
    }
    allocations() - before
}

#[test]
fn sources_hand_over_frames_without_allocating() {
    let on_trigger = Exposure::OnTrigger {
        delay: Duration::ZERO,
    };
    let running = Exposure::FreeRunning { fps: 500.0 };
    let folder = tempfile::tempdir().expect("folder");
    let mut index = String::new();
    for number in 0..8 {
        let name = format!("{number}.png");
        image::GrayImage::new(30, 20)
            .save(folder.path().join(&name))
            .expect("write");
        index += &format!(
            "{{\"file\": \"{name}\", \"time_ns\": {}, \"sequence\": {number}}}\n",
            number * 1_000_000
        );
    }
    std::fs::write(folder.path().join("frames.jsonl"), index).expect("write");

    for exposure in [on_trigger, running] {
        let source = FolderSource::new(folder.path(), exposure);
        assert_eq!(taken(source, 30), 0, "folder, {exposure:?}");
        let production = Production::new(1, 3, 30.0);
        let source = RenderedSource::new(production, exposure);
        assert_eq!(taken(source, 30), 0, "rendered, {exposure:?}");
    }
    let source = RecordedSource::new(folder.path(), true);
    assert_eq!(taken(source, 30), 0, "recorded");

    let shares = Shares::NONE
        .with(Kind::LateFrame, 0.2)
        .with(Kind::RepeatedFrame, 0.2)
        .with(Kind::DamagedFrame, 0.4)
        .with(Kind::LostFrame, 0.1);
    let mut plan = FrameFaults::new(1, shares);
    plan.late_by = Duration::from_millis(2);
    let inner = RenderedSource::new(Production::new(1, 3, 0.0), running);
    let source = FaultySource::new(inner, plan).expect("plan");
    assert_eq!(taken(source, 100), 0, "faulty");
}
