//! Promise: width and height of an input mean the same everywhere. Features, masks, maps and golden
//! maps of any size are what their definitions say, and a transposed input gives the transposed
//! result.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod command;

use bundle::{Recipe, SMALL};
use command::{field, number, partgate, text};
use partgate::product::{COARSE_SIDE, coarse};
use partgate::score::{Aggregator, Border, IgnoreMask, ScoreMap};
use partgate::seed::Rng;
use partgate::simulation::part::Renderer;
use partgate::size::Size;
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

const STRIDE: usize = 8;

fn transposed<T: Copy>(values: &[T], size: Size) -> Vec<T> {
    let turned = size.transposed();
    (0..size.area())
        .map(|i| values[i % turned.width * size.width + i / turned.width])
        .collect()
}

fn drawn(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| rng.unit()).collect()
}

/// Upsampling and blur, pixel by pixel.
fn plain_map(cells: &[f32], grid: Size, size: Size, sigma: f64) -> Vec<f64> {
    let up = |x: isize, y: isize| {
        let inside = |at: isize, side: usize| {
            let at = at.rem_euclid(2 * side as isize) as usize;
            at.min(2 * side - 1 - at)
        };
        let sample = |at: usize, side: usize, cells: usize| {
            let at = (at as f64 + 0.5) * cells as f64 / side as f64 - 0.5;
            let at = at.clamp(0.0, (cells - 1) as f64);
            (at as usize, (at as usize + 1).min(cells - 1), at.fract())
        };
        let (x0, x1, fx) = sample(inside(x, size.width), size.width, grid.width);
        let (y0, y1, fy) = sample(inside(y, size.height), size.height, grid.height);
        let at = |x: usize, y: usize| f64::from(cells[y * grid.width + x]);
        (1.0 - fy) * ((1.0 - fx) * at(x0, y0) + fx * at(x1, y0))
            + fy * ((1.0 - fx) * at(x0, y1) + fx * at(x1, y1))
    };
    let radius = (4.0 * sigma + 0.5) as isize;
    let weight = |d: isize| (-0.5 * (d as f64 / sigma).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let (width, height) = (size.width as isize, size.height as isize);
    (0..width * height)
        .map(|i| {
            let (x, y) = (i % width, i / width);
            let mut sum = 0.0;
            for dy in -radius..=radius {
                for dx in -radius..=radius {
                    sum += weight(dx) * weight(dy) * up(x + dx, y + dy);
                }
            }
            sum / (total * total)
        })
        .collect()
}

fn grids() -> impl Strategy<Value = Size> {
    (1usize..9, 1usize..9).prop_map(|(width, height)| Size::new(width, height))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_map_is_the_blurred_cells(grid in grids(), sigma in 0.6f32..3.0, seed: u64) {
        let size = grid.map(|cells| STRIDE * cells);
        let cells = drawn(seed, grid.area());
        let mut map = ScoreMap::new(grid, size, sigma, None);
        let score = map.score(&cells);
        let pixels = map.pixels();
        let want = plain_map(&cells, grid, size, f64::from(sigma));
        for (got, want) in pixels.iter().zip(&want) {
            prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
        prop_assert_eq!(score, pixels.iter().copied().fold(0.0, f32::max));
        let mut turned = ScoreMap::new(grid.transposed(), size.transposed(), sigma, None);
        turned.score(&transposed(&cells, grid));
        let back = transposed(turned.pixels(), size.transposed());
        for (a, b) in pixels.iter().zip(&back) {
            prop_assert!((a - b).abs() < 1e-5);
        }
        // Golden maps are means of rectangles of it.
        let (here, there) = (coarse(pixels, size), coarse(turned.pixels(), size.transposed()));
        let there = transposed(&there, Size::square(COARSE_SIDE));
        for (a, b) in here.iter().zip(&there) {
            prop_assert!((a - b).abs() < 1e-5);
        }
    }

    #[test]
    fn a_cell_is_ignored_where_all_its_pixels_are(grid in grids(), share in 0.9f32..1.0, seed: u64) {
        let size = grid.map(|cells| STRIDE * cells);
        let pixels: Vec<bool> = drawn(seed, size.area()).iter().map(|&v| v < share).collect();
        let mask = IgnoreMask::new(pixels.clone(), size, grid);
        for (cell, &ignored) in mask.cells().iter().enumerate() {
            let (row, column) = (cell / grid.width, cell % grid.width);
            let all = (0..STRIDE * STRIDE).all(|i| {
                let (y, x) = (row * STRIDE + i / STRIDE, column * STRIDE + i % STRIDE);
                pixels[y * size.width + x]
            });
            prop_assert_eq!(ignored, all);
        }
        let turned = transposed(&pixels, size);
        let turned = IgnoreMask::new(turned, size.transposed(), grid.transposed());
        prop_assert_eq!(turned.cells(), &transposed(mask.cells(), grid)[..]);
    }

    #[test]
    fn features_of_a_transposed_picture_are_transposed(half in grids(), inside: bool, seed: u64) {
        let grid = half.map(|cells| 2 * cells);
        let (channels, border) = ([3, 2], if inside { Border::Inside } else { Border::Zero });
        let fine = drawn(seed, channels[0] * grid.area());
        let coarse = drawn(seed ^ 1, channels[1] * half.area());
        let run = |grid: Size, fine: &[f32], coarse: &[f32]| {
            let mut aggregator = Aggregator::new(grid, channels, 3, border);
            let mut out = vec![0.0; grid.area() * aggregator.dimensions()];
            aggregator.run(fine, coarse, &mut out);
            out
        };
        let turned = |tap: &[f32], size: Size| -> Vec<f32> {
            tap.chunks_exact(size.area()).flat_map(|plane| transposed(plane, size)).collect()
        };
        let here = run(grid, &fine, &coarse);
        let there = run(grid.transposed(), &turned(&fine, grid), &turned(&coarse, half));
        for cell in 0..grid.area() {
            let other = cell % grid.width * grid.height + cell / grid.width;
            for k in 0..5 {
                let (a, b) = (here[cell * 5 + k], there[other * 5 + k]);
                prop_assert!((a - b).abs() < 1e-5, "cell {cell} value {k}: {a} {b}");
            }
        }
    }
}

#[test]
fn every_command_shows_width_and_height() {
    let folder = tempfile::tempdir().expect("folder");
    let golden = |name: &str| text(&bundle::root().join("tests/golden").join(name));
    let tall = golden("format-3.pgp");
    let printed = partgate(&["inspect", &tall]).exits(0).stdout;
    for words in ["to 104 x 72, then the central 96 x 64", "at 48 x 32 pixels"] {
        assert!(printed.contains(words), "no `{words}` in {printed}");
    }
    let described = partgate(&["inspect", &tall, "--json"]).exits(0).json();
    assert_eq!(number(&described, "file.format"), 3.0);
    assert_eq!(
        field(&described, "input.crop"),
        &json!({"width": 96, "height": 64})
    );
    partgate(&["selftest", &tall]).exits(0);
    let printed = partgate(&["bench", &tall, "--runs", "2"]).exits(0).stdout;
    assert!(
        printed.contains(" 96 x 64 px, bank of 24 rows + 48 x 32 px, bank of "),
        "{printed}"
    );
    let measured = partgate(&["bench", &tall, "--runs", "2", "--json"])
        .exits(0)
        .json();
    assert_eq!(
        field(&measured, "side"),
        &json!({"width": 96, "height": 64})
    );
    let printed = partgate(&["diff", &golden("format-2.pgp"), &tall])
        .exits(0)
        .stdout;
    assert!(printed.contains("input.crop"), "{printed}");

    // The overlay has the aspect of the picture.
    let picture = folder.path().join("part.png");
    bundle::save(&Renderer::new(1).good(1), &picture);
    let out = text(&folder.path().join("overlays"));
    let line = &partgate(&["score", &tall, &text(&picture), "--out", &out])
        .exits(0)
        .lines()[0];
    let overlay = field(line, "overlay").as_str().expect("overlay");
    let overlay = image::open(Path::new(overlay)).expect("picture");
    assert_eq!((overlay.width(), overlay.height()), (320, 256));
}

/// A line whose camera gives pictures of another size or aspect is not started.
#[test]
fn a_camera_of_another_aspect_is_refused_by_the_check() {
    let folder = tempfile::tempdir().expect("folder");
    // Fitted on pictures of 320 x 256.
    let bytes = bundle::build(&Recipe {
        size: Size::new(160, 128),
        ..SMALL
    });
    assert_eq!(bytes[8..12], 3u32.to_le_bytes());
    std::fs::write(folder.path().join("part.pgp"), bytes).expect("write");
    let pictures = folder.path().join("parts");
    std::fs::create_dir_all(folder.path().join("record")).expect("folder");
    std::fs::create_dir_all(&pictures).expect("folder");
    let config = "product = \"part.pgp\"\nboard = \"generic-x86\"\n\
        [camera]\nsource = \"folder\"\nfolder = \"parts\"\n\
        [trigger]\nkind = \"socket\"\nmin_pitch_ms = 1000\n\
        [capture]\nexposure_max_ms = 100\ndelivery_ms = 100\n\
        [gate]\nafter_ms = 60000\npulse_ms = 40\nejector = \"pass\"\n\
        [inference]\ntimeout_ms = 60000\n\
        [lines]\npass = \"line partgate-test-of-a-line\"\n\
        [record]\nfolder = \"record\"\nimages_quota_mib = 1\nmin_free_mib = 1\nlog_max_mib = 1\n\
        [control]\nsocket = \"control.sock\"\n[trust]\nallow_unsigned = true\n";
    let line = folder.path().join("line.toml");
    std::fs::write(&line, config).expect("write");
    for ((width, height), code) in [
        ((320, 256), 0),
        ((640, 512), 0),
        ((256, 320), 3),
        ((256, 256), 3),
    ] {
        image::GrayImage::new(width, height)
            .save(pictures.join("0.png"))
            .expect("write");
        let check = partgate(&["config", "check", &text(&line)]).exits(code);
        let said = check.stdout.contains("another view");
        assert_eq!(said, code == 3, "{width} x {height}: {}", check.stdout);
    }
    // And so by `score`.
    let standing = text(&pictures.join("0.png"));
    let bundle = text(&folder.path().join("part.pgp"));
    partgate(&["score", &bundle, &standing, "--gate"]).exits(3);
}
