//! Marks on the golden images of a bundle. They must stay the same to the byte, because committed
//! bundles and their scores depend on them. [`super::Damager`] draws the damage for training.

use partgate::frame::{Frame, FrameError, Pixels};
use partgate::seed::Rng;

/// A scar (a thin bent line) or a blob, blended into a copy of `frame`, somewhere in its middle
/// half. Only products, sums and roots, so that a seed gives the same damage on every machine.
pub(crate) fn damaged(frame: &Frame, seed: u64) -> Result<Frame, FrameError> {
    let mut rng = Rng::new(seed);
    let (width, height) = (frame.width(), frame.height());
    let side = width.min(height) as f32;
    let cx = width as f32 * rng.between(0.3, 0.7);
    let cy = height as f32 * rng.between(0.3, 0.7);
    let scar = rng.unit() < 0.5;
    let radius = if scar {
        side * rng.between(0.008, 0.015) + 0.7
    } else {
        side * rng.between(0.04, 0.08) + 1.0
    };
    let length = if scar {
        side * rng.between(0.15, 0.3)
    } else {
        0.0
    };
    let (mut ux, mut uy) = (rng.between(-1.0, 1.0), rng.between(-1.0, 1.0));
    let norm = (ux * ux + uy * uy).sqrt().max(1e-3);
    (ux, uy) = (ux / norm, uy / norm);
    let bend = rng.between(-0.3, 0.3);
    // Towards the far end of the range, so that it shows on dark and on bright parts.
    let tint = [rng.unit(), rng.unit(), rng.unit()];

    let coverage = |x: usize, y: usize| -> f32 {
        let (dx, dy) = (x as f32 + 0.5 - cx, y as f32 + 0.5 - cy);
        let along = (dx * ux + dy * uy).clamp(-length / 2.0, length / 2.0);
        let sag = if length > 0.0 {
            bend * length * (0.25 - (along / length) * (along / length))
        } else {
            0.0
        };
        let (px, py) = (along * ux - sag * uy, along * uy + sag * ux);
        let distance = ((dx - px) * (dx - px) + (dy - py) * (dy - py)).sqrt();
        (radius + 0.5 - distance).clamp(0.0, 1.0) * 0.85
    };
    let blend = |value: f32, full: f32, channel: usize, cover: f32| -> f32 {
        let target = if value > full / 2.0 { 0.25 } else { 0.75 };
        let to = full * (0.7 * target + 0.3 * tint[channel]);
        value + cover * (to - value)
    };
    macro_rules! paint {
        ($samples:expr, $channels:expr, $full:expr, $kind:ty) => {{
            let mut out = $samples.clone();
            for (i, pixel) in out.chunks_exact_mut($channels).enumerate() {
                let cover = coverage(i % width, i / width);
                if cover > 0.0 {
                    for (c, s) in pixel.iter_mut().enumerate() {
                        *s = (blend(f32::from(*s), $full, c, cover) + 0.5) as $kind;
                    }
                }
            }
            out
        }};
    }
    let pixels = match frame.pixels() {
        Pixels::Gray8(v) => Pixels::Gray8(paint!(v, 1, 255.0, u8)),
        Pixels::Rgb8(v) => Pixels::Rgb8(paint!(v, 3, 255.0, u8)),
        Pixels::Gray16(v) => Pixels::Gray16(paint!(v, 1, 65535.0, u16)),
        Pixels::Rgb16(v) => Pixels::Rgb16(paint!(v, 3, 65535.0, u16)),
    };
    Frame::new(width, height, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_local_seeded_and_visible() {
        let frame = Frame::new(120, 90, Pixels::Rgb8(vec![200; 120 * 90 * 3])).expect("frame");
        for seed in 0..20 {
            let hurt = damaged(&frame, seed).expect("damage");
            assert_eq!(hurt, damaged(&frame, seed).expect("damage"));
            let (Pixels::Rgb8(a), Pixels::Rgb8(b)) = (frame.pixels(), hurt.pixels()) else {
                unreachable!()
            };
            let changed = a
                .iter()
                .zip(b)
                .filter(|(x, y)| x.abs_diff(**y) > 20)
                .count();
            assert!(
                (30..a.len() / 10).contains(&changed),
                "seed {seed}: {changed}"
            );
        }
    }
}
