//! Promise: the search on a GPU finds the rows that the search on the CPU finds. Here its kernel runs
//! without a GPU: a C++ compiler builds its text, and a thread of the system stands for each of its
//! threads. What that cannot show are a GPU's own arithmetic, memory and speed.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

use partgate::network::Threads;
use partgate::score::{Neighbour, PackedBank, PositionMask};
use partgate::seed::Rng;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What CUDA's language has and C++ has not, and a main function that runs the kernel's blocks one after
/// the other on numbers from a file.
const HOST: &str = r#"
#include <barrier>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>
struct Index { unsigned x, y, z; };
static thread_local Index threadIdx;
static Index blockIdx;
static std::barrier<> *together;
static void __syncthreads() { together->arrive_and_wait(); }
static float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
static float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
#define __global__
#define __shared__ static
#define __restrict__
#define __launch_bounds__(n)
#include "search.cu"
template <typename T> static std::vector<T> take(FILE *from, size_t count) {
    std::vector<T> values(count);
    if (fread(values.data(), sizeof(T), count, from) != count) throw 1;
    return values;
}
int main(int, char **arguments) {
    FILE *from = fopen(arguments[1], "rb"), *to = fopen(arguments[2], "wb");
    auto sizes = take<uint32_t>(from, 6);
    unsigned cells = sizes[0], rows = sizes[1], dimensions = sizes[2], words = sizes[3];
    unsigned tiles = sizes[4], slices = sizes[5];
    auto features = take<float>(from, size_t(cells) * dimensions);
    auto bank = take<float>(from, size_t(dimensions) * rows);
    auto start = take<float>(from, rows);
    auto mask = take<unsigned short>(from, size_t(cells) * words);
    std::vector<float> values(size_t(slices) * cells);
    std::vector<unsigned> found(size_t(slices) * cells);
    std::barrier<> all(SIDE * SIDE);
    together = &all;
    for (unsigned y = 0; y < slices; y++)
        for (unsigned x = 0; x < (cells + TILE - 1) / TILE; x++) {
            blockIdx = {x, y, 0};
            std::vector<std::jthread> threads;
            for (unsigned t = 0; t < SIDE * SIDE; t++)
                threads.emplace_back([&, t] {
                    threadIdx = {t, 0, 0};
                    winners(features.data(), bank.data(), start.data(), mask.data(), cells, rows,
                            dimensions, words, tiles, values.data(), found.data());
                });
        }
    fwrite(values.data(), 4, values.size(), to);
    fwrite(found.data(), 4, found.size(), to);
    fclose(to);
}
"#;

/// The kernel as a program; None without a C++ compiler.
fn program(folder: &Path) -> Option<PathBuf> {
    std::fs::write(folder.join("host.cpp"), HOST).expect("host.cpp");
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/network/cuda/search.cu");
    std::fs::copy(kernel, folder.join("search.cu")).expect("search.cu");
    let built = Command::new("g++")
        .current_dir(folder)
        .args(["-std=c++20", "-O1", "-ffp-contract=off", "-pthread"])
        .arg("-fsanitize=address,undefined")
        .arg("-fno-sanitize-recover=all")
        .args(["host.cpp", "-o", "host"])
        .output();
    let Ok(built) = built else {
        eprintln!("SKIPPED: the kernel of the GPU's search was not run; there is no g++");
        return None;
    };
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{said}");
    Some(folder.join("host"))
}

/// A bank, cells and perhaps a mask.
struct Case {
    values: Vec<f32>,
    dimensions: usize,
    features: Vec<f32>,
    mask: Option<PositionMask>,
}

impl Case {
    fn cells(&self) -> usize {
        self.features.len() / self.dimensions
    }

