//! Components in the wrong place, turned, recoloured or gone. Every patch alone looks normal;
//! conditions on position and neighbourhood exist for such defects.

use super::Kind;
use super::draws::{Noise, chance, log_uniform};
use super::recolouring::Recolouring;
use super::region::Region;
use super::samples::{AlphaMask, Colour, Patch, Picture, Window};
use partgate::seed::Rng;

/// The kinds of this family.
pub(super) const KINDS: [Kind; 6] = [
    Kind::Swapped,
    Kind::Duplicated,
    Kind::Mirrored,
    Kind::Rotated,
    Kind::Recoloured,
    Kind::Removed,
];

/// Sides of components over the picture's shorter side.
const SIZE: (f32, f32) = (0.03, 0.2);

/// Width over height.
const ASPECT: (f32, f32) = (0.4, 2.5);

/// Smallest component, pixels: a smaller one would consist of its blended borders.
const SMALLEST: f32 = 4.0;

/// Choice of a place: the most distinct of `windows` windows.
#[derive(Clone, Copy)]
struct Choice {
    windows: usize,
    border_weight: f32,
}

/// With more windows the same few components would win every time.
const ANY: Choice = Choice {
    windows: 8,
    border_weight: 1.0,
};

/// For removal the whole component must lie in its window: the fill would smear what the border
/// cuts.
const WHOLE: Choice = Choice {
    windows: 40,
    border_weight: 8.0,
};

/// Share of a component's window that must lie in the region.
const INSIDE: f32 = 0.97;

/// Pixels between two places that exchange their contents, so that borders do not blend twice.
const APART: usize = 2;

/// How a component's window is cut out.
struct Cut {
    /// Radius of the corners over half the shorter side: 0 a rectangle, 1 round ends.
    corner: f32,
    /// Pixels over which the border is blended.
    feather: f32,
}

impl Cut {
    fn draw(rng: &mut Rng, w: Window) -> Self {
        let corner = if chance(rng, 0.5) { rng.unit() } else { 0.15 };
        // A wide border would leave nothing of a small component.
        let widest = if w.width.min(w.height) < 12 { 1.0 } else { 2.0 };
        Self {
            corner,
            feather: rng.between(1.0, widest),
        }
    }

    fn mask(&self, window: Window) -> AlphaMask {
        let half = (window.width as f32 / 2.0, window.height as f32 / 2.0);
        let radius = self.corner * half.0.min(half.1);
        let alpha = (0..window.area())
            .map(|i| {
                let x = (i % window.width) as f32 + 0.5 - half.0;
                let y = (i / window.width) as f32 + 0.5 - half.1;
                // Distance to a rectangle with round corners, negative inside.
                let (u, v) = (x.abs() - half.0 + radius, y.abs() - half.1 + radius);
                let (u0, v0) = (u.max(0.0), v.max(0.0));
                let distance = (u0 * u0 + v0 * v0).sqrt() + u.max(v).min(0.0) - radius;
                (-distance / self.feather).clamp(0.0, 1.0)
            })
            .collect();
        AlphaMask { window, alpha }
    }
}

/// Sides of a component; `square` for those that are turned by 90 degrees.
fn sides(picture: Picture<'_>, square: bool, smaller: f32, rng: &mut Rng) -> (usize, usize) {
    let side = picture.width().min(picture.height()) as f32;
    let size = side * log_uniform(rng, SIZE.0, SIZE.1 * smaller);
    let aspect = if square {
        1.0
    } else {
        log_uniform(rng, ASPECT.0, ASPECT.1)
    };
    let stretch = aspect.sqrt();
    let whole = |v: f32| (v.max(SMALLEST) + 0.5) as usize;
    (whole(size * stretch), whole(size / stretch))
}

/// The most distinct of a few windows of the given sides in the region, apart from `clear`.
fn component(
    region: &Region<'_>,
    picture: Picture<'_>,
    (width, height): (usize, usize),
    clear: Option<Window>,
    choice: Choice,
    rng: &mut Rng,
) -> Option<Window> {
    let mut best: Option<(f32, Window)> = None;
    let mut found = 0;
    for _ in 0..4 * choice.windows {
        let (x, y) = region.place(rng)?;
        let (Some(left), Some(top)) = (x.checked_sub(width / 2), y.checked_sub(height / 2)) else {
            continue;
        };
        let window = Window {
            left,
            top,
            width,
            height,
        };
        if left + width > picture.width()
            || top + height > picture.height()
            || clear.is_some_and(|c| c.touches(&window, APART))
            || region.share_inside(window) < INSIDE
        {
            continue;
        }
        let distinct = region.distinctness(window, choice.border_weight);
        if best.is_none_or(|(most, _)| distinct > most) {
            best = Some((distinct, window));
        }
        found += 1;
        if found == choice.windows {
            break;
        }
    }
    best.map(|(_, window)| window)
}

