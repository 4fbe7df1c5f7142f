//! What can be wrong with a part, and how each defect changes the assembly.

use super::assembly::{Assembly, CODED, Chip, Cut, Facing, Scratch, Stain, WIRES};
use super::layout::BASE;
use crate::seed::Rng;

/// A kind of defect.
///
/// The first six are misplacements: every detail of the picture is also on good parts, at another
/// place. Most of them also bring details together that are apart on good parts; a method without
/// positions notices this. [`Defect::PlugsSwapped`] alone leaves the surroundings as they are: only
/// the place is wrong. With the other kinds, something is missing, or the part shows something that
/// no good part shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    /// Two neighbouring wires sit in each other's terminals.
    WireSwapped,
    /// One wire sits in the empty terminal next to its own.
    WireWrongTerminal,
    /// Three neighbouring wires follow in the wrong order of colours.
    WrongColourOrder,
    /// Two components that fit each other's place are exchanged.
    ComponentsSwapped,
    /// A capacitor is mounted the wrong way round.
    ComponentMirrored,
    /// The two coded plugs are exchanged. Each has surroundings like those of the other.
    PlugsSwapped,
    /// A component is missing.
    ComponentMissing,
    /// A corner screw is missing.
    ScrewMissing,
    /// A wire is broken.
    BrokenWire,
    /// A thin scratch on the plate.
    Scratch,
    /// A faint stain on the plate.
    Stain,
    /// A piece of the plate's edge is broken off.
    EdgeChip,
}

impl Defect {
    /// Every kind, misplacements first.
    pub const ALL: &[Self] = &[
        Self::WireSwapped,
        Self::WireWrongTerminal,
        Self::WrongColourOrder,
        Self::ComponentsSwapped,
        Self::ComponentMirrored,
        Self::PlugsSwapped,
        Self::ComponentMissing,
        Self::ScrewMissing,
        Self::BrokenWire,
        Self::Scratch,
        Self::Stain,
        Self::EdgeChip,
    ];

    /// A short name that is also the folder's name: lower case, words joined by underscores.
    pub fn name(self) -> &'static str {
        match self {
            Self::WireSwapped => "wire_swapped",
            Self::WireWrongTerminal => "wire_wrong_terminal",
            Self::WrongColourOrder => "wrong_colour_order",
            Self::ComponentsSwapped => "components_swapped",
            Self::ComponentMirrored => "component_mirrored",
            Self::PlugsSwapped => "plugs_swapped",
            Self::ComponentMissing => "component_missing",
            Self::ScrewMissing => "screw_missing",
            Self::BrokenWire => "broken_wire",
            Self::Scratch => "scratch",
            Self::Stain => "stain",
            Self::EdgeChip => "edge_chip",
        }
    }

    /// One sentence for a person who sees the part for the first time.
    pub fn what(self) -> &'static str {
        match self {
            Self::WireSwapped => "Two neighbouring wires sit in each other's terminals.",
            Self::WireWrongTerminal => "One wire sits in the empty terminal next to its own.",
            Self::WrongColourOrder => "Three neighbouring wires follow in the wrong colour order.",
            Self::ComponentsSwapped => "Two components have changed places.",
            Self::ComponentMirrored => "A capacitor is mounted the wrong way round.",
            Self::PlugsSwapped => {
                "The red and the blue plug of the coding block have changed places."
            }
            Self::ComponentMissing => "A component is missing: its empty seat shows.",
            Self::ScrewMissing => "A corner screw is missing: its threaded hole shows.",
            Self::BrokenWire => "A wire is broken and its copper shows at both ends.",
            Self::Scratch => "A thin bright scratch runs over the base plate.",
            Self::Stain => "A faint brown stain lies on the base plate.",
            Self::EdgeChip => "A piece has broken off the edge of the base plate.",
        }
    }

    /// Correct in itself, wrong in its place: no detail of the picture is new to a method that
    /// knows good parts.
    #[cfg(test)]
    pub(crate) fn is_misplacement(self) -> bool {
        matches!(
            self,
            Self::WireSwapped
                | Self::WireWrongTerminal
                | Self::WrongColourOrder
                | Self::ComponentsSwapped
                | Self::ComponentMirrored
                | Self::PlugsSwapped
        )
    }

    /// Builds the defect into `assembly`; `rng` gives its place and strength.
    pub(super) fn build_into(self, assembly: &mut Assembly, rng: &mut Rng) {
        match self {
            Self::WireSwapped => {
                let first = rng.below(WIRES - 1);
                exchange(assembly, first, first + 1);
            }
            Self::WrongColourOrder => {
                let first = rng.below(WIRES - 2);
                // Either order: the middle wire comes first, or last.
                if rng.below(2) == 0 {
                    exchange(assembly, first, first + 1);
                    exchange(assembly, first + 1, first + 2);
                } else {
                    exchange(assembly, first + 1, first + 2);
                    exchange(assembly, first, first + 1);
                }
            }
            Self::WireWrongTerminal => {
                // The wires next to the empty terminal: the fourth on the left, the second on
                // the right.
                let [red, blue, yellow, white, _] = &mut assembly.wires;
                match rng.below(4) {
                    0 => yellow.left = 3,
                    1 => white.left = 3,
                    2 => red.right = 1,
                    _ => blue.right = 1,
                }
            }
            Self::ComponentsSwapped => match rng.below(3) {
                // The lamps are small and the boxes large, so the boxes come twice as often.
                0 => assembly.lamps.swap(0, 1),
                _ => assembly.cases.swap(0, 1),
            },
            Self::ComponentMirrored => {
                let [first, second] = &mut assembly.cans;
                let can = if rng.below(2) == 0 { first } else { second };
                *can = can.map(|facing| match facing {
                    Facing::Right => Facing::Left,
                    Facing::Left => Facing::Right,
                });
            }
            Self::PlugsSwapped => {
                let [first, second] = CODED;
                assembly.plugs.swap(first, second);
            }
            Self::ComponentMissing => {
                let [first_case, second_case] = &mut assembly.cases;
                let [first_can, second_can] = &mut assembly.cans;
                let [first_lamp, second_lamp] = &mut assembly.lamps;
                match rng.below(7) {
                    0 => *first_case = None,
                    1 => *second_case = None,
                    2 => *first_can = None,
                    3 => *second_can = None,
                    4 => *first_lamp = None,
                    5 => *second_lamp = None,
                    _ => assembly.fuse = false,
                }
            }
            Self::ScrewMissing => {
                let which = rng.below(assembly.screws.len());
                if let Some(screw) = assembly.screws.get_mut(which) {
                    *screw = false;
                }
            }
            Self::BrokenWire => assembly.cut = Some(cut(rng)),
            Self::Scratch => assembly.scratch = Some(scratch(rng)),
            Self::Stain => assembly.stain = Some(stain(rng)),
            Self::EdgeChip => assembly.chip = Some(chip(rng)),
        }
    }
}

