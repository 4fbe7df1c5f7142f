//! Shapes of surface damage as alpha masks: blobs, scars, rectangles and hand-drawn strokes.

use super::Kind;
use super::draws::{Noise, chance, direction, log_uniform, turn};
use super::samples::{AlphaMask, Window};
use partgate::seed::Rng;

/// Place and size of a shape.
pub(super) struct Placement {
    /// Column and row of its middle.
    pub(super) centre: (f32, f32),
    /// Area to aim for, pixels.
    pub(super) area: f32,
    /// Sides of the picture.
    pub(super) picture: (usize, usize),
}

/// Longest thin shape over the longer side: a longer one would cross the whole part and leave it.
/// Such shapes become thicker instead.
const LONGEST: f32 = 0.6;

impl Placement {
    fn longest(&self) -> f32 {
        LONGEST * self.picture.0.max(self.picture.1) as f32
    }

    /// The pixels between the given edges; at least the pixel of the centre.
    fn window(&self, left: f32, top: f32, right: f32, bottom: f32) -> Window {
        let clip = |v: f32, n: usize| (v.max(0.0) as usize).min(n - 1);
        let (w, h) = self.picture;
        let (x0, y0) = (clip(left.floor(), w), clip(top.floor(), h));
        let (x1, y1) = (clip(right.ceil(), w), clip(bottom.ceil(), h));
        Window {
            left: x0,
            top: y0,
            width: x1 - x0 + 1,
            height: y1 - y0 + 1,
        }
    }

    fn around(&self, reach: f32) -> Window {
        let (cx, cy) = self.centre;
        self.window(cx - reach, cy - reach, cx + reach, cy + reach)
    }
}

/// The mask of `alpha` at each pixel's offset from the centre.
fn mask(
    placement: &Placement,
    window: Window,
    mut alpha: impl FnMut(f32, f32) -> f32,
) -> AlphaMask {
    let (cx, cy) = placement.centre;
    let alpha = (0..window.area())
        .map(|i| {
            let x = (window.left + i % window.width) as f32;
            let y = (window.top + i / window.width) as f32;
            alpha(x - cx, y - cy)
        })
        .collect();
    AlphaMask { window, alpha }
}

/// The shape of a surface kind; a blob for kinds of the other family, which have no shape.
pub(super) fn shape(kind: Kind, placement: &Placement, rng: &mut Rng) -> AlphaMask {
    match kind {
        Kind::Scar => scar(placement, rng),
        Kind::Rectangle => rectangle(placement, rng),
        Kind::Stroke => stroke(placement, rng),
        _ => blob(placement, rng),
    }
}

/// Width of the soft border in pixels, for a shape about `thickness` pixels thick.
fn softness(rng: &mut Rng, thickness: f32) -> f32 {
    log_uniform(rng, 0.8, (0.3 * thickness).clamp(1.0, 30.0))
}

/// Reach of the blob's field in its own units; lobes lie within 1 and are at most 1.2 wide.
const FIELD_REACH: f32 = 2.3;

/// The field's value on the blob's outline.
const OUTLINE: f32 = 0.3;

/// Lobes whose fields add up, squeezed in one direction, with a rough outline.
fn blob(placement: &Placement, rng: &mut Rng) -> AlphaMask {
    let mut lobes = vec![(0.0, 0.0, 1.0)];
    for _ in 0..rng.below(6) {
        let (ux, uy) = direction(rng);
        let away = rng.between(0.4, 1.1);
        lobes.push((ux * away, uy * away, rng.between(0.35, 1.0)));
    }
    let roughness = rng.between(0.0, 0.35);
    let grain = log_uniform(rng, 0.15, 0.8);
    let noise = Noise::new(rng);
    let field = |u: f32, v: f32| -> f32 {
        let mut sum = 0.0;
        for &(x, y, r) in &lobes {
            let square = ((u - x) * (u - x) + (v - y) * (v - y)) / (r * r);
            let inside = (1.0 - square * 0.7).max(0.0);
            sum += inside * inside;
        }
        // Only inside the field, so that no islands appear far away.
        if sum > 0.0 {
            sum += roughness * noise.cloudy(u / grain, v / grain) * sum.min(0.5) * 2.0;
        }
        sum
    };
    // The outline has no closed form, so its area is counted on a grid.
    const STEPS: usize = 32;
    let step = 2.0 * FIELD_REACH / STEPS as f32;
    let at = |i: usize| (i as f32 + 0.5) * step - FIELD_REACH;
    let within = (0..STEPS * STEPS)
        .filter(|i| field(at(i % STEPS), at(i / STEPS)) > OUTLINE)
        .count();
    let unit_area = (within.max(20) as f32) * step * step;
    let scale = (placement.area / unit_area).sqrt().max(0.5);

    let (c, s) = direction(rng);
    let squeeze = log_uniform(rng, 1.0, 1.7);
    // The field falls by about 1 a unit, so a width in units is a difference of the field.
    let soft = (softness(rng, 2.0 * scale) / scale).max(0.05);
    let window = placement.around(FIELD_REACH * squeeze * scale);
    mask(placement, window, |dx, dy| {
        let u = (c * dx + s * dy) / (scale * squeeze);
        let v = (c * dy - s * dx) / scale * squeeze;
        if u.abs() > FIELD_REACH || v.abs() > FIELD_REACH {
            return 0.0;
        }
        let t = ((field(u, v) - OUTLINE) / soft + 0.5).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    })
}