    fn rows(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Sizes that are no multiple of anything; whole numbers and copies of rows, which tie; cells that
    /// are no numbers.
    fn drawn(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let d = 1 + rng.below(70);
        let (rows, cells) = (1 + rng.below(300), 1 + rng.below(150));
        let whole = rng.below(2) == 0;
        let number = |rng: &mut Rng| match whole {
            true => rng.below(3) as f32 - 1.0,
            false => rng.gaussian(),
        };
        let mut values: Vec<f32> = (0..rows * d).map(|_| number(&mut rng)).collect();
        for _ in 0..rng.below(rows) {
            let (from, to) = (rng.below(rows), rng.below(rows));
            values.copy_within(from * d..(from + 1) * d, to * d);
            if rng.below(2) == 0 {
                // Which of the two is nearer, rounding decides.
                let k = to * d + rng.below(d);
                values[k] = values[k].next_up();
            }
        }
        let mut features: Vec<f32> = (0..cells * d).map(|_| number(&mut rng)).collect();
        for odd in [f32::NAN, f32::INFINITY] {
            if rng.below(4) == 0 {
                features[rng.below(cells * d)] = odd;
            }
        }
        let mask = (rng.below(2) == 0).then(|| {
            let mut mask = PositionMask::nothing(cells, rows);
            for cell in 0..cells {
                // Some cells have no row at all.
                for row in (0..rows).filter(|_| cell % 7 > 0) {
                    if rng.below(3) == 0 {
                        mask.allow(cell, row);
                    }
                }
            }
            mask
        });
        Self {
            values,
            dimensions: d,
            features,
            mask,
        }
    }

    /// The rows that the kernel finds with `slices` slices of the bank.
    fn on_kernel(&self, program: &Path, slices: usize) -> Vec<u32> {
        let (cells, rows, d) = (self.cells(), self.rows(), self.dimensions);
        let padded = rows.next_multiple_of(64);
        let tiles = (padded / 64).div_ceil(slices);
        let slices = (padded / 64).div_ceil(tiles);
        let words = self.mask.as_ref().map_or(0, |_| rows.div_ceil(16));
        let sizes = [cells, padded, d, words, tiles, slices].map(|n| n as u32);
        let mut bank = vec![0.0f32; d * padded];
        let mut start = vec![f32::NEG_INFINITY; padded];
        for (row, vector) in self.values.chunks_exact(d).enumerate() {
            for (k, &v) in vector.iter().enumerate() {
                bank[k * padded + row] = v;
            }
            let square: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            start[row] = (-0.5 * square) as f32;
        }
        let mut bytes: Vec<u8> = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
        for list in [&self.features, &bank, &start] {
            bytes.extend(list.iter().flat_map(|v| v.to_le_bytes()));
        }
        let of_mask = self.mask.as_ref().map_or(&[][..], |m| m.all_words());
        bytes.extend(of_mask.iter().flat_map(|w| w.to_le_bytes()));
        let (from, to) = (program.with_extension("in"), program.with_extension("out"));
        std::fs::write(&from, bytes).expect("input");
        let ran = Command::new(program).args([&from, &to]).output();
        let ran = ran.expect("the kernel runs");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        let results = std::fs::read(&to).expect("results");
        let (numbers, _) = results.as_chunks::<4>();
        let (values, found) = numbers.split_at(slices * cells);
        let best = |cell: usize| {
            let mut best = (f32::NEG_INFINITY, 0);
            for at in (0..slices).map(|slice| slice * cells + cell) {
                let value = f32::from_le_bytes(values[at]);
                if value > best.0 {
                    best = (value, u32::from_le_bytes(found[at]));
                }
            }
            best.1
        };
        (0..cells).map(best).collect()
    }

    /// The rows that the CPU finds.
    fn on_cpu(&self) -> Vec<u32> {
        let bank = PackedBank::new(self.values.clone(), self.dimensions);
        let mut found = vec![Neighbour::default(); self.cells()];
        let mask = self.mask.as_ref();
        bank.nearest(&self.features, mask, &Threads::default(), &mut found);
        found.iter().map(|n| n.row).collect()
    }
}

#[test]
fn the_kernel_finds_the_rows_of_the_cpu() {
    let folder = tempfile::tempdir().expect("folder");
    let Some(program) = program(folder.path()) else {
        return;
    };
    let (mut masked, mut odd) = (0, 0);
    for seed in 0..24 {
        let case = Case::drawn(seed);
        masked += usize::from(case.mask.is_some());
        odd += usize::from(case.features.iter().any(|v| !v.is_finite()));
        let slices = 1 + seed as usize % 3;
        let found = case.on_kernel(&program, slices);
        assert_eq!(found, case.on_cpu(), "seed {seed}");
    }
    assert!(masked > 3 && odd > 3, "{masked} masked, {odd} odd");
}