/// Two wires exchange their courses at both ends. Only the colours move, so no wire crosses
/// another: no good part shows a crossing.
fn exchange(assembly: &mut Assembly, a: usize, b: usize) {
    let colour = |assembly: &Assembly, i: usize| assembly.wires.get(i).map(|w| w.colour);
    if let (Some(first), Some(second)) = (colour(assembly, a), colour(assembly, b)) {
        for (i, colour) in [(a, second), (b, first)] {
            if let Some(wire) = assembly.wires.get_mut(i) {
                wire.colour = colour;
            }
        }
    }
}

/// Areas of bare plate (x and y from, then to): between the upper row and the wires, and between
/// the wires and the coding block, left and right.
const BARE: [[f32; 4]; 3] = [
    [106.0, 86.0, 214.0, 98.0],
    [100.0, 167.0, 158.0, 180.0],
    [162.0, 167.0, 220.0, 180.0],
];

fn bare(rng: &mut Rng) -> [f32; 4] {
    BARE.get(rng.below(BARE.len())).copied().unwrap_or(BARE[0])
}

fn cut(rng: &mut Rng) -> Cut {
    let wire = rng.below(WIRES);
    // Left or right of the clamp, never under it.
    let x = if rng.below(2) == 0 {
        rng.between(104.0, 142.0)
    } else {
        rng.between(178.0, 216.0)
    };
    let droop = |rng: &mut Rng| rng.between(-3.5, 3.5);
    Cut {
        wire,
        x,
        gap: rng.between(10.0, 17.0),
        droop: [droop(rng), droop(rng)],
    }
}

fn scratch(rng: &mut Rng) -> Scratch {
    let [x0, y0, x1, y1] = bare(rng);
    // From the first part of the area to its last: in full sight, not under a component.
    let (early, late) = (rng.between(0.0, 0.35), rng.between(0.65, 1.0));
    let (a, b) = (rng.unit(), rng.unit());
    let (s, t) = if x1 - x0 > y1 - y0 {
        ([early, a], [late, b])
    } else {
        ([a, early], [b, late])
    };
    let from = [x0 + s[0] * (x1 - x0), y0 + s[1] * (y1 - y0)];
    let to = [x0 + t[0] * (x1 - x0), y0 + t[1] * (y1 - y0)];
    let mut bow = || rng.between(-6.0, 6.0);
    Scratch {
        from,
        bend: [
            (from[0] + to[0]) / 2.0 + bow(),
            (from[1] + to[1]) / 2.0 + bow(),
        ],
        to,
        half_width: rng.between(0.5, 1.0),
        glare: rng.between(0.2, 0.45),
    }
}

fn stain(rng: &mut Rng) -> Stain {
    let [x0, y0, x1, y1] = bare(rng);
    let (x, y) = (rng.between(x0, x1), rng.between(y0, y1));
    let size = rng.between(9.0, 15.0);
    let mut blob = || {
        [
            x + rng.between(-0.9, 0.9) * size,
            y + rng.between(-0.8, 0.8) * size,
            size * rng.between(0.4, 0.8),
        ]
    };
    Stain {
        blobs: [[x, y, size], blob(), blob(), blob()],
        depth: rng.between(0.2, 0.4),
    }
}

fn chip(rng: &mut Rng) -> Chip {
    // A place on one of the four sides, away from the corners.
    let side = rng.below(4);
    let share = rng.between(-0.8, 0.8);
    let (sx, sy) = match side {
        0 => (share, -1.0),
        1 => (share, 1.0),
        2 => (-1.0, share),
        _ => (1.0, share),
    };
    let (x, y) = (BASE.cx + sx * BASE.half_x, BASE.cy + sy * BASE.half_y);
    let size = rng.between(3.5, 7.0);
    let off = rng.between(0.6, 1.1) * size;
    let second = size * rng.between(0.5, 0.8);
    let (ox, oy) = if side < 2 { (off, 0.0) } else { (0.0, off) };
    Chip {
        bites: [[x, y, size], [x + ox, y + oy, second]],
    }
}