/// A rectangle at any angle.
fn rectangle(placement: &Placement, rng: &mut Rng) -> AlphaMask {
    let aspect = log_uniform(rng, 1.0, 6.0);
    let half_height = (placement.area / aspect).sqrt() / 2.0;
    let half_width = (half_height * aspect).min(placement.longest() / 2.0);
    // Half of them straight, as scraps of tape and labels often lie.
    let (c, s) = if chance(rng, 0.5) {
        if chance(rng, 0.5) {
            (1.0, 0.0)
        } else {
            (0.0, 1.0)
        }
    } else {
        direction(rng)
    };
    let soft = softness(rng, 2.0 * half_height).min(half_height.max(1.0));
    let reach = half_width + half_height + soft + 1.0;
    mask(placement, placement.around(reach), |dx, dy| {
        let u = (c * dx + s * dy).abs() - half_width;
        let v = (c * dy - s * dx).abs() - half_height;
        (0.5 - u.max(v) / soft).clamp(0.0, 1.0)
    })
}

/// A point of a brushed line: offset from the centre, and radius of the brush.
#[derive(Clone, Copy)]
struct BrushPoint {
    x: f32,
    y: f32,
    radius: f32,
}

/// A line through `points`, as wide as they are.
fn brushed_line(placement: &Placement, points: &[BrushPoint], soft: f32) -> AlphaMask {
    let (cx, cy) = placement.centre;
    let (mut left, mut top, mut right, mut bottom) = (cx, cy, cx, cy);
    for point in points {
        let reach = point.radius + soft + 1.0;
        left = left.min(cx + point.x - reach);
        right = right.max(cx + point.x + reach);
        top = top.min(cy + point.y - reach);
        bottom = bottom.max(cy + point.y + reach);
    }
    let window = placement.window(left, top, right, bottom);
    let mut alpha = vec![0.0f32; window.area()];
    for pair in points.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let reach = a.radius.max(b.radius) + soft + 1.0;
        // Only the pixels near this piece: a line is long, its pieces are short.
        let range = |from: f32, to: f32, start: usize, n: usize| {
            let low = (from.min(to) - reach - start as f32).max(0.0) as usize;
            let high = (from.max(to) + reach - start as f32 + 1.0).max(0.0) as usize;
            low.min(n)..high.min(n)
        };
        let (ex, ey) = (b.x - a.x, b.y - a.y);
        let square = (ex * ex + ey * ey).max(1e-6);
        for row in range(cy + a.y, cy + b.y, window.top, window.height) {
            for column in range(cx + a.x, cx + b.x, window.left, window.width) {
                let dx = (window.left + column) as f32 - cx - a.x;
                let dy = (window.top + row) as f32 - cy - a.y;
                let t = ((dx * ex + dy * ey) / square).clamp(0.0, 1.0);
                let (px, py) = (dx - t * ex, dy - t * ey);
                let distance = (px * px + py * py).sqrt();
                let radius = a.radius + t * (b.radius - a.radius);
                let here = ((radius - distance) / soft + 0.5).clamp(0.0, 1.0);
                let at = row * window.width + column;
                alpha[at] = alpha[at].max(here);
            }
        }
    }
    AlphaMask { window, alpha }
}