/// The patches that misplace a component by `kind`, or `None` when this draw found no place.
/// `smaller`, 0..=1, scales the largest component down, for small parts.
pub(super) fn misplaced(
    kind: Kind,
    picture: Picture<'_>,
    region: &Region<'_>,
    smaller: f32,
    rng: &mut Rng,
) -> Option<Vec<Patch>> {
    let quarter = kind == Kind::Rotated && chance(rng, 0.4);
    let sides = sides(picture, quarter, smaller, rng);
    let choice = if kind == Kind::Removed { WHOLE } else { ANY };
    let here = component(region, picture, sides, None, choice, rng)?;
    let cut = Cut::draw(rng, here);
    let mask = |window: Window| cut.mask(window).limited(1.0, |x, y| region.holds(x, y));
    // Last column and row of the window, for mirroring.
    let (right, bottom) = (here.width - 1, here.height - 1);
    let inside = |x: usize, y: usize| (x - here.left, y - here.top);
    let at = |i: usize, j: usize| picture.at(here.left + i, here.top + j);
    Some(match kind {
        Kind::Swapped | Kind::Duplicated => {
            let there = component(region, picture, sides, Some(here), ANY, rng)?;
            let moved = |to: Window, from: Window| {
                Patch::new(mask(to), |x, y| {
                    picture.at(from.left + x - to.left, from.top + y - to.top)
                })
            };
            let mut patches = vec![moved(there, here)];
            if kind == Kind::Swapped {
                patches.push(moved(here, there));
            }
            patches
        }
        Kind::Mirrored => {
            let upright = chance(rng, 0.5);
            vec![Patch::new(mask(here), |x, y| {
                let (i, j) = inside(x, y);
                if upright {
                    at(right - i, j)
                } else {
                    at(i, bottom - j)
                }
            })]
        }
        Kind::Rotated => {
            let left = chance(rng, 0.5);
            vec![Patch::new(mask(here), |x, y| {
                let (i, j) = inside(x, y);
                match (quarter, left) {
                    (true, true) => at(right - j, i),
                    (true, false) => at(j, bottom - i),
                    (false, _) => at(right - i, bottom - j),
                }
            })]
        }
        Kind::Recoloured => vec![recoloured(picture, mask(here), rng)],
        _ => vec![removed(picture, mask(here), rng)],
    })
}

/// The colours just outside a window: above, below, left and right of it.
struct Surroundings {
    above: Vec<Colour>,
    below: Vec<Colour>,
    left: Vec<Colour>,
    right: Vec<Colour>,
}

impl Surroundings {
    fn around(picture: Picture<'_>, w: Window) -> Self {
        let (x0, y0) = (w.left as i64, w.top as i64);
        let (x1, y1) = (x0 + w.width as i64, y0 + w.height as i64);
        Self {
            above: (x0..x1).map(|x| picture.reflected(x, y0 - 1)).collect(),
            below: (x0..x1).map(|x| picture.reflected(x, y1)).collect(),
            left: (y0..y1).map(|y| picture.reflected(x0 - 1, y)).collect(),
            right: (y0..y1).map(|y| picture.reflected(x1, y)).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Colour> {
        [&self.above, &self.below, &self.left, &self.right]
            .into_iter()
            .flatten()
    }

    fn median(&self) -> Colour {
        std::array::from_fn(|c| {
            let mut values: Vec<f32> = self.all().map(|colour| colour[c]).collect();
            values.sort_unstable_by(f32::total_cmp);
            values[values.len() / 2]
        })
    }
}

/// The mean of a line of colours over `reach` entries to both sides.
fn smoothed(line: &[Colour], reach: usize) -> Vec<Colour> {
    (0..line.len())
        .map(|i| {
            let near = &line[i.saturating_sub(reach)..(i + reach + 1).min(line.len())];
            let mut sum = [0.0; 3];
            for colour in near {
                for c in 0..3 {
                    sum[c] += colour[c];
                }
            }
            sum.map(|s| s / near.len() as f32)
        })
        .collect()
}

/// Paints the surroundings over the component; nearer ones count for more. It adds the grain of the
/// border, because a smooth place would stand out.
fn removed(picture: Picture<'_>, mask: AlphaMask, rng: &mut Rng) -> Patch {
    let w = mask.window;
    let sharp = Surroundings::around(picture, w);
    let reach = 1 + w.width.min(w.height) / 6;
    let soft = Surroundings {
        above: smoothed(&sharp.above, reach),
        below: smoothed(&sharp.below, reach),
        left: smoothed(&sharp.left, reach),
        right: smoothed(&sharp.right, reach),
    };
    let mut square = 0.0;
    for (a, b) in sharp.all().zip(soft.all()) {
        square += (a[1] - b[1]) * (a[1] - b[1]);
    }
    // The bound keeps edges in the border from counting as grain.
    let grain = (square / (2 * (w.width + w.height)) as f32)
        .sqrt()
        .min(0.03);
    let noise = Noise::new(rng);
    Patch::new(mask, |x, y| {
        let (i, j) = (x - w.left, y - w.top);
        let sides = [
            (soft.left[j], i + 1),
            (soft.right[j], w.width - i),
            (soft.above[i], j + 1),
            (soft.below[i], w.height - j),
        ];
        let mut sum = [0.0; 3];
        let mut weights = 0.0;
        for (colour, distance) in sides {
            let weight = 1.0 / (distance * distance) as f32;
            weights += weight;
            for c in 0..3 {
                sum[c] += weight * colour[c];
            }
        }
        // Uniform in -1..=1 has the deviation 0.58.
        let n = 1.7 * grain * noise.grain(x as f32, y as f32);
        sum.map(|s| s / weights + n)
    })
}

/// Gives the component another colour. Pixels of the surroundings' colour keep theirs: they are the
/// ground behind it.
fn recoloured(picture: Picture<'_>, mut mask: AlphaMask, rng: &mut Rng) -> Patch {
    let w = mask.window;
    let ground = Surroundings::around(picture, w).median();
    let recolouring = Recolouring::draw(rng, picture.is_grey());
    let whole = chance(rng, 0.3);
    if !whole {
        for (i, alpha) in mask.alpha.iter_mut().enumerate() {
            let colour = picture.at(w.left + i % w.width, w.top + i / w.width);
            let mut off = 0.0f32;
            for c in 0..3 {
                off = off.max((colour[c] - ground[c]).abs());
            }
            *alpha *= ((off - 0.06) / 0.1).clamp(0.0, 1.0);
        }
    }
    Patch::new(mask, |x, y| recolouring.apply(picture.at(x, y)))
}
