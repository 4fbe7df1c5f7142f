//! Fills of surface damage.

use super::draws::{Noise, chance, direction, log_uniform};
use super::recolouring::Recolouring;
use super::samples::{Colour, Picture};
use partgate::seed::Rng;
use std::fmt;

/// Fill of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fill {
    /// Another place of another good image (of this one, where there is no other).
    OtherPlace,
    /// A scaled and turned place of a good image, its contrast raised or lowered.
    OtherTexture,
    /// A procedural texture: clouds, stripes or grains of two colours.
    Procedural,
    /// One colour that varies smoothly, as of a stain.
    SmoothNoise,
    /// A random value for every grain.
    PixelNoise,
    /// The picture itself, brighter or darker.
    Brightness,
    /// The picture itself, in other colours.
    Recoloured,
}

impl Fill {
    pub(super) const ALL: [Fill; 7] = [
        Fill::OtherPlace,
        Fill::OtherTexture,
        Fill::Procedural,
        Fill::SmoothNoise,
        Fill::PixelNoise,
        Fill::Brightness,
        Fill::Recoloured,
    ];
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fill::OtherPlace => "other_place",
            Fill::OtherTexture => "other_texture",
            Fill::Procedural => "procedural",
            Fill::SmoothNoise => "smooth_noise",
            Fill::PixelNoise => "pixel_noise",
            Fill::Brightness => "brightness",
            Fill::Recoloured => "recoloured",
        })
    }
}

/// A colour; grey for grey pictures.
fn colour(rng: &mut Rng, grey: bool) -> Colour {
    if grey {
        return [rng.unit(); 3];
    }
    // Stains and scraps seldom have pure colours, so a random share pulls towards grey.
    let tone = rng.unit();
    let pure: Colour = std::array::from_fn(|_| rng.unit());
    let share = rng.unit();
    pure.map(|v| tone + share * (v - tone))
}

fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    std::array::from_fn(|c| (a[c] + t * (b[c] - a[c])).clamp(0.0, 1.0))
}

/// The colour of every pixel of one damage.
pub(super) type Paint<'a> = Box<dyn Fn(usize, usize) -> Colour + 'a>;

/// Draws the fill's details. `centre` is the shape's; `strong` asks for a change that shows on
/// any ground.
pub(super) fn paint<'a>(
    fill: Fill,
    picture: Picture<'a>,
    donors: &'a [&'a partgate::frame::Frame],
    centre: (usize, usize),
    strong: bool,
    rng: &mut Rng,
) -> Paint<'a> {
    let side = picture.width().min(picture.height()) as f32;
    let grey = picture.is_grey();
    match fill {
        Fill::OtherPlace => other_place(picture, donors, centre, rng),
        Fill::OtherTexture => other_texture(picture, donors, centre, rng),
        Fill::Procedural => procedural(side, grey, rng),
        Fill::SmoothNoise => {
            let base = colour(rng, grey);
            let noise = Noise::new(rng);
            let size = side * log_uniform(rng, 0.02, 0.3) + 1.0;
            let depth = rng.between(0.02, 0.25);
            let tinted = if grey { 0.0 } else { rng.between(0.0, 50.0) };
            Box::new(move |x, y| {
                let (u, v) = (x as f32 / size, y as f32 / size);
                std::array::from_fn(|c| {
                    let n = noise.cloudy(u + tinted * c as f32, v);
                    (base[c] + depth * n).clamp(0.0, 1.0)
                })
            })
        }
        Fill::PixelNoise => pixel_noise(picture, side, rng),
        Fill::Brightness => {
            // A strong change goes away from the picture's own tone, so that it is visible.
            let here = picture.at(centre.0, centre.1);
            let darker = if strong {
                (here[0] + here[1] + here[2]) / 3.0 > 0.5
            } else {
                chance(rng, 0.5)
            };
            let most = if strong {
                0.5
            } else {
                log_uniform(rng, 0.1, 0.6)
            };
            Box::new(move |x, y| {
                picture.at(x, y).map(|v| {
                    let to = if darker { 0.0 } else { 1.0 };
                    v + most * (to - v)
                })
            })
        }
        Fill::Recoloured => {
            let recolouring = Recolouring::draw(rng, grey);
            Box::new(move |x, y| recolouring.apply(picture.at(x, y)))
        }
    }
}

