//! The product's layout, drawn from the fixture upwards.

use super::assembly::{Assembly, Chip, Scratch, Stain, TERMINALS};
use super::canvas::{
    Area, Canvas, HEIGHT, Rgb, RoundBox, Texture, WIDTH, colour, coverage, length, lifted, lit,
    mix, scaled, smooth,
};
use super::components::{self, DARK, STEEL};
use super::nuisance::{Nuisance, SEATS};
use super::text::Mark;
use super::wires::{self, terminal_y};

const PLATE: Rgb = colour(150, 153, 155);
const FIXTURE: Rgb = colour(50, 55, 62);
const BLOCK: Rgb = colour(48, 128, 84);
const BRASS_PAD: Rgb = colour(190, 160, 96);

/// The base plate, 304 by 240 pixels in the middle of the image.
pub(super) const BASE: RoundBox = RoundBox {
    cx: WIDTH as f32 / 2.0,
    cy: HEIGHT as f32 / 2.0,
    half_x: 152.0,
    half_y: 120.0,
    radius: 11.0,
};

/// Corner screws: top left, top right, bottom left, bottom right.
const SCREWS: [[f32; 2]; 4] = [[26.0, 26.0], [294.0, 26.0], [26.0, 230.0], [294.0, 230.0]];

/// Middle of each seat: K1, C3, C1, C2, F1, H1, H2.
const PLACES: [[f32; 2]; SEATS] = [
    [86.0, 44.0],
    [207.0, 44.0],
    [146.5, 29.0],
    [146.5, 61.0],
    [242.0, 42.0],
    [51.0, 32.0],
    [269.0, 32.0],
];

/// Half sizes of each seat's printed outline.
const OUTLINES: [[f32; 2]; SEATS] = [
    [22.0, 24.0],
    [22.0, 24.0],
    [37.0, 15.5],
    [37.0, 15.5],
    [11.5, 27.5],
    [9.5, 9.5],
    [9.5, 9.5],
];

/// The name printed by each seat, and where.
const NAMES: [(&str, [f32; 2]); SEATS] = [
    ("K1", [86.0, 74.0]),
    ("C3", [207.0, 74.0]),
    ("C1", [134.0, 82.0]),
    ("C2", [159.0, 82.0]),
    ("F1", [262.0, 57.0]),
    ("H1", [51.0, 47.5]),
    ("H2", [269.0, 47.5]),
];

/// Middle of the coding block.
const CODING: [f32; 2] = [WIDTH as f32 / 2.0, 214.0];

/// The bare plate in its fixture. It is a third of the work, and the same for every defect except
/// one.
pub(super) fn ground(assembly: &Assembly, nuisance: &Nuisance) -> Canvas {
    let mut canvas = Canvas::new(nuisance.pose);
    plate(&mut canvas, &nuisance.texture, assembly.chip.as_ref());
    canvas
}

/// Draws everything on `ground`, with the variations of `nuisance`.
pub(super) fn mount(ground: Canvas, assembly: &Assembly, nuisance: &Nuisance) -> Canvas {
    let mut canvas = ground;
    // Defects of the surface are drawn first, because everything on the surface hides it.
    if let Some(stain) = &assembly.stain {
        spot(&mut canvas, stain);
    }
    prints(&mut canvas);
    if let Some(scratch) = &assembly.scratch {
        stroke(&mut canvas, scratch);
    }
    for ((place, present), slot) in SCREWS.iter().zip(assembly.screws).zip(nuisance.screw_slots) {
        corner_screw(&mut canvas, *place, present.then_some(slot));
    }
    mounted(&mut canvas, assembly, nuisance);
    let [x, y] = CODING;
    components::coding(&mut canvas, x, y, &assembly.plugs);
    let (left, right) = nuisance.terminal_slots.split_at(TERMINALS);
    block(&mut canvas, false, left);
    block(&mut canvas, true, right);
    wires::draw(&mut canvas, assembly, nuisance);
    clamp(&mut canvas);
    canvas
}

