//! The demonstration part: a fixtured electrical assembly, drawn with or without a defect.
//!
//! A new user has no production line, and public data sets are large and licensed. So the examples
//! and the tests inspect a product that this module draws: a base plate with four screws, two
//! terminal blocks, five coloured wires between them, a relay, a film capacitor, two electrolytic
//! capacitors, a fuse, two lamps and a coding block with eleven plugs. Good parts vary as real ones
//! do (position, light, sag of the wires, metal, noise). Half of the defects are misplacements:
//! nothing looks strange, but something is in the wrong place. The coding block is the clearest
//! case: its red and its blue plug have the same surroundings, so only the place distinguishes a
//! part with the two exchanged from a good one.
//!
//! The same seed and index give the same bytes on every processor: the drawing uses only additions,
//! multiplications, divisions, square roots and rounding, which IEEE 754 defines exactly.
//!
//! `defects` states what is wrong with an `assembly`, `layout` arranges the assembly on a `canvas`.

mod assembly;
mod canvas;
mod components;
mod defects;
mod layout;
mod nuisance;
mod text;
mod wires;

#[cfg(test)]
mod tests;

pub use defects::Defect;

use crate::seed::Rng;
use assembly::Assembly;
use canvas::{Canvas, HEIGHT, WIDTH, expose};
use nuisance::Nuisance;

/// Keys that separate the random streams. The variation of good parts, the sensor's noise on a good
/// part and on a defective one, and the defect's own place and strength never share a draw.
const VARIATION: u64 = 0x7661_7269_6174_696f;
const GOOD_NOISE: u64 = 0x676f_6f64_6e6f_6973;
const DEFECT_NOISE: u64 = 0x6465_666e_6f69_7365;
const DEFECT_DRAW: u64 = 0x6465_6665_6374_6472;

/// Standard deviation of the sensor's noise, grey levels.
const NOISE: f32 = 1.5;
/// A change below this many grey levels in every channel is not part of the mask. It is between two
/// and three times the noise: there an eye begins to see it.
const NOTICEABLE: f32 = 4.0;
/// Gaps in the mask up to twice this many pixels wide are closed: a highlight that is by chance
/// equal on both parts is inside the defect all the same.
const CLOSING: usize = 2;

/// Columns and rows of every picture.
pub const SIZE: (usize, usize) = (WIDTH, HEIGHT);

/// A picture of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedPart {
    /// Columns: 320, a multiple of the 32-pixel steps of common networks.
    pub width: usize,
    /// Rows: 256.
    pub height: usize,
    /// RGB, row-major, 3 bytes per pixel.
    pub rgb: Vec<u8>,
    /// What is wrong with it; None for a good part.
    pub defect: Option<Defect>,
    /// One byte per pixel, row-major: 255 for a pixel that the defect changed, else 0; None for a
    /// good part.
    pub mask: Option<Vec<u8>>,
}

/// Draws parts of one production: everything follows from its seed.
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    seed: u64,
}

impl Renderer {
    /// A production; another seed gives other parts of the same product.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Good part number `index`: the same bytes at every call.
    pub fn good(&self, index: u64) -> RenderedPart {
        let (assembly, nuisance) = (Assembly::as_drawn(), self.nuisance(index));
        let ground = layout::ground(&assembly, &nuisance);
        let levels = levels(ground, &assembly, &nuisance);
        let mut noise = Rng::stream(self.seed ^ GOOD_NOISE, index);
        RenderedPart {
            width: WIDTH,
            height: HEIGHT,
            rgb: expose(&levels, NOISE, &mut noise),
            defect: None,
            mask: None,
        }
    }

    /// Part number `index` with `defect`: the same bytes at every call. Everything except the
    /// defect and the sensor's noise is as on the good part of that index. So use indices for
    /// defective parts that no good part has in the same experiment.
    pub fn defective(&self, index: u64, defect: Defect) -> RenderedPart {
        let nuisance = self.nuisance(index);
        let (good, bad) = self.noiseless(index, defect, &nuisance);
        let mut noise = Rng::stream(self.key(DEFECT_NOISE, defect), index);
        RenderedPart {
            width: WIDTH,
            height: HEIGHT,
            rgb: expose(&bad, NOISE, &mut noise),
            defect: Some(defect),
            mask: Some(closed(&changed(&good, &bad))),
        }
    }

    /// Grey levels of part `index` without and with `defect`, before noise and rounding.
    fn noiseless(&self, index: u64, defect: Defect, nuisance: &Nuisance) -> (Vec<f32>, Vec<f32>) {
        let right = Assembly::as_drawn();
        let wrong = self.faulty(index, defect);
        let ground = layout::ground(&right, nuisance);
        let other = if right.chip == wrong.chip {
            ground.clone()
        } else {
            layout::ground(&wrong, nuisance)
        };
        (
            levels(ground, &right, nuisance),
            levels(other, &wrong, nuisance),
        )
    }

    /// `defect` as it is built into part `index`.
    fn faulty(&self, index: u64, defect: Defect) -> Assembly {
        let mut assembly = Assembly::as_drawn();
        let mut draw = Rng::stream(self.key(DEFECT_DRAW, defect), index);
        defect.build_into(&mut assembly, &mut draw);
        assembly
    }

    /// A key for each kind, so that two defects of one index make different choices.
    fn key(&self, domain: u64, defect: Defect) -> u64 {
        self.seed ^ domain ^ ((defect as u64 + 1) << 56)
    }

    fn nuisance(&self, index: u64) -> Nuisance {
        Nuisance::new(&mut Rng::stream(self.seed ^ VARIATION, index))
    }
}

/// Grey levels before noise and rounding.
fn levels(ground: Canvas, assembly: &Assembly, nuisance: &Nuisance) -> Vec<f32> {
    layout::mount(ground, assembly, nuisance).develop(&nuisance.light)
}

/// Which pixels differ noticeably between two pictures.
fn changed(good: &[f32], bad: &[f32]) -> Vec<bool> {
    good.chunks(3)
        .zip(bad.chunks(3))
        .map(|(g, b)| g.iter().zip(b).any(|(g, b)| (g - b).abs() >= NOTICEABLE))
        .collect()
}

/// Morphological closing with a square: grown, then shrunk by the same amount. 255 or 0 per pixel.
fn closed(changed: &[bool]) -> Vec<u8> {
    let mut grown = vec![false; changed.len()];
    for (at, _) in changed.iter().enumerate().filter(|(_, set)| **set) {
        for near in neighbourhood(at) {
            if let Some(pixel) = grown.get_mut(near) {
                *pixel = true;
            }
        }
    }
    let held = |at: usize| neighbourhood(at).all(|near| grown.get(near) == Some(&true));
    (0..grown.len())
        .map(|at| if grown[at] && held(at) { 255 } else { 0 })
        .collect()
}

/// The pixels within [`CLOSING`] rows and columns of pixel `at`, without those outside the picture.
fn neighbourhood(at: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (at / WIDTH, at % WIDTH);
    let rows = row.saturating_sub(CLOSING)..=(row + CLOSING).min(HEIGHT - 1);
    let columns = column.saturating_sub(CLOSING)..=(column + CLOSING).min(WIDTH - 1);
    rows.flat_map(move |r| columns.clone().map(move |c| r * WIDTH + c))
}