fn source<'a>(
    picture: Picture<'a>,
    donors: &'a [&'a partgate::frame::Frame],
    rng: &mut Rng,
) -> Picture<'a> {
    match donors.get(rng.below(donors.len())) {
        Some(&donor) => picture.donor(donor),
        None => picture,
    }
}

fn other_place<'a>(
    picture: Picture<'a>,
    donors: &'a [&'a partgate::frame::Frame],
    centre: (usize, usize),
    rng: &mut Rng,
) -> Paint<'a> {
    let from = source(picture, donors, rng);
    let (x, y) = (
        rng.below(from.width()) as i64,
        rng.below(from.height()) as i64,
    );
    let (dx, dy) = (x - centre.0 as i64, y - centre.1 as i64);
    Box::new(move |x, y| from.reflected(x as i64 + dx, y as i64 + dy))
}

fn other_texture<'a>(
    picture: Picture<'a>,
    donors: &'a [&'a partgate::frame::Frame],
    centre: (usize, usize),
    rng: &mut Rng,
) -> Paint<'a> {
    let from = source(picture, donors, rng);
    let (sx, sy) = (
        rng.below(from.width()) as f32,
        rng.below(from.height()) as f32,
    );
    let (cx, cy) = (centre.0 as f32, centre.1 as f32);
    let (c, s) = direction(rng);
    let scale = log_uniform(rng, 0.4, 3.0);
    let contrast = log_uniform(rng, 0.5, 2.5);
    let shift = rng.between(-0.25, 0.25);
    let middle = from.reflected(sx as i64, sy as i64);
    let swapped = !picture.is_grey() && chance(rng, 0.4);
    Box::new(move |x, y| {
        let (u, v) = ((x as f32 - cx) * scale, (y as f32 - cy) * scale);
        let there = from.between(sx + c * u - s * v, sy + s * u + c * v);
        let [r, g, b] = std::array::from_fn(|c| {
            (middle[c] + contrast * (there[c] - middle[c]) + shift).clamp(0.0, 1.0)
        });
        if swapped { [g, b, r] } else { [r, g, b] }
    })
}

fn procedural<'a>(side: f32, grey: bool, rng: &mut Rng) -> Paint<'a> {
    let (a, b) = (colour(rng, grey), colour(rng, grey));
    let noise = Noise::new(rng);
    let (c, s) = direction(rng);
    let size = (side * log_uniform(rng, 0.004, 0.08)).max(1.2);
    let stretch = log_uniform(rng, 1.0, 8.0);
    let weave = rng.below(3);
    Box::new(move |x, y| {
        let (x, y) = (x as f32 / size, y as f32 / size);
        let (u, v) = ((c * x + s * y) / stretch, c * y - s * x);
        let t = match weave {
            // Clouds drawn out along one direction, as by brushing.
            0 => noise.cloudy(u, v) + 0.5,
            // Stripes that waver: a triangle wave needs no sine.
            1 => {
                let phase = v * 0.5 + 0.4 * noise.smooth(u, v * 0.3);
                2.0 * (phase - phase.floor() - 0.5).abs()
            }
            _ => noise.grain(u, v) * 0.5 + 0.5,
        };
        mix(a, b, t.clamp(0.0, 1.0))
    })
}

fn pixel_noise<'a>(picture: Picture<'a>, side: f32, rng: &mut Rng) -> Paint<'a> {
    let noise = Noise::new(rng);
    // Single pixels vanish when the picture shrinks to the network's input, so grains may be
    // larger.
    let size = log_uniform(rng, 1.0, (0.012 * side).max(1.5));
    let depth = rng.between(0.15, 0.8);
    let coloured = !picture.is_grey() && chance(rng, 0.6);
    let apart = if coloured { 10.0 } else { 0.0 };
    Box::new(move |x, y| {
        let (u, v) = (x as f32 / size, y as f32 / size);
        let old = picture.at(x, y);
        std::array::from_fn(|c| {
            let n = noise.grain(u + apart * c as f32, v + 7.0 * apart * c as f32);
            (old[c] + depth * n).clamp(0.0, 1.0)
        })
    })
}
