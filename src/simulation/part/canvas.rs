//! Anti-aliased drawing in linear light.
//!
//! Shapes are signed distances (pixels; negative inside). So the coverage at an edge is exact
//! enough without drawing larger and shrinking, and one distance serves the edge, the bevel and the
//! soft shadow. The code uses only + - * / and square roots: the same bits on every processor.

use crate::seed::Rng;

/// Linear light, red, green, blue; 1 is a white sheet under the nominal lamp.
pub(super) type Rgb = [f32; 3];

/// Image width in pixels.
pub(super) const WIDTH: usize = 320;
/// Image height in pixels.
pub(super) const HEIGHT: usize = 256;

/// Half of the width of an edge's ramp, pixels: a little softer than ideal, as a lens draws it.
const EDGE: f32 = 0.75;
/// How far a pose can move any point of the part, pixels. Areas are widened by it.
const REACH: f32 = 4.0;
/// Light direction (towards the lamp: up and left, mostly from above), unit length.
const LAMP: [f32; 3] = [-0.44, -0.54, 0.717];
/// Half-way between the lamp and the camera, for highlights; unit length.
const HALFWAY: [f32; 3] = [-0.237, -0.291, 0.927];

/// Linear light of a colour as a screen shows it. The screen curve is a square throughout: it is
/// close to sRGB, and its inverse is a square root.
pub(super) const fn colour(r: u8, g: u8, b: u8) -> Rgb {
    let (r, g, b) = (r as f32 / 255.0, g as f32 / 255.0, b as f32 / 255.0);
    [r * r, g * g, b * b]
}

/// `c` times `k`.
pub(super) fn scaled(c: Rgb, k: f32) -> Rgb {
    [c[0] * k, c[1] * k, c[2] * k]
}

/// From `a` (0) to `b` (1).
pub(super) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// `c` with `k` of white light added.
pub(super) fn lifted(c: Rgb, k: f32) -> Rgb {
    [c[0] + k, c[1] + k, c[2] + k]
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(super) fn smooth(low: f32, high: f32, v: f32) -> f32 {
    let t = ((v - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Share of a pixel covered by a shape at signed distance `d`.
pub(super) fn coverage(d: f32) -> f32 {
    (0.5 - d / (2.0 * EDGE)).clamp(0.0, 1.0)
}

/// Length of a vector.
pub(super) fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// Matt brightness of a surface whose normal leans by (`nx`, `ny`); 1 if it is flat.
pub(super) fn lit(nx: f32, ny: f32) -> f32 {
    let nz = (1.0 - nx * nx - ny * ny).max(0.0).sqrt();
    let direct = (nx * LAMP[0] + ny * LAMP[1] + nz * LAMP[2]).max(0.0) / LAMP[2];
    0.3 + 0.7 * direct
}

/// Highlight on a surface whose normal leans by (`nx`, `ny`), 0 to 1; `squarings` sharpens it
/// (the exponent is 2 to that power).
pub(super) fn shine(nx: f32, ny: f32, squarings: u32) -> f32 {
    let nz = (1.0 - nx * nx - ny * ny).max(0.0).sqrt();
    let mut s = (nx * HALFWAY[0] + ny * HALFWAY[1] + nz * HALFWAY[2]).max(0.0);
    for _ in 0..squarings {
        s *= s;
    }
    s
}

/// A rectangle of the part, pixels from the image's top left corner at the nominal pose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) x0: f32,
    pub(super) y0: f32,
    pub(super) x1: f32,
    pub(super) y1: f32,
}

impl Area {
    /// The whole image, with room for the pose.
    pub(super) const ALL: Self = Self {
        x0: -REACH,
        y0: -REACH,
        x1: WIDTH as f32 + REACH,
        y1: HEIGHT as f32 + REACH,
    };

    /// Centre and half sizes.
    pub(super) fn around(cx: f32, cy: f32, half_x: f32, half_y: f32) -> Self {
        Self {
            x0: cx - half_x,
            y0: cy - half_y,
            x1: cx + half_x,
            y1: cy + half_y,
        }
    }
}

/// A rectangle with round corners.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundBox {
    pub(super) cx: f32,
    pub(super) cy: f32,
    pub(super) half_x: f32,
    pub(super) half_y: f32,
    pub(super) radius: f32,
}

impl RoundBox {
    /// Signed distance and the outward direction in which it grows.
    pub(super) fn distance(&self, x: f32, y: f32) -> (f32, [f32; 2]) {
        let (rx, ry) = (x - self.cx, y - self.cy);
        let (sx, sy) = (rx.signum(), ry.signum());
        let qx = rx.abs() - self.half_x + self.radius;
        let qy = ry.abs() - self.half_y + self.radius;
        if qx > 0.0 && qy > 0.0 {
            let l = length(qx, qy);
            (l - self.radius, [sx * qx / l, sy * qy / l])
        } else if qx > qy {
            (qx - self.radius, [sx, 0.0])
        } else {
            (qy - self.radius, [0.0, sy])
        }
    }

    /// The rectangle that holds it and `margin` pixels more.
    pub(super) fn area(&self, margin: f32) -> Area {
        Area::around(self.cx, self.cy, self.half_x + margin, self.half_y + margin)
    }
}

/// Where the part lies under the camera.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    /// Shift, pixels.
    pub(super) dx: f32,
    /// Shift, pixels.
    pub(super) dy: f32,
    sin: f32,
    cos: f32,
}

impl Pose {
    /// Shifted by (`dx`, `dy`) pixels and turned by the small `angle` (radians) about the centre.
    pub(super) fn new(dx: f32, dy: f32, angle: f32) -> Self {
        // Series to the third order: exact to the last bit of an f32 at the angles of a fixture.
        Self {
            dx,
            dy,
            sin: angle - angle * angle * angle / 6.0,
            cos: 1.0 - angle * angle / 2.0,
        }
    }
}

/// How the lamp stands over one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Light {
    /// Factor on everything.
    pub(super) exposure: f32,
    /// Share of light moved from blue to red.
    pub(super) warmth: f32,
    /// Rise of light from the centre to the right edge and to the lower edge.
    pub(super) slope: [f32; 2],
    /// Where the light is strongest, in half images from the centre.
    pub(super) centre: [f32; 2],
}

