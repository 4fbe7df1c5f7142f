//! Synthetic damage on good images.
//!
//! Two families. *Surface* damage puts something foreign on the part: blobs, scars, scraps and
//! strokes filled from elsewhere. *Misplaced* damage shows nothing foreign: components exchanged,
//! mirrored, turned, recoloured, duplicated or removed. The refinement network is trained on such
//! pictures, and the choice of conditioning is made on them; docs/damage.md shows them.
//!
//! The same frame, donors, family and seed give the same bytes on every machine (see [`draws`]).

mod draws;
mod fills;
mod foreground;
mod golden_marks;
mod misplacement;
mod recolouring;
mod region;
mod samples;
mod shapes;
#[cfg(test)]
mod tests;

pub(crate) use fills::Fill;
pub(crate) use foreground::{background_colours, part_box};
pub(crate) use golden_marks::damaged;

use draws::{log_uniform, one_of};
use partgate::frame::{Frame, FrameError};
use partgate::seed::Rng;
use region::Region;
use samples::{Patch, Picture, painted};
use shapes::Placement;
use std::fmt;
use thiserror::Error;

/// Sort of fault that a damage imitates. The choice of conditioning reports each by itself:
/// position and neighbourhood help only against the misplaced family, where every patch alone looks
/// normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Something foreign on the surface.
    Surface,
    /// Something normal in the wrong place, or gone.
    Misplaced,
    /// As [`Family::Surface`], but smaller than anything of it: what the camera resolves, and few pixels
    /// of the network show.
    Fine,
}

impl Family {
    /// The kinds of damage in this family.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            Family::Surface | Family::Fine => &SURFACE_KINDS,
            Family::Misplaced => &misplacement::KINDS,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Surface => "surface",
            Family::Misplaced => "misplaced",
            Family::Fine => "fine",
        })
    }
}

const SURFACE_KINDS: [Kind; 4] = [Kind::Blob, Kind::Scar, Kind::Rectangle, Kind::Stroke];

/// Kind of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Surface: lobes with a rough outline.
    Blob,
    /// Surface: a thin bent line.
    Scar,
    /// Surface: a rectangle at any angle.
    Rectangle,
    /// Surface: a line as drawn by hand.
    Stroke,
    /// Misplaced: two places have exchanged their contents.
    Swapped,
    /// Misplaced: one place shows the contents of another.
    Duplicated,
    /// Misplaced: mirrored in its place.
    Mirrored,
    /// Misplaced: turned by 90 or 180 degrees in its place.
    Rotated,
    /// Misplaced: another colour or tone.
    Recoloured,
    /// Misplaced: painted over with its surroundings.
    Removed,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Blob => "blob",
            Kind::Scar => "scar",
            Kind::Rectangle => "rectangle",
            Kind::Stroke => "stroke",
            Kind::Swapped => "swapped",
            Kind::Duplicated => "duplicated",
            Kind::Mirrored => "mirrored",
            Kind::Rotated => "rotated",
            Kind::Recoloured => "recoloured",
            Kind::Removed => "removed",
        })
    }
}

/// A pixel has changed when a channel differs by more than this share of full scale: above sensor
/// noise and compression, below what a person would overlook.
pub(crate) const VISIBLE: f32 = 0.03;

/// Least mean difference over the changed pixels. Noise alone takes single pixels past [`VISIBLE`],
/// and a network must not learn from such a patch.
const LEAST_MEAN_CHANGE: f32 = 0.06;

/// Changed pixels that every damage has at least: this share of the picture, 13 of the 256 x 256
/// that a network sees, so that the label survives shrinking; and never fewer than [`FEWEST`].
const LEAST_SHARE: f32 = 0.0002;

/// At least this many pixels change in the smallest pictures.
const FEWEST: usize = 6;

/// Least side of a picture: smaller ones do not hold a damage with a border around it.
const LEAST_SIDE: usize = 16;

/// Areas of surface damage over the picture's, log-uniform.
const AREA: (f32, f32) = (0.0005, 0.05);

/// Least area of fine damage, pixels: 8 x 8, what a person sees in a picture without a magnifier.
const FINEST: f32 = 64.0;
/// Changed pixels that fine damage has at least.
const FEWEST_OF_FINE: usize = 16;

