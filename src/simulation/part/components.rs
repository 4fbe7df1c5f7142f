//! The components, each drawn at its own place.

use super::assembly::{Case, Facing, Lens, PLUGS, Plug};
use super::canvas::{
    Area, Canvas, Rgb, RoundBox, colour, coverage, length, lifted, lit, mix, scaled, shine, smooth,
};
use super::text::Mark;

/// Tinned leads and screw heads.
pub(super) const STEEL: Rgb = colour(178, 180, 182);
pub(super) const DARK: Rgb = colour(22, 22, 24);
pub(super) const WHITE: Rgb = colour(228, 228, 222);
const BRASS: Rgb = colour(205, 186, 140);

fn round_box(cx: f32, cy: f32, half_x: f32, half_y: f32, radius: f32) -> RoundBox {
    RoundBox {
        cx,
        cy,
        half_x,
        half_y,
        radius,
    }
}

/// A slotted screw head of `radius` pixels with its slot along the unit vector `slot`.
pub(super) fn screw(canvas: &mut Canvas, cx: f32, cy: f32, radius: f32, slot: [f32; 2]) {
    let half_slot = 0.14 * radius + 0.25;
    canvas.paint(Area::around(cx, cy, radius + 2.0, radius + 2.0), |x, y| {
        let (rx, ry) = (x - cx, y - cy);
        let r = length(rx, ry);
        let share = coverage(r - radius);
        if share <= 0.0 {
            return (0.0, [0.0; 3]);
        }
        // A dome that is steeper towards its rim.
        let lean = 0.3 + 0.5 * smooth(0.6, 1.0, r / radius);
        let (nx, ny) = (rx / radius * lean, ry / radius * lean);
        let head = lifted(scaled(STEEL, lit(nx, ny)), 0.25 * shine(nx, ny, 4));
        let across = rx * slot[1] - ry * slot[0];
        let along = (rx * slot[0] + ry * slot[1]).abs();
        let cut = coverage(across.abs() - half_slot) * coverage(along - 0.82 * radius);
        // The slot's far wall catches the lamp.
        let wall = scaled(DARK, 1.0 + 3.0 * smooth(0.0, half_slot, across * slot[0]));
        (share, mix(head, wall, 0.9 * cut))
    });
}

/// Relay or film capacitor; both fit the same footprint.
pub(super) fn case(canvas: &mut Canvas, cx: f32, cy: f32, kind: Case) {
    let shape = round_box(cx, cy, 19.5, 21.5, 3.0);
    canvas.shadow(shape, 12.0);
    let skin = match kind {
        Case::Relay => colour(44, 122, 190),
        Case::Film => colour(206, 128, 44),
    };
    canvas.body(shape, 4.0, 0.12, |_, _| skin);
    let print = |dy: f32, size: f32, text: &str, canvas: &mut Canvas| {
        Mark {
            cx,
            cy: cy + dy,
            size,
            turned: false,
            ink: if kind == Case::Relay { WHITE } else { DARK },
            opacity: 0.85,
        }
        .print(canvas, text);
    };
    match kind {
        Case::Relay => {
            // A raised lid, as on a common relay.
            let lid = round_box(cx, cy, 15.0, 17.0, 2.0);
            canvas.body(lid, 1.6, 0.12, |_, _| scaled(skin, 1.06));
            print(-9.0, 0.95, "RM-2", canvas);
            print(2.0, 0.95, "24V", canvas);
            print(12.0, 0.7, "10A", canvas);
        }
        Case::Film => {
            print(-6.0, 1.1, "2u2", canvas);
            print(6.0, 0.95, "250V", canvas);
        }
    }
}

/// An electrolytic capacitor that lies on its side: a can with a sleeve, a minus stripe, and its
/// leads at one end. `sleeve` shifts the sleeve's print along the can (pixels) and around it
/// (radii).
pub(super) fn can(canvas: &mut Canvas, cx: f32, cy: f32, facing: Facing, sleeve: [f32; 2]) {
    // Everything is drawn in the can's own directions: +1 has the leads on the right.
    let way = match facing {
        Facing::Right => 1.0,
        Facing::Left => -1.0,
    };
    for lead in [-5.0, 5.0] {
        let shape = round_box(cx + way * 30.5, cy + lead, 4.5, 1.1, 0.8);
        canvas.shadow(shape, 3.0);
        canvas.body(shape, 1.1, 0.3, |_, _| STEEL);
    }
    let (half, radius) = (28.0, 13.0);
    let shape = round_box(cx, cy, half, radius, 3.5);
    canvas.shadow(shape, 12.0);
    let skin = colour(40, 46, 92);
    canvas.paint(shape.area(2.0), |x, y| {
        let (d, [nx, _]) = shape.distance(x, y);
        let share = coverage(d);
        if share <= 0.0 {
            return (0.0, [0.0; 3]);
        }
        let t = ((y - cy) / radius).clamp(-0.98, 0.98);
        let along = way * (x - cx);
        let round = way * t + sleeve[1];
        let shifted = along - sleeve[0];
        let stripe = smooth(0.28, 0.36, round) * (1.0 - smooth(0.72, 0.78, round));
        let mut own = mix(skin, colour(196, 198, 202), 0.92 * stripe);
        // Minus signs along the stripe.
        let cell = (shifted + 60.0) / 11.0;
        let place = (cell - cell.floor() - 0.5).abs() * 11.0;
        let dash = coverage(place - 3.2) * coverage((round - 0.54).abs() * radius - 0.9);
        own = mix(own, skin, 0.95 * dash);
        // The aluminium shows at the closed end, the rubber at the other.
        own = mix(own, STEEL, coverage(along + half - 2.2));
        own = mix(own, DARK, coverage(half - 1.8 - along));
        // The crimp near the leads: a groove, dark on one flank.
        let crimp = 1.0 - smooth(0.8, 3.0, (along - 20.5).abs());
        let rim = smooth(-3.0, 0.0, d) * 0.5;
        let (lx, ly) = (nx * rim, 0.93 * t);
        let light = scaled(own, lit(lx, ly) * (1.0 - 0.35 * crimp));
        (share, lifted(light, 0.28 * shine(lx, ly, 4)))
    });
    Mark {
        cx: cx - way * (3.0 - sleeve[0]),
        cy: cy - way * (3.2 + sleeve[1] * radius),
        size: 0.85,
        turned: facing == Facing::Left,
        ink: WHITE,
        opacity: 0.8,
    }
    .print(canvas, "470u");
}