/// A picture in linear light.
#[derive(Clone)]
pub(super) struct Canvas {
    pixels: Vec<Rgb>,
    pose: Pose,
}

impl Canvas {
    /// A black picture of a part in `pose`.
    pub(super) fn new(pose: Pose) -> Self {
        Self {
            pixels: vec![[0.0; 3]; WIDTH * HEIGHT],
            pose,
        }
    }

    /// Calls `f` with each pixel of `area`: where on the part it lies, and its light.
    fn each(&mut self, area: Area, mut f: impl FnMut(f32, f32, &mut Rgb)) {
        let first = |v: f32| (v - REACH).max(0.0) as usize;
        let end = |v: f32, most: usize| ((v + REACH + 1.0).max(0.0) as usize).min(most);
        let (x0, x1) = (first(area.x0), end(area.x1, WIDTH));
        let (y0, y1) = (first(area.y0), end(area.y1, HEIGHT));
        let Pose { dx, dy, sin, cos } = self.pose;
        let (cx, cy) = (WIDTH as f32 / 2.0, HEIGHT as f32 / 2.0);
        for row in y0..y1 {
            let v = row as f32 + 0.5 - cy - dy;
            for column in x0..x1 {
                let u = column as f32 + 0.5 - cx - dx;
                let x = cx + cos * u + sin * v;
                let y = cy - sin * u + cos * v;
                if let Some(pixel) = self.pixels.get_mut(row * WIDTH + column) {
                    f(x, y, pixel);
                }
            }
        }
    }

    /// Lays paint over `area`: `f` gives the share covered and the light at a point of the part.
    pub(super) fn paint(&mut self, area: Area, f: impl Fn(f32, f32) -> (f32, Rgb)) {
        self.each(area, |x, y, pixel| {
            let (share, light) = f(x, y);
            if share > 0.0 {
                *pixel = mix(*pixel, light, share);
            }
        });
    }

    /// Removes the share of light that `f` gives: shadows.
    pub(super) fn darken(&mut self, area: Area, f: impl Fn(f32, f32) -> f32) {
        self.each(area, |x, y, pixel| {
            let share = f(x, y);
            if share > 0.0 {
                *pixel = scaled(*pixel, 1.0 - share);
            }
        });
    }

    /// The soft shadow of `shape`, which stands `height` pixels high, and the dark contact edge.
    /// The caller draws `shape` itself next.
    pub(super) fn shadow(&mut self, shape: RoundBox, height: f32) {
        let far = RoundBox {
            cx: shape.cx + 0.42 * height,
            cy: shape.cy + 0.52 * height,
            ..shape
        };
        let blur = 1.5 + 0.4 * height;
        self.darken(far.area(blur + height), |x, y| {
            let beside = shape.distance(x, y).0;
            // The shape that casts the shadow is drawn over it next.
            if beside < -2.0 * EDGE {
                return 0.0;
            }
            let cast = 1.0 - smooth(-blur, blur, far.distance(x, y).0);
            let contact = 1.0 - smooth(-1.0, 3.5, beside);
            1.0 - (1.0 - 0.55 * cast) * (1.0 - 0.35 * contact)
        });
    }