/// Surface damage covers at most this share of the region: more would be another part.
const MOST_OF_REGION: f32 = 0.2;

/// Least share of a misplaced component's pixels that must change: a plain area with some noise
/// looks the same when it is mirrored.
const LEAST_OF_COMPONENT: f32 = 0.12;

/// Draws before giving up. A new kind is drawn only after [`ATTEMPTS_A_KIND`] of them: with a new
/// one for each attempt, kinds that often fail would hardly occur.
const ATTEMPTS: u64 = 48;
const ATTEMPTS_A_KIND: u64 = 8;

/// Why a picture cannot be damaged.
#[derive(Debug, Error)]
pub(crate) enum DamageError {
    #[error(
        "a picture of {width} x {height} pixels is too small to be damaged; at least {LEAST_SIDE} a side are needed"
    )]
    TooSmall { width: usize, height: usize },
    #[error("the allowed area has {found} entries but the picture {expected} pixels")]
    Allowed { found: usize, expected: usize },
    #[error(
        "only {found} pixels of the part may change but {needed} are needed; is the allowed area nearly empty?"
    )]
    RegionTooSmall { found: usize, needed: usize },
    #[error(
        "no {family} damage shows on this picture after {ATTEMPTS} attempts; is the part of one colour without any structure?"
    )]
    Invisible { family: Family },
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A damaged copy of a good picture.
#[derive(Debug)]
pub(crate) struct Damaged {
    /// The picture, in the format of the good one.
    pub(crate) frame: Frame,
    /// Pixels that differ visibly, `[height, width]`; never all false.
    pub(crate) changed: Vec<bool>,
    pub(crate) kind: Kind,
    /// `None` for misplaced damage.
    pub(crate) fill: Option<Fill>,
}

/// Damages one picture any number of times; it looks for the part only once.
pub(crate) struct Damager<'a> {
    frame: &'a Frame,
    donors: &'a [&'a Frame],
    region: Region<'a>,
    least: usize,
}

