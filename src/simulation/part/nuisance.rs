//! What varies from one good part to the next.

use super::assembly::WIRES;
use super::canvas::{Light, Pose, Texture};
use crate::seed::Rng;

/// Places that hold a component; see [`super::assembly`].
pub(super) const SEATS: usize = 7;

/// Everything that varies on good parts. A defective part of the same index has the same values, so
/// that only the defect distinguishes the two.
pub(super) struct Nuisance {
    pub(super) pose: Pose,
    pub(super) light: Light,
    pub(super) texture: Texture,
    /// Direction of each corner screw's slot, unit vectors.
    pub(super) screw_slots: [[f32; 2]; 4],
    /// Direction of each terminal screw's slot: left block, then right.
    pub(super) terminal_slots: [[f32; 2]; 12],
    /// How far each component is from its place, pixels.
    pub(super) seats: [[f32; 2]; SEATS],
    /// How the sleeve of each can is shifted: along the can in pixels, around it in radii.
    pub(super) sleeves: [[f32; 2]; 2],
    /// How each wire hangs at its three free points: along and across, pixels.
    pub(super) sag: [[[f32; 2]; 3]; WIRES],
}

impl Nuisance {
    /// Drawn from `rng` alone.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let dx = rng.between(-1.5, 1.5);
        let dy = rng.between(-1.5, 1.5);
        // 0.007 radians are 0.4 degrees: the play of a part between two pins.
        let pose = Pose::new(dx, dy, rng.between(-0.007, 0.007));
        let brightness = rng.between(0.95, 1.05);
        let light = Light {
            // Squared, because the five per cent are meant as the picture shows them.
            exposure: brightness * brightness,
            warmth: rng.between(-0.035, 0.035),
            slope: [rng.between(-0.05, 0.05), rng.between(-0.05, 0.05)],
            centre: [rng.between(-0.4, 0.4), rng.between(-0.4, 0.4)],
        };
        Self {
            pose,
            light,
            screw_slots: std::array::from_fn(|_| direction(rng)),
            terminal_slots: std::array::from_fn(|_| direction(rng)),
            seats: std::array::from_fn(|_| pair(rng, 0.5, 0.5)),
            sleeves: std::array::from_fn(|_| pair(rng, 1.5, 0.06)),
            sag: std::array::from_fn(|_| std::array::from_fn(|_| pair(rng, 8.0, 1.9))),
            texture: Texture::new(rng),
        }
    }
}

fn pair(rng: &mut Rng, x: f32, y: f32) -> [f32; 2] {
    [rng.between(-x, x), rng.between(-y, y)]
}

/// A direction for a screw's slot: any angle of a half turn, after which a slot looks the same. The
/// rational circle replaces sine and cosine, which differ between maths libraries.
fn direction(rng: &mut Rng) -> [f32; 2] {
    let t = rng.between(-1.0, 1.0);
    let below = 1.0 + t * t;
    [(1.0 - t * t) / below, 2.0 * t / below]
}