    /// A flat-topped body with a rounded rim `bevel` pixels wide. `skin` gives the top's own colour
    /// at a point.
    pub(super) fn body(
        &mut self,
        shape: RoundBox,
        bevel: f32,
        gloss: f32,
        skin: impl Fn(f32, f32) -> Rgb,
    ) {
        self.paint(shape.area(2.0), |x, y| {
            let (d, [nx, ny]) = shape.distance(x, y);
            let share = coverage(d);
            if share <= 0.0 {
                return (0.0, [0.0; 3]);
            }
            let lean = 0.75 * (1.0 + d / bevel).clamp(0.0, 1.0);
            let light = scaled(skin(x, y), lit(nx * lean, ny * lean));
            (share, lifted(light, gloss * shine(nx * lean, ny * lean, 4)))
        });
    }

    /// A disc with the same rim as [`Canvas::body`].
    pub(super) fn disc(&mut self, cx: f32, cy: f32, radius: f32, bevel: f32, skin: Rgb) {
        let shape = RoundBox {
            cx,
            cy,
            half_x: radius,
            half_y: radius,
            radius,
        };
        self.body(shape, bevel, 0.15, |_, _| skin);
    }

    /// Grey levels (0 to 255, not rounded, three per pixel) as the camera gives them without noise.
    pub(super) fn develop(&self, light: &Light) -> Vec<f32> {
        let tint = [1.0 + light.warmth, 1.0, 1.0 - light.warmth];
        let mut levels = Vec::with_capacity(self.pixels.len() * 3);
        for (row, pixels) in self.pixels.chunks(WIDTH).enumerate() {
            let v = (row as f32 + 0.5) / HEIGHT as f32 * 2.0 - 1.0;
            for (column, pixel) in pixels.iter().enumerate() {
                let u = (column as f32 + 0.5) / WIDTH as f32 * 2.0 - 1.0;
                let (fu, fv) = (u - light.centre[0], v - light.centre[1]);
                let here = light.exposure
                    * (1.04 + light.slope[0] * u + light.slope[1] * v - 0.09 * (fu * fu + fv * fv));
                for (value, t) in pixel.iter().zip(tint) {
                    levels.push(255.0 * (value * t * here).clamp(0.0, 1.0).sqrt());
                }
            }
        }
        levels
    }
}

/// Rounds `levels` to bytes and adds the sensor's noise of standard deviation `sigma` grey levels.
/// Dark and bright pixels have the same sigma: photon noise grows with the square root of light,
/// and the square-root curve of the picture removes that growth.
pub(super) fn expose(levels: &[f32], sigma: f32, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(levels.len());
    for pair in levels.chunks(2) {
        // The sum of four uniform bytes is close enough to a bell curve (mean 510, standard
        // deviation 147.8), and 64 bits serve two values. Twelve draws per value would take longer
        // than the drawing.
        let bits = rng.next_u64().to_le_bytes();
        for (level, four) in pair.iter().zip(bits.chunks(4)) {
            let sum: u16 = four.iter().map(|b| u16::from(*b)).sum();
            let noise = (f32::from(sum) - 510.0) * (sigma / 147.8);
            bytes.push((level + noise + 0.5).clamp(0.0, 255.0) as u8);
        }
    }
    bytes
}

/// Smooth random values in the plane, one field per part.
pub(super) struct Texture {
    lattice: Box<[f32; Texture::SIZE]>,
}

impl Texture {
    /// A power of two, so that the remainder is a mask.
    const SIZE: usize = 4096;

    /// A field drawn from `rng`.
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            lattice: Box::new(std::array::from_fn(|_| rng.between(-1.0, 1.0))),
        }
    }

    /// The value at (`u`, `v`), -1 to 1, interpolated between whole numbers; `stride` is the number
    /// of lattice values per row.
    pub(super) fn at(&self, u: f32, v: f32, stride: usize) -> f32 {
        // The cast rounds towards zero, also for a negative coordinate.
        let (column, row) = (u as u32, v as u32);
        let (tu, tv) = (u - column as f32, v - row as f32);
        let start = row as usize * stride + column as usize;
        let value = |offset: usize| self.lattice[(start + offset) % Self::SIZE];
        let top = value(0) + (value(1) - value(0)) * tu;
        let bottom = value(stride) + (value(stride + 1) - value(stride)) * tu;
        top + (bottom - top) * tv
    }
}