impl<'a> Damager<'a> {
    /// For `frame`, at least 16 x 16. `donors` are other good pictures of any size and format to
    /// fill from; without one, fills come from other places of the same picture. `allowed`,
    /// `[height, width]`: pixels that may change. Where the border of the picture shows a plain
    /// background, damage stays within the part.
    ///
    /// # Errors
    /// [`DamageError`] when the picture is too small, `allowed` is of another size, or leaves
    /// nothing to change.
    pub(crate) fn new(
        frame: &'a Frame,
        donors: &'a [&'a Frame],
        allowed: Option<&'a [bool]>,
    ) -> Result<Self, DamageError> {
        let (width, height) = (frame.width(), frame.height());
        if width.min(height) < LEAST_SIDE {
            return Err(DamageError::TooSmall { width, height });
        }
        if let Some(found) = allowed.map(<[bool]>::len).filter(|&n| n != width * height) {
            return Err(DamageError::Allowed {
                found,
                expected: width * height,
            });
        }
        let region = Region::new(Picture::new(frame), allowed);
        let least = ((width * height) as f32 * LEAST_SHARE) as usize;
        let least = least.max(FEWEST);
        // The region's border cuts shapes off, so it must be larger than the smallest damage.
        if region.pixels < 4 * least {
            return Err(DamageError::RegionTooSmall {
                found: region.pixels,
                needed: 4 * least,
            });
        }
        Ok(Self {
            frame,
            donors,
            region,
            least,
        })
    }

    /// Share of the picture that the part covers; `None` where no part was found and the whole
    /// picture counts.
    pub(crate) fn part_share(&self) -> Option<f32> {
        self.region.part_share()
    }

    /// One damage of the family; another seed gives another one.
    ///
    /// # Errors
    /// [`DamageError::Invisible`] when no such damage is visible on this picture: a part of one
    /// colour has no components to misplace.
    pub(crate) fn damage(&self, family: Family, seed: u64) -> Result<Damaged, DamageError> {
        let mut kind = family.kinds()[0];
        for attempt in 0..ATTEMPTS {
            let mut rng = Rng::stream(seed, attempt);
            if attempt % ATTEMPTS_A_KIND == 0 {
                kind = one_of(&mut rng, family.kinds());
            }
            if let Some(damaged) = self.attempt(family, kind, attempt, &mut rng)? {
                return Ok(damaged);
            }
        }
        Err(DamageError::Invisible { family })
    }

    /// One draw of `kind`; `None` when it is not visible.
    fn attempt(
        &self,
        family: Family,
        kind: Kind,
        attempt: u64,
        rng: &mut Rng,
    ) -> Result<Option<Damaged>, DamageError> {
        // 0 at first, 1 at last: surface damage becomes bolder, components smaller.
        let boldness = attempt as f32 / (ATTEMPTS - 1) as f32;
        let (patches, fill, needed) = if SURFACE_KINDS.contains(&kind) {
            let fine = family == Family::Fine;
            let Some((patch, fill)) = self.surface(fine, kind, boldness, rng) else {
                return Ok(None);
            };
            let least = if fine { FEWEST_OF_FINE } else { self.least };
            (vec![patch], Some(fill), least)
        } else {
            let picture = Picture::new(self.frame);
            let smaller = 1.0 - 0.7 * boldness;
            let Some(patches) = misplacement::misplaced(kind, picture, &self.region, smaller, rng)
            else {
                return Ok(None);
            };
            let area: usize = patches.iter().map(|p| p.window().area()).sum();
            let needed = (LEAST_OF_COMPONENT * area as f32) as usize;
            (patches, None, needed.max(self.least))
        };
        let Some(changed) = self.changed(&patches, needed) else {
            return Ok(None);
        };
        Ok(Some(Damaged {
            frame: painted(self.frame, &patches)?,
            changed,
            kind,
            fill,
        }))
    }

    /// Least and largest area of surface damage, or of fine damage, pixels.
    fn areas(&self, fine: bool) -> (f32, f32) {
        let whole = (self.frame.width() * self.frame.height()) as f32;
        let smallest = (AREA.0 * whole).max(2.0 * self.least as f32);
        if fine {
            return (FINEST, smallest.max(FINEST));
        }
        let largest = (AREA.1 * whole).min(MOST_OF_REGION * self.region.pixels as f32);
        (smallest, largest.max(smallest))
    }

    /// Whether the picture has room for fine damage: pixels enough that [`Family::Surface`] does not
    /// go down to what can be seen.
    pub(crate) fn resolves_fine(&self) -> bool {
        self.areas(true).1 >= 4.0 * FINEST
    }

    fn surface(
        &self,
        fine: bool,
        kind: Kind,
        boldness: f32,
        rng: &mut Rng,
    ) -> Option<(Patch, Fill)> {
        let picture = Picture::new(self.frame);
        let fill = if boldness > 0.6 {
            // Visible on any ground.
            Fill::Brightness
        } else {
            one_of(rng, &Fill::ALL)
        };
        let (smallest, largest) = self.areas(fine);
        let centre = self.region.place(rng)?;
        let placement = Placement {
            centre: (centre.0 as f32, centre.1 as f32),
            area: log_uniform(rng, smallest, largest),
            picture: (self.frame.width(), self.frame.height()),
        };
        let opacity = rng.between(0.35 + 0.65 * boldness, 1.0);
        let mask =
            shapes::shape(kind, &placement, rng).limited(opacity, |x, y| self.region.holds(x, y));
        let strong = boldness > 0.6;
        let paint = fills::paint(fill, picture, self.donors, centre, strong, rng);
        Some((Patch::new(mask, paint), fill))
    }

    /// The visibly changed pixels, or `None` when they are fewer than `needed` or too faint.
    /// Patches of one damage do not overlap, so each is measured alone.
    fn changed(&self, patches: &[Patch], needed: usize) -> Option<Vec<bool>> {
        let picture = Picture::new(self.frame);
        let effects: Vec<_> = patches
            .iter()
            .map(|p| (p.window(), p.effect(picture, VISIBLE)))
            .collect();
        let count: usize = effects.iter().map(|(_, e)| e.count).sum();
        if count < needed || effects.iter().any(|(_, e)| e.mean < LEAST_MEAN_CHANGE) {
            return None;
        }
        let width = self.frame.width();
        let mut changed = vec![false; width * self.frame.height()];
        for (w, effect) in &effects {
            for (row, line) in effect.changed.chunks_exact(w.width).enumerate() {
                let at = (w.top + row) * width + w.left;
                changed[at..at + w.width].copy_from_slice(line);
            }
        }
        Some(changed)
    }
}
