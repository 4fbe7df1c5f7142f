//! Promise: inspection allocates no memory per part. Nothing is allocated after the first frame of a
//! size if all networks run in integers; with a network in floats, the memory in use does not grow.

#![allow(clippy::expect_used)]
// The counting allocator must implement an unsafe trait; it forwards to the system's.
#![allow(unsafe_code)]

mod bundle;

use partgate::backbone::{InputGeometry, Preprocessor, Threads};
use partgate::frame::{Frame, Pixels};
use partgate::inspection::Inspector;
use partgate::product::Product;
use partgate::score::{Aggregator, Border, Condition, Neighbour, PackedBank, PositionMask, Scorer};
use partgate::seed::Rng;
use partgate::simulation::part::Renderer;
use partgate::size::Size;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
/// The counters belong to the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system allocator unchanged; the counters touch no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn frame(renderer: &Renderer, index: u64) -> Frame {
    let part = renderer.good(index);
    Frame::new(part.width, part.height, Pixels::Rgb8(part.rgb)).expect("frame")
}

#[test]
fn nothing_is_allocated_around_the_network() {
    let _alone = ALONE.lock().expect("lock");
    let (size, grid, channels) = (Size::square(128), Size::square(16), [40, 112]);
    let geometry = InputGeometry {
        roi: None,
        resize: size,
        crop: size,
    };
    let mut rng = Rng::new(1);
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.gaussian()).collect() };
    let views = [(); 3].map(|()| (draw(40 * grid.area()), draw(112 * grid.area() / 4)));
    let bank = PackedBank::new(draw(152 * 300), 152);
    let mut preprocessor = Preprocessor::new(geometry, [127.0; 3], [128.0; 3]);
    let mut aggregator = Aggregator::new(grid, channels, 3, Border::Zero);
    let mut features = vec![0.0; grid.area() * 152];
    // The position condition allows every cell of the first view its nearest row, and few cells of
    // the others.
    let mut nearest = vec![Neighbour::default(); grid.area()];
    aggregator.run(&views[0].0, &views[0].1, &mut features);
    bank.nearest(&features, None, &Threads::default(), &mut nearest);
    let mut mask = PositionMask::nothing(grid.area(), 300);
    for (cell, neighbour) in nearest.iter().enumerate() {
        mask.allow(cell, neighbour.row as usize);
        mask.allow(cell, cell % 300);
    }
    let mut scorer = Scorer::new(
        bank,
        vec![Condition::by_place(mask)],
        None,
        None,
        (grid, size),
        2.0,
    );
    let mut input = vec![0.0; 3 * size.area()];
    let renderer = Renderer::new(1);
    let frames = [frame(&renderer, 0), frame(&renderer, 1)];
    let mut inspector = |frame: &Frame, view: usize| {
        preprocessor.run(frame, &mut input).expect("geometry");
        let (fine, coarse) = &views[view];
        aggregator.run(fine, coarse, &mut features);
        let score = scorer.score(&features, &Threads::default()).expect("score");
        (score, scorer.search.searched_again())
    };
    // No condition refuses anything of the first part, and still there is room for the others.
    assert_eq!(inspector(&frames[0], 0).1, 0);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let (mut sum, mut again) = (0.0, [0; 3]);
    for round in 0..21 {
        let (score, searched) = inspector(&frames[round % 2], round % 3);
        sum += score;
        again[round % 3] = searched;
    }
    let taken = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(sum.is_finite());
    assert!(
        again[0] == 0 && again[1..].iter().all(|&n| n > grid.area() / 2),
        "cells searched again: {again:?}"
    );
    assert_eq!(taken, 0, "allocations in 21 frames");
}

/// The demo's product: backbone and refinement network in int8.
#[test]
fn nothing_is_allocated_from_frame_to_verdict_in_integers() {
    let _alone = ALONE.lock().expect("lock");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/calibration/demo.pgp");
    let product = Product::open(path.as_ref()).expect("the demo's product");
    let renderer = Renderer::new(2);
    let frames: Vec<Frame> = (0..4).map(|i| frame(&renderer, i)).collect();
    for threads in [1, 2] {
        let threads = Threads::new(threads).expect("threads");
        let mut inspector = Inspector::new(&product, &threads).expect("inspector");
        inspector.require_integers().expect("all networks");
        assert!(inspector.kernels().refinement.is_some());
        inspector.inspect(&frames[0]).expect("inspection");
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for frame in frames.iter().cycle().take(20) {
            inspector.inspect(frame).expect("inspection");
        }
        let taken = ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!("{} thread(s): {taken} allocations", threads.count());
        // The queue of a pool of threads takes a piece of memory at every 63rd part.
        let queue = u64::from(threads.count() > 1);
        assert!(taken <= queue, "{taken} allocations in 20 frames");
    }
}

#[test]
fn what_is_held_does_not_grow_with_the_number_of_parts() {
    let _alone = ALONE.lock().expect("lock");
    let product = Product::from_bytes(bundle::small().to_vec(), "test bundle").expect("bundle");
    for threads in [1, 2] {
        let threads = Threads::new(threads).expect("threads");
        let mut inspector = Inspector::new(&product, &threads).expect("inspector");
        let renderer = Renderer::new(2);
        let frames: Vec<Frame> = (0..4).map(|i| frame(&renderer, i)).collect();
        let mut held = Vec::new();
        for round in 0..60 {
            inspector.inspect(&frames[round % 4]).expect("inspection");
            held.push(LIVE_BYTES.load(Ordering::Relaxed));
        }
        let (early, late) = (held[9], held[59]);
        println!(
            "{} thread(s): {early} bytes after 10 parts, {late} after 60",
            threads.count()
        );
        // A few kilobytes for the test runner itself.
        assert!(
            late - early < 16 * 1024,
            "grew from {early} to {late} bytes"
        );
    }
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("VmRSS").parse().expect("a number")
}

#[test]
#[ignore = "takes minutes"]
fn what_is_held_does_not_grow_over_100_000_parts() {
    let _alone = ALONE.lock().expect("lock");
    // The smallest product whose search has its first pass in integers.
    let recipe = bundle::Recipe {
        size: partgate::size::Size::square(64),
        rows: 300,
        goldens: false,
        ..bundle::SMALL
    };
    let product = Product::from_bytes(bundle::build(&recipe), "test bundle").expect("bundle");
    let mut inspector = Inspector::new(&product, &Threads::default()).expect("inspector");
    let renderer = Renderer::new(2);
    let frames: Vec<Frame> = (0..50).map(|i| frame(&renderer, i)).collect();
    let (mut early, mut taken) = ((0, 0), 0);
    for part in 0..100_000 {
        inspector.inspect(&frames[part % 50]).expect("inspection");
        if part == 999 {
            taken = ALLOCATIONS.load(Ordering::Relaxed);
            early = (LIVE_BYTES.load(Ordering::Relaxed), resident());
        }
    }
    let taken = ALLOCATIONS.load(Ordering::Relaxed) - taken;
    let late = (LIVE_BYTES.load(Ordering::Relaxed), resident());
    println!(
        "heap {} bytes, resident {} KiB after 1,000 parts",
        early.0, early.1
    );
    println!(
        "heap {} bytes, resident {} KiB after 100,000, {taken} allocations between",
        late.0, late.1
    );
    assert!(late.0 - early.0 < 16 * 1024, "the heap grew");
    assert!(late.1 <= early.1 + 256, "resident memory grew");
}
