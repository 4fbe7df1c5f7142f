//! The wire harness: five insulated wires between the two terminal blocks.

use super::assembly::{Assembly, COLOURS, Cut, TERMINALS, WIRES, Wire};
use super::canvas::{Area, Canvas, coverage, length, lifted, lit, mix, scaled, shine, smooth};
use super::canvas::{Rgb, WIDTH, colour};
use super::nuisance::Nuisance;

/// Half of a wire's thickness, pixels.
const RADIUS: f32 = 3.5;
/// Half of the bare copper's thickness, pixels.
const CORE: f32 = 1.5;
const COPPER: Rgb = colour(214, 134, 84);
/// Pixels from one wire to the next in the bundle.
const BUNDLE_PITCH: f32 = 11.0;
/// Where wires end inside the left block; the right block mirrors it.
const INSIDE: f32 = 44.0;

/// Height of a terminal's middle, pixels from the top.
pub(super) fn terminal_y(terminal: usize) -> f32 {
    128.0 + (terminal as f32 - (TERMINALS as f32 - 1.0) / 2.0) * 21.0
}

/// The course of a wire: height over x, level at each knot and smooth between them.
struct Course {
    knots: [[f32; 2]; 5],
    cut: Option<Cut>,
}

impl Course {
    fn new(place: usize, wire: &Wire, sag: &[[f32; 2]; 3], cut: Option<Cut>) -> Self {
        let bundle = 128.0 + (place as f32 - (WIRES as f32 - 1.0) / 2.0) * BUNDLE_PITCH;
        let free = |x: f32, [along, across]: [f32; 2]| [x + along, bundle + across];
        let [a, b, c] = *sag;
        Self {
            knots: [
                [57.0, terminal_y(wire.left)],
                free(118.0, a),
                free(160.0, b),
                free(202.0, c),
                [WIDTH as f32 - 57.0, terminal_y(wire.right)],
            ],
            cut,
        }
    }

    /// Height and slope at `x`.
    fn at(&self, x: f32) -> (f32, f32) {
        let [first, .., last] = self.knots;
        let (mut y, mut slope) = if x < first[0] {
            (first[1], 0.0)
        } else {
            (last[1], 0.0)
        };
        for pair in self.knots.windows(2) {
            if let [[x0, y0], [x1, y1]] = *pair
                && x >= x0
                && x < x1
            {
                let t = (x - x0) / (x1 - x0);
                y = y0 + (y1 - y0) * t * t * (3.0 - 2.0 * t);
                slope = (y1 - y0) * 6.0 * t * (1.0 - t) / (x1 - x0);
            }
        }
        if let Some(cut) = &self.cut {
            // The last 22 pixels before the gap have moved off the course.
            let side = if x < cut.x { 0 } else { 1 };
            let near = (1.0 - ((x - cut.x).abs() - cut.gap / 2.0).max(0.0) / 22.0).max(0.0);
            y += cut.droop[side] * near * near;
            let inward = if side == 0 { 1.0 } else { -1.0 };
            slope += inward * cut.droop[side] * near / 11.0;
        }
        (y, slope)
    }

    /// Distance from the wire's middle (signed across it), the slope there, and how far the nearest
    /// point is outside the gap (pixels; negative in the gap). None if it is farther than `most`.
    fn across(&self, x: f32, y: f32, most: f32) -> Option<(f32, f32, f32)> {
        let (height, slope) = self.at(x);
        let rise = y - height;
        // No wire is steeper than 1.5, so a point this far above or below is out of reach.
        if rise.abs() > 1.9 * most {
            return None;
        }
        // One step towards the foot of the perpendicular is enough, because wires bend slowly.
        let foot = x + slope * rise / (1.0 + slope * slope);
        let (height, slope) = self.at(foot);
        let distance = length(x - foot, y - height);
        let signed = if y < height { -distance } else { distance };
        let clear = self
            .cut
            .map_or(1000.0, |cut| (foot - cut.x).abs() - cut.gap / 2.0);
        (distance <= most).then_some((signed, slope, clear))
    }

    fn area(&self, margin: f32) -> Area {
        let mut area = Area {
            x0: INSIDE,
            x1: WIDTH as f32 - INSIDE,
            y0: 1000.0,
            y1: -1000.0,
        };
        for [_, y] in self.knots {
            area.y0 = area.y0.min(y - margin);
            area.y1 = area.y1.max(y + margin);
        }
        area
    }
}

/// Draws the harness and its shadow.
pub(super) fn draw(canvas: &mut Canvas, assembly: &Assembly, nuisance: &Nuisance) {
    let courses: Vec<(Course, Rgb)> = assembly
        .wires
        .iter()
        .zip(&nuisance.sag)
        .enumerate()
        .map(|(place, (wire, sag))| {
            let cut = assembly.cut.filter(|cut| cut.wire == place);
            let skin = COLOURS.get(wire.colour).copied().unwrap_or_default();
            (Course::new(place, wire, sag, cut), skin)
        })
        .collect();
    for (course, _) in &courses {
        shadow(canvas, course);
    }
    for (course, skin) in &courses {
        insulation(canvas, course, *skin);
    }
}

/// Wires hang a little above the plate: their shadow is soft and is below and to the right.
fn shadow(canvas: &mut Canvas, course: &Course) {
    canvas.darken(course.area(16.0), |x, y| {
        // None inside the blocks, where no surface can show it.
        if !(54.0..=WIDTH as f32 - 54.0).contains(&x) {
            return 0.0;
        }
        let cast = course.across(x - 2.6, y - 3.6, RADIUS + 4.0);
        cast.map_or(0.0, |(d, _, clear)| {
            let open = smooth(-2.0, 2.0, clear);
            0.55 * open * (1.0 - smooth(RADIUS - 3.0, RADIUS + 3.0, d.abs()))
        })
    });
}

fn insulation(canvas: &mut Canvas, course: &Course, skin: Rgb) {
    canvas.paint(course.area(9.0), |x, y| {
        let Some((d, slope, clear)) = course.across(x, y, RADIUS + 1.0) else {
            return (0.0, [0.0; 3]);
        };
        let run = (1.0 + slope * slope).sqrt();
        let rounded = |radius: f32, skin: Rgb, gloss: f32| {
            let t = (d / radius).clamp(-0.97, 0.97);
            let (nx, ny) = (-slope / run * t, t / run);
            lifted(scaled(skin, lit(nx, ny)), gloss * shine(nx, ny, 5))
        };
        // Darker where it enters the terminal.
        let inside = x.min(WIDTH as f32 - x);
        let depth = 0.25 + 0.75 * smooth(INSIDE, 55.0, inside);
        let sleeve = coverage(d.abs() - RADIUS) * coverage(-clear);
        let core = coverage(d.abs() - CORE) * coverage(-clear - 4.0);
        let end = coverage(INSIDE - inside);
        if sleeve >= core {
            (sleeve * end, scaled(rounded(RADIUS, skin, 0.22), depth))
        } else {
            let copper = rounded(CORE, COPPER, 0.4);
            let mixed = mix(copper, rounded(RADIUS, skin, 0.22), sleeve);
            (core, mixed)
        }
    });
}