/// A glass fuse in its holder, upright.
pub(super) fn fuse(canvas: &mut Canvas, cx: f32, cy: f32) {
    let base = round_box(cx, cy, 9.0, 25.0, 2.0);
    canvas.shadow(base, 5.0);
    canvas.body(base, 2.0, 0.08, |_, _| colour(48, 48, 50));
    let tube = round_box(cx, cy, 5.5, 21.0, 1.5);
    canvas.shadow(tube, 3.0);
    canvas.paint(tube.area(2.0), |x, y| {
        let (d, _) = tube.distance(x, y);
        let t = ((x - cx) / 5.5).clamp(-0.97, 0.97);
        let glass = mix(
            colour(150, 160, 160),
            colour(205, 206, 200),
            coverage((x - cx).abs() - 0.6),
        );
        let cap = coverage(13.0 - (y - cy).abs());
        let own = mix(scaled(glass, 0.75), BRASS, cap);
        let light = scaled(own, lit(t * 0.95, 0.0));
        (coverage(d), lifted(light, 0.5 * shine(t * 0.95, 0.0, 4)))
    });
    for side in [-1.0, 1.0] {
        let clip = round_box(cx, cy + side * 17.0, 7.5, 2.2, 0.8);
        canvas.body(clip, 1.5, 0.3, |_, _| STEEL);
    }
}

/// An indicator lamp seen from above.
pub(super) fn lamp(canvas: &mut Canvas, cx: f32, cy: f32, lens: Lens) {
    let flange = round_box(cx, cy, 8.0, 8.0, 8.0);
    let skin = match lens {
        Lens::Red => colour(190, 30, 36),
        Lens::Green => colour(44, 158, 74),
    };
    canvas.shadow(flange, 5.0);
    canvas.body(flange, 1.5, 0.1, |_, _| scaled(skin, 0.6));
    canvas.paint(Area::around(cx, cy, 8.0, 8.0), |x, y| {
        let (nx, ny) = ((x - cx) / 6.8, (y - cy) / 6.8);
        let r = length(nx, ny);
        // Light passes through the dome and gathers on the side away from the lamp.
        let glow = 0.35 * smooth(-0.6, 1.0, nx * 0.6 + ny * 0.7);
        let light = scaled(skin, 0.75 + glow);
        let bright = 0.8 * shine(nx * 0.9, ny * 0.9, 5);
        (coverage((r - 1.0) * 6.8), lifted(light, bright))
    });
}

/// Pixels from one plug of the coding block to the next. The two coded plugs are four pitches
/// apart: 64 pixels of a network's 256. This is a multiple of the strides of its features, so both
/// are sampled in the same way.
const PLUG_PITCH: f32 = 20.0;

/// The coding block: a row of plugs in a dark housing, which is the same at every plug.
pub(super) fn coding(canvas: &mut Canvas, cx: f32, cy: f32, plugs: &[Plug; PLUGS]) {
    let half = PLUGS as f32 / 2.0 * PLUG_PITCH;
    let housing = round_box(cx, cy, half + 3.0, 17.5, 2.5);
    canvas.shadow(housing, 7.0);
    canvas.body(housing, 2.0, 0.1, |_, _| colour(52, 54, 60));
    for (i, plug) in plugs.iter().enumerate() {
        let x = cx + (i as f32 + 0.5) * PLUG_PITCH - half;
        let skin = match plug {
            Plug::White => colour(206, 206, 200),
            Plug::Red => colour(196, 44, 40),
            Plug::Blue => colour(40, 92, 190),
        };
        // The seat's dark rim, the plug, and the grip on top of it.
        let seat = round_box(x, cy, 9.2, 14.9, 4.4);
        canvas.body(seat, 1.2, 0.1, |_, _| colour(26, 27, 30));
        let plug = round_box(x, cy, 8.6, 14.3, 4.0);
        canvas.body(plug, 1.8, 0.15, |_, _| skin);
        let grip = round_box(x, cy, 4.8, 8.6, 2.8);
        canvas.body(grip, 1.2, 0.2, |_, _| scaled(skin, 0.9));
    }
}
