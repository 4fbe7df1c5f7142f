//! What is mounted where: the description that is drawn, and that a defect changes.

use super::canvas::{Rgb, colour};

/// Wires in the harness.
pub(super) const WIRES: usize = 5;
/// Terminals of one block.
pub(super) const TERMINALS: usize = 6;

/// One wire: its colour (an index into [`COLOURS`]) and its terminal on each side, counted from the
/// top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wire {
    pub(super) colour: usize,
    pub(super) left: usize,
    pub(super) right: usize,
}

/// Insulation: red, blue, yellow, white, black.
pub(super) const COLOURS: [Rgb; WIRES] = [
    colour(196, 38, 34),
    colour(36, 82, 178),
    colour(232, 186, 36),
    colour(226, 226, 220),
    colour(40, 40, 43),
];

/// Plugs of the coding block.
pub(super) const PLUGS: usize = 11;
/// The two plugs that are not white. Each has three white plugs on either side and bare plate above
/// and below. A method that sees at most seven plugs at a time cannot distinguish the two places.
pub(super) const CODED: [usize; 2] = [3, 7];

/// A plug of the coding block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plug {
    /// White: no meaning.
    White,
    /// Red: the supply.
    Red,
    /// Blue: the return.
    Blue,
}

/// The two box-shaped components share a footprint, so a person can exchange them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Case {
    /// Relay: light blue.
    Relay,
    /// Film capacitor: amber.
    Film,
}

/// Indicator lamps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lens {
    /// Red.
    Red,
    /// Green.
    Green,
}

/// Which way an electrolytic capacitor lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Facing {
    /// Leads to the right, minus stripe below.
    Right,
    /// Leads to the left, minus stripe above.
    Left,
}

/// A thin bright scratch on the plate: a bent stroke from `from` to `to`, pulled towards `bend`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scratch {
    pub(super) from: [f32; 2],
    pub(super) bend: [f32; 2],
    pub(super) to: [f32; 2],
    /// Half of its width, pixels.
    pub(super) half_width: f32,
    /// How much brighter than the plate, linear light.
    pub(super) glare: f32,
}

/// A soft dark spot on the plate made of overlapping blobs (x, y, radius), the largest first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stain {
    pub(super) blobs: [[f32; 3]; 4],
    /// Share of light lost in the middle.
    pub(super) depth: f32,
}

/// A piece missing from the plate's edge: two discs (x, y, radius).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chip {
    pub(super) bites: [[f32; 3]; 2],
}

/// A broken wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    pub(super) wire: usize,
    /// Middle of the gap, pixels from the left.
    pub(super) x: f32,
    /// Width of the gap, pixels.
    pub(super) gap: f32,
    /// How far the left and the right end are from the wire's course, pixels downwards.
    pub(super) droop: [f32; 2],
}

/// The whole product.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assembly {
    pub(super) wires: [Wire; WIRES],
    /// In the seats K1 and C3.
    pub(super) cases: [Option<Case>; 2],
    /// In the seats C1 and C2.
    pub(super) cans: [Option<Facing>; 2],
    /// In the seats H1 and H2.
    pub(super) lamps: [Option<Lens>; 2],
    /// In the seat F1.
    pub(super) fuse: bool,
    /// In the coding block, from the left.
    pub(super) plugs: [Plug; PLUGS],
    /// Top left, top right, bottom left, bottom right.
    pub(super) screws: [bool; 4],
    pub(super) scratch: Option<Scratch>,
    pub(super) stain: Option<Stain>,
    pub(super) chip: Option<Chip>,
    pub(super) cut: Option<Cut>,
}

impl Assembly {
    /// As the drawing has it. The two capacitors are of one kind and lie in opposite directions,
    /// and each block has one empty terminal. So every good part shows, in the right place, what a
    /// misplacement puts in the wrong place.
    pub(super) fn as_drawn() -> Self {
        let wire = |colour, left, right| Wire {
            colour,
            left,
            right,
        };
        let mut code = [Plug::White; PLUGS];
        for (place, plug) in CODED.into_iter().zip([Plug::Red, Plug::Blue]) {
            if let Some(seat) = code.get_mut(place) {
                *seat = plug;
            }
        }
        Self {
            wires: [
                wire(0, 0, 0),
                wire(1, 1, 2),
                wire(2, 2, 3),
                wire(3, 4, 4),
                wire(4, 5, 5),
            ],
            cases: [Some(Case::Relay), Some(Case::Film)],
            cans: [Some(Facing::Right), Some(Facing::Left)],
            lamps: [Some(Lens::Red), Some(Lens::Green)],
            fuse: true,
            plugs: code,
            screws: [true; 4],
            scratch: None,
            stain: None,
            chip: None,
            cut: None,
        }
    }
}