/// Distance from the plate's outline, without the missing piece.
fn outline(x: f32, y: f32, chip: Option<&Chip>) -> (f32, f32, [f32; 2]) {
    let (d, n) = BASE.distance(x, y);
    let mut bite = 1000.0f32;
    if let Some(chip) = chip {
        for [bx, by, radius] in chip.bites {
            bite = bite.min(length(x - bx, y - by) - radius);
        }
    }
    (d, bite, n)
}

fn plate(canvas: &mut Canvas, texture: &Texture, chip: Option<&Chip>) {
    canvas.paint(Area::ALL, |x, y| {
        let grain = texture.at((x + 9.0) / 2.3, (y + 9.0) / 2.3, 151);
        let (d, bite, [nx, ny]) = outline(x, y, chip);
        let inside = coverage(d.max(-bite));
        let mut under = FIXTURE;
        if inside < 1.0 {
            // The plate stands six pixels above the fixture.
            let (far, far_bite, _) = outline(x - 2.5, y - 3.0, chip);
            let cast = 1.0 - smooth(-4.0, 4.0, far.max(-far_bite));
            under = scaled(under, (1.0 + 0.12 * grain) * (1.0 - 0.6 * cast));
        }
        if inside <= 0.0 {
            return (1.0, under);
        }
        // Brushed along x: long streaks over the fine grain of the casting.
        let streak = texture.at((x + 9.0) / 34.0, (y + 9.0) / 1.1, 13);
        let wide = texture.at((x + 9.0) / 90.0 + 20.0, (y + 9.0) / 5.0, 29);
        let metal = scaled(PLATE, 1.0 + 0.07 * streak + 0.05 * wide + 0.04 * grain);
        let lean = 0.7 * (1.0 + d / 3.0).clamp(0.0, 1.0);
        let mut light = scaled(metal, lit(nx * lean, ny * lean));
        // The groove engraved around the plate.
        let groove = (d + 7.0).abs();
        light = scaled(light, 1.0 - 0.22 * (1.0 - smooth(0.3, 1.4, groove)));
        if chip.is_some() {
            // A fresh break is bright and rough.
            let facet = 1.0 - smooth(1.5, 3.5, bite);
            let broken = scaled(colour(214, 214, 210), 0.85 + 0.3 * grain);
            light = mix(light, broken, facet);
        }
        (1.0, mix(under, light, inside))
    });
}

fn prints(canvas: &mut Canvas) {
    for ([cx, cy], [half_x, half_y]) in PLACES.into_iter().zip(OUTLINES) {
        let shape = RoundBox {
            cx,
            cy,
            half_x,
            half_y,
            radius: half_x.min(half_y).min(9.5) * if half_x < 10.0 { 1.0 } else { 0.25 },
        };
        canvas.paint(shape.area(2.0), |x, y| {
            let line = coverage(shape.distance(x, y).0.abs() - 0.5);
            (0.6 * line, DARK)
        });
        // Two holes for the leads, visible only if the seat is empty.
        let apart = if half_x > half_y { half_x - 12.0 } else { 0.0 };
        let below = if half_x > half_y { 0.0 } else { half_y * 0.55 };
        for side in [-1.0, 1.0] {
            let (hx, hy) = (cx + side * apart, cy + side * below);
            canvas.disc(hx, hy, 3.6, 1.2, BRASS_PAD);
            canvas.paint(Area::around(hx, hy, 3.0, 3.0), |x, y| {
                (0.9 * coverage(length(x - hx, y - hy) - 1.7), DARK)
            });
        }
    }
    let mark = |cx: f32, cy: f32, size: f32| Mark {
        cx,
        cy,
        size,
        turned: false,
        ink: DARK,
        opacity: 0.75,
    };
    for (name, [x, y]) in NAMES {
        mark(x, y, 0.95).print(canvas, name);
    }
    for (terminal, number) in ["1", "2", "3", "4", "5", "6"].into_iter().enumerate() {
        let away = if terminal < 3 { -9.0 } else { 9.0 };
        let y = terminal_y(terminal) + away;
        mark(61.0, y, 0.85).print(canvas, number);
        mark(WIDTH as f32 - 61.0, y, 0.85).print(canvas, number);
    }
}

