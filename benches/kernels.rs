//! What one inspection is made of, with the processor's own limit as the yardstick.
//!
//! `cargo bench --bench kernels` on a quiet machine. `PARTGATE_KERNEL` chooses the kernel. Times
//! are medians. The rate beside the search is multiplications per second (`bench --layers` has the
//! network's, step by step).
//! `benches/peers.py` compares the whole pipeline with other programs.

#![allow(clippy::expect_used, clippy::print_stdout)]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use partgate::backbone::{Backbone, BackboneSpec, InputGeometry, Preprocessor, Threads};
use partgate::frame::{Frame, Pixels};
use partgate::network::{Kernel, peak_products, peak_search_products};
use partgate::score::{Aggregator, Border, Neighbour, PackedBank, ScoreMap};
use partgate::seed::Rng;
use partgate::simulation::part::Renderer;
use partgate::size::Size;
use std::time::Duration;

const DIMENSIONS: usize = 152;

fn main() {
    let kernel = Kernel::chosen().expect("a kernel of this processor");
    let peak = peak_products(kernel, Duration::from_millis(300));
    let search = peak_search_products(kernel, Duration::from_millis(300));
    println!(
        "one thread by {kernel}: at most {:.1} GMAC/s in int8, {:.1} in the search",
        peak / 1e9,
        search / 1e9
    );
    println!("memory: {:.1} GB/s to copy on one thread", copied() / 1e9);
    divan::main();
}

/// Bytes copied per second, of buffers that no cache holds.
fn copied() -> f64 {
    let from = vec![1u8; 256 << 20];
    let mut to = vec![0u8; from.len()];
    let mut best = f64::MAX;
    for _ in 0..5 {
        let began = std::time::Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        best = best.min(began.elapsed().as_secs_f64());
    }
    from.len() as f64 / best
}

fn drawn(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| rng.gaussian().abs()).collect()
}

fn picture() -> Frame {
    let part = Renderer::new(1).good(1);
    Frame::new(part.width, part.height, Pixels::Rgb8(part.rgb)).expect("frame")
}

fn backbone(file: &str, side: usize, threads: usize) -> Backbone {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    let text = std::fs::read_to_string(format!("{models}/manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let entries = manifest["backbones"].as_array().expect("backbones");
    let entry = entries
        .iter()
        .find(|b| b["name"] == file)
        .expect("one of them");
    let spec: BackboneSpec = serde_json::from_value(entry.clone()).expect("a backbone");
    let onnx = std::fs::read(format!("{models}/{file}.onnx")).expect("file");
    let threads = Threads::new(threads).expect("threads");
    Backbone::load(&onnx, &spec, Size::square(side), &threads).expect("backbone")
}

#[divan::bench(args = [(256, 1), (256, 2), (512, 1), (512, 2)])]
fn backbone_int8(bencher: Bencher<'_, '_>, (side, threads): (usize, usize)) {
    let mut backbone = backbone("efficientnet-lite0-int8", side, threads);
    bencher.bench_local(|| backbone.infer().expect("a run"));
}

#[divan::bench(args = [(256, 1)])]
fn backbone_f32(bencher: Bencher<'_, '_>, (side, threads): (usize, usize)) {
    let mut backbone = backbone("efficientnet-lite0-f32", side, threads);
    bencher.bench_local(|| backbone.infer().expect("a run"));
}

/// From a camera's picture to the network's bytes.
#[divan::bench(args = [256, 512])]
fn preprocessing(bencher: Bencher<'_, '_>, side: usize) {
    let geometry = InputGeometry {
        roi: None,
        resize: Size::square(side),
        crop: Size::square(side),
    };
    let mut preprocessor = Preprocessor::new(geometry, [127.0; 3], [128.0; 3]);
    let mut backbone = backbone("efficientnet-lite0-int8", side, 1);
    let frame = picture();
    bencher
        .counter(BytesCount::new(frame.width() * frame.height() * 3))
        .bench_local(|| {
            backbone
                .take::<Box<dyn std::error::Error>>(&mut preprocessor, &frame)
                .expect("a picture");
        });
}

#[divan::bench(args = [256, 512])]
fn aggregation(bencher: Bencher<'_, '_>, side: usize) {
    let grid = Size::square(side / 8);
    let mut aggregator = Aggregator::new(grid, [40, 112], 3, Border::Zero);
    let (fine, coarse) = (drawn(40 * grid.area(), 1), drawn(28 * grid.area(), 2));
    let mut features = vec![0.0; grid.area() * DIMENSIONS];
    bencher.bench_local(|| aggregator.run(&fine, &coarse, &mut features));
}

/// Cells, rows of the bank, threads. Parts are good: each cell is near some row.
#[divan::bench(args = [(1024, 2000, 1), (4096, 4000, 1), (4096, 4000, 2), (4096, 50_000, 1)], sample_count = 20)]
fn search(bencher: Bencher<'_, '_>, (cells, rows, threads): (usize, usize, usize)) {
    let bank = drawn(rows * DIMENSIONS, 3);
    let mut features = drawn(cells * DIMENSIONS, 4);
    let mut rng = Rng::new(5);
    for cell in features.chunks_exact_mut(DIMENSIONS) {
        let row = &bank[rng.below(rows) * DIMENSIONS..][..DIMENSIONS];
        for (value, near) in cell.iter_mut().zip(row) {
            *value = near + 0.3 * *value;
        }
    }
    let bank = PackedBank::new(bank, DIMENSIONS);
    let threads = Threads::new(threads).expect("threads");
    let mut nearest = vec![Neighbour::default(); cells];
    bencher
        .counter(ItemsCount::new(cells * rows * DIMENSIONS))
        .bench_local(|| bank.nearest(&features, None, &threads, &mut nearest));
}

/// The score of cells whose map nobody looks at.
#[divan::bench(args = [256, 512])]
fn score_of_the_map(bencher: Bencher<'_, '_>, side: usize) {
    let grid = Size::square(side / 8);
    let mut map = ScoreMap::new(grid, Size::square(side), 4.0, None);
    let cells = drawn(grid.area(), 6);
    bencher.bench_local(|| map.score(&cells));
}

/// The same, and the map is drawn.
#[divan::bench(args = [256, 512])]
fn drawn_map(bencher: Bencher<'_, '_>, side: usize) {
    let grid = Size::square(side / 8);
    let mut map = ScoreMap::new(grid, Size::square(side), 4.0, None);
    let cells = drawn(grid.area(), 6);
    bencher.bench_local(|| {
        map.score(&cells);
        black_box(map.pixels());
    });
}