/// Length and width of a thin shape of the placement's area.
fn thin(placement: &Placement, rng: &mut Rng, longer: (f32, f32)) -> (f32, f32) {
    let aspect = log_uniform(rng, longer.0, longer.1);
    let length = (placement.area * aspect).sqrt();
    // A line thinner than a pixel would look paler than its opacity: make it shorter instead.
    let length = length.min(placement.area).min(placement.longest()).max(3.0);
    let side = placement.picture.0.min(placement.picture.1) as f32;
    let width = (placement.area / length).clamp(1.0, (0.06 * side).max(1.5));
    (length, width)
}

/// A bent line that thins out towards its ends.
fn scar(placement: &Placement, rng: &mut Rng) -> AlphaMask {
    const PIECES: usize = 16;
    let (length, width) = thin(placement, rng, (8.0, 60.0));
    let (c, s) = direction(rng);
    let (bend, twist) = (rng.between(-0.6, 0.6), rng.between(-0.8, 0.8));
    let taper = rng.between(0.0, 0.9);
    let wobble = rng.between(0.0, 0.4);
    let points: Vec<BrushPoint> = (0..=PIECES)
        .map(|i| {
            let t = i as f32 / PIECES as f32 - 0.5;
            let arch = 0.25 - t * t;
            let aside = length * arch * (bend + twist * t);
            let along = length * t;
            let thick = (1.0 - taper * 4.0 * t * t) * (1.0 - wobble * rng.unit());
            BrushPoint {
                x: along * c - aside * s,
                y: along * s + aside * c,
                radius: (width * thick / 2.0).max(0.4),
            }
        })
        .collect();
    let soft = softness(rng, width);
    brushed_line(placement, &points, soft)
}

/// A line as a hand would draw it: a random walk that turns smoothly and presses unevenly.
fn stroke(placement: &Placement, rng: &mut Rng) -> AlphaMask {
    let (length, width) = thin(placement, rng, (10.0, 80.0));
    let pieces = 24 + rng.below(24);
    let step = length / pieces as f32;
    let (mut dx, mut dy) = direction(rng);
    let (mut x, mut y, mut bend, mut press) = (0.0f32, 0.0f32, 0.0f32, 1.0f32);
    let restless = rng.between(0.03, 0.2);
    let mut points = Vec::with_capacity(pieces + 1);
    for _ in 0..=pieces {
        points.push(BrushPoint {
            x,
            y,
            radius: (width * press / 2.0).max(0.4),
        });
        bend = (0.85 * bend + restless * rng.gaussian()).clamp(-0.6, 0.6);
        let (c, s) = turn(bend);
        (dx, dy) = (c * dx - s * dy, s * dx + c * dy);
        (x, y) = (x + step * dx, y + step * dy);
        press = (press * (1.0 + 0.15 * rng.gaussian())).clamp(0.4, 1.6);
    }
    // The middle of the walk lies on the centre, so that it stays in the part.
    let middle = points[points.len() / 2];
    for point in &mut points {
        point.x -= middle.x;
        point.y -= middle.y;
    }
    let soft = softness(rng, width);
    brushed_line(placement, &points, soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_about_the_area_asked_for() {
        for kind in [Kind::Blob, Kind::Scar, Kind::Rectangle, Kind::Stroke] {
            for area in [40.0, 400.0, 4000.0] {
                let mut ratio = 0.0;
                for seed in 0..60 {
                    let placement = Placement {
                        centre: (300.0, 200.0),
                        area,
                        picture: (600, 400),
                    };
                    let mask = shape(kind, &placement, &mut Rng::new(seed));
                    assert_eq!(mask.alpha.len(), mask.window.area());
                    assert!(mask.alpha.iter().all(|a| (0.0..=1.0).contains(a)));
                    let sum: f32 = mask.alpha.iter().sum();
                    assert!((0.15..3.5).contains(&(sum / area)), "{kind} {seed}: {sum}");
                    ratio += sum / area / 60.0;
                }
                assert!((0.5..1.5).contains(&ratio), "{kind} {area}: {ratio}");
            }
        }
    }

    #[test]
    fn shapes_at_the_corners_are_cut_off() {
        for seed in 0..200 {
            let placement = Placement {
                centre: if seed % 2 == 0 {
                    (0.0, 0.0)
                } else {
                    (15.0, 17.0)
                },
                area: 13.0,
                picture: (16, 18),
            };
            for kind in [Kind::Blob, Kind::Scar, Kind::Rectangle, Kind::Stroke] {
                let w = shape(kind, &placement, &mut Rng::new(seed)).window;
                assert!(w.left + w.width <= 16 && w.top + w.height <= 18, "{w:?}");
            }
        }
    }
}