fn spot(canvas: &mut Canvas, stain: &Stain) {
    let [[cx, cy, size], ..] = stain.blobs;
    canvas.paint(Area::around(cx, cy, 3.0 * size, 3.0 * size), |x, y| {
        let mut wet = 0.0;
        for [bx, by, radius] in stain.blobs {
            let d = length(x - bx, y - by) / radius;
            let near = (1.0 - d * d).max(0.0);
            wet += near * near;
        }
        let wet = smooth(0.0, 0.7, wet);
        // Only the plate has the stain, not the fixture beside it.
        let on = coverage(BASE.distance(x, y).0);
        (stain.depth * wet * on, colour(88, 72, 52))
    });
}

fn stroke(canvas: &mut Canvas, scratch: &Scratch) {
    // A bent stroke is twelve straight segments.
    let point = |i: usize| -> [f32; 2] {
        let t = i as f32 / 12.0;
        let (a, b, c) = ((1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t);
        std::array::from_fn(|k| a * scratch.from[k] + b * scratch.bend[k] + c * scratch.to[k])
    };
    let points: Vec<[f32; 2]> = (0..=12).map(point).collect();
    let mut area = Area {
        x0: 1000.0,
        y0: 1000.0,
        x1: -1000.0,
        y1: -1000.0,
    };
    for [x, y] in &points {
        area.x0 = area.x0.min(x - 3.0);
        area.y0 = area.y0.min(y - 3.0);
        area.x1 = area.x1.max(x + 3.0);
        area.y1 = area.y1.max(y + 3.0);
    }
    // Distance from the stroke and how far along it (0 to 1).
    let nearest = |x: f32, y: f32| -> (f32, f32) {
        let (mut best, mut along) = (1000.0f32, 0.0);
        for (i, pair) in points.windows(2).enumerate() {
            if let [[ax, ay], [bx, by]] = *pair {
                let (ex, ey) = (bx - ax, by - ay);
                let t = ((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey).max(1e-6);
                let t = t.clamp(0.0, 1.0);
                let d = length(x - ax - t * ex, y - ay - t * ey);
                if d < best {
                    (best, along) = (d, (i as f32 + t) / 12.0);
                }
            }
        }
        (best, along)
    };
    canvas.paint(area, |x, y| {
        let (d, along) = nearest(x, y);
        // It is thin at both ends.
        let half = scratch.half_width * smooth(-0.1, 0.15, along.min(1.0 - along));
        let share = (0.5 - (d - half)).clamp(0.0, 1.0).min(2.0 * half);
        (share, lifted(PLATE, scratch.glare))
    });
    // The burr on the side away from the lamp is in its own shade.
    canvas.darken(area, |x, y| {
        let (d, along) = nearest(x - 0.9, y - 1.1);
        0.3 * coverage(d - scratch.half_width) * smooth(0.0, 0.15, along.min(1.0 - along))
    });
}

fn corner_screw(canvas: &mut Canvas, [cx, cy]: [f32; 2], slot: Option<[f32; 2]>) {
    // The turned recess: a ring that is dark because the head hides the lamp.
    canvas.paint(Area::around(cx, cy, 13.0, 13.0), |x, y| {
        let (nx, ny) = ((x - cx) / 12.0, (y - cy) / 12.0);
        let r = length(nx, ny) * 12.0;
        let wall = smooth(9.5, 12.0, r);
        let light = scaled(PLATE, 0.8 * lit(-0.6 * nx * wall, -0.6 * ny * wall));
        (coverage(r - 12.0), light)
    });
    let Some(slot) = slot else {
        // The thread: rings in a dark hole.
        canvas.paint(Area::around(cx, cy, 7.0, 7.0), |x, y| {
            let (rx, ry) = (x - cx, y - cy);
            let r = length(rx, ry);
            let wall = smooth(2.5, 5.5, r) * (0.5 + 0.08 * (rx + ry));
            (coverage(r - 5.5), mix(DARK, scaled(STEEL, 0.5), wall))
        });
        return;
    };
    let head = RoundBox {
        cx,
        cy,
        half_x: 8.5,
        half_y: 8.5,
        radius: 8.5,
    };
    canvas.shadow(head, 4.0);
    components::screw(canvas, cx, cy, 8.5, slot);
}

fn mounted(canvas: &mut Canvas, assembly: &Assembly, nuisance: &Nuisance) {
    let at = |seat: usize| -> [f32; 2] {
        let place = PLACES.get(seat).copied().unwrap_or_default();
        let off = nuisance.seats.get(seat).copied().unwrap_or_default();
        [place[0] + off[0], place[1] + off[1]]
    };
    for (i, kind) in assembly.cases.iter().enumerate() {
        if let Some(kind) = kind {
            let [x, y] = at(i);
            components::case(canvas, x, y, *kind);
        }
    }
    for (i, (facing, sleeve)) in assembly.cans.iter().zip(nuisance.sleeves).enumerate() {
        if let Some(facing) = facing {
            let [x, y] = at(2 + i);
            components::can(canvas, x, y, *facing, sleeve);
        }
    }
    if assembly.fuse {
        let [x, y] = at(4);
        components::fuse(canvas, x, y);
    }
    for (i, lens) in assembly.lamps.iter().enumerate() {
        if let Some(lens) = lens {
            let [x, y] = at(5 + i);
            components::lamp(canvas, x, y, *lens);
        }
    }
}

/// A terminal block; the right one mirrors the left one.
fn block(canvas: &mut Canvas, right: bool, slots: &[[f32; 2]]) {
    let place = |inner: f32| if right { WIDTH as f32 - inner } else { inner };
    let shape = RoundBox {
        cx: place(36.0),
        cy: 128.0,
        half_x: 18.0,
        half_y: 66.0,
        radius: 2.0,
    };
    canvas.shadow(shape, 11.0);
    canvas.body(shape, 2.5, 0.08, |x, y| {
        let inner = place(x);
        // The ledge with the wire openings is lower than the screws.
        let ledge = smooth(38.5, 40.0, inner);
        // Walls between the terminals.
        let cell = (y - terminal_y(0)) / 21.0 + 0.5;
        let wall = (cell - cell.floor() - 0.5).abs() * 21.0;
        let seam = smooth(9.0, 10.2, wall);
        scaled(BLOCK, (1.0 - 0.22 * ledge) * (1.0 - 0.45 * seam))
    });
    for (terminal, slot) in slots.iter().enumerate() {
        let y = terminal_y(terminal);
        let sx = place(29.0);
        canvas.disc(sx, y, 7.4, 2.0, scaled(BLOCK, 0.35));
        components::screw(canvas, sx, y, 6.0, *slot);
        let opening = RoundBox {
            cx: place(47.5),
            cy: y,
            half_x: 6.0,
            half_y: 6.3,
            radius: 2.0,
        };
        canvas.paint(opening.area(3.0), |x, y| {
            let (d, [nx, ny]) = opening.distance(x, y);
            // Walls that lean inwards, then the dark.
            let light = scaled(BLOCK, 0.7 * lit(-0.7 * nx, -0.7 * ny));
            let deep = coverage(d + 2.2);
            (coverage(d), mix(light, scaled(DARK, 0.7), deep))
        });
    }
}

/// The nylon clamp that holds the bundle down.
fn clamp(canvas: &mut Canvas) {
    let shape = RoundBox {
        cx: WIDTH as f32 / 2.0,
        cy: 128.0,
        half_x: 5.5,
        half_y: 35.0,
        radius: 3.5,
    };
    canvas.shadow(shape, 6.0);
    canvas.body(shape, 3.0, 0.1, |_, _| colour(205, 203, 194));
    for side in [-1.0, 1.0] {
        canvas.disc(shape.cx, 128.0 + side * 30.0, 2.6, 1.2, scaled(STEEL, 0.7));
    }
}
