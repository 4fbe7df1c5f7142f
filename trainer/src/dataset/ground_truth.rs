//! Ground-truth masks at the network's resolution.

use crate::error::TrainError;
use partgate::backbone::InputGeometry;
use partgate::frame::file::read_frame;
use partgate::frame::{Frame, Pixels};
use std::path::Path;

/// Whether each source pixel is marked: anything but black.
fn marked(frame: &Frame) -> Vec<bool> {
    match frame.pixels() {
        Pixels::Gray8(v) => v.iter().map(|&s| s != 0).collect(),
        Pixels::Gray16(v) => v.iter().map(|&s| s != 0).collect(),
        Pixels::Rgb8(v) => v.chunks_exact(3).map(|p| p != [0; 3]).collect(),
        Pixels::Rgb16(v) => v.chunks_exact(3).map(|p| p != [0; 3]).collect(),
    }
}

/// Bilinear weight pair for output pixel `out`: two source pixels that must both be marked for
/// an eroded mask.
fn between(out: usize, scale: f64, from: usize, length: usize) -> [usize; 2] {
    let at = ((out as f64 + 0.5) * scale - 0.5).clamp(0.0, (length - 1) as f64);
    let low = at.floor() as usize;
    let high = if at > low as f64 {
        (low + 1).min(length - 1)
    } else {
        low
    };
    [from + low, from + high]
}

/// Reads a mask and brings it to `[height, width]` of the input through the same region, resize and crop as its
/// image: nearest pixel, or, with `eroded`, only where bilinear interpolation gives exactly
/// "marked" (as the published figures do).
pub(crate) fn defect_mask(
    path: &Path,
    image_size: (usize, usize),
    geometry: &InputGeometry,
    eroded: bool,
) -> Result<Vec<u8>, TrainError> {
    let frame = read_frame(path)?;
    let (width, height) = (frame.width(), frame.height());
    if (width, height) != image_size {
        return Err(TrainError::Dataset {
            path: path.to_path_buf(),
            problem: format!(
                "the mask is {width} x {height} pixels but its image is {} x {}",
                image_size.0, image_size.1
            ),
        });
    }
    Ok(seen_by_network(
        &marked(&frame),
        image_size,
        geometry,
        eroded,
    ))
}

/// Marks `[height, width]` of an image brought to the network's input: 1 where the pixel that the
/// network sees is marked.
pub(crate) fn seen_by_network(
    source: &[bool],
    (width, height): (usize, usize),
    geometry: &InputGeometry,
    eroded: bool,
) -> Vec<u8> {
    let (x0, y0, rw, rh) = match geometry.roi {
        Some(r) => (
            r.x as usize,
            r.y as usize,
            r.width as usize,
            r.height as usize,
        ),
        None => (0, 0, width, height),
    };
    let (size, resize) = (geometry.size(), geometry.resize);
    let (left, top) = geometry.margin();
    let (sx, sy) = (
        rw as f64 / resize.width as f64,
        rh as f64 / resize.height as f64,
    );
    let nearest = |out: usize, scale: f64, from: usize, length: usize| {
        from + (((out as f64 + 0.5) * scale) as usize).min(length - 1)
    };
    let mut mask = Vec::with_capacity(size.area());
    for oy in top..top + size.height {
        for ox in left..left + size.width {
            let hit = if eroded {
                between(oy, sy, y0, rh).iter().all(|y| {
                    between(ox, sx, x0, rw)
                        .iter()
                        .all(|x| source[y * width + x])
                })
            } else {
                source[nearest(oy, sy, y0, rh) * width + nearest(ox, sx, x0, rw)]
            };
            mask.push(u8::from(hit));
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::size::Size;

    #[test]
    fn masks_follow_crop_and_erosion_only_shrinks() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("m.png");
        image::GrayImage::from_fn(100, 60, |x, y| {
            image::Luma([if (30..70).contains(&x) && (20..40).contains(&y) {
                255
            } else {
                0
            }])
        })
        .save(&path)
        .expect("mask");
        let geometry = InputGeometry {
            roi: None,
            resize: Size::square(64),
            crop: Size::square(32),
        };
        let plain = defect_mask(&path, (100, 60), &geometry, false).expect("mask");
        let eroded = defect_mask(&path, (100, 60), &geometry, true).expect("mask");
        assert_eq!(plain.len(), 32 * 32);
        let area = |m: &[u8]| m.iter().map(|&v| usize::from(v)).sum::<usize>();
        // 40 x 20 of 100 x 60 source pixels at 0.64 x 1.0667, all inside the crop.
        assert!(
            (area(&plain) as i64 - 26 * 21).abs() < 60,
            "{}",
            area(&plain)
        );
        assert!(area(&eroded) < area(&plain) && area(&eroded) > 0);
        assert!(plain.iter().zip(&eroded).all(|(p, e)| p >= e));
        let error = defect_mask(&path, (99, 60), &geometry, false).expect_err("size");
        assert!(error.to_string().contains("99 x 60"));
    }
}
