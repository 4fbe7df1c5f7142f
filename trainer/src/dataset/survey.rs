//! A look at all good images before the fit: what they have in common, and what is odd.

use super::findings::Survey;
use super::folders::images;
use super::goods::GoodImages;
use super::near_copies::near_copies;
use super::pictures::{Facts, facts_of, named, without_copies};
use super::problem;
use crate::error::TrainError;
use partgate::backbone::Rect;
use partgate::frame::{Reading, right_aligned};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Sides below this are refused, pixels: the network would see an enlarged smear.
pub(crate) const SMALLEST_SIDE: u32 = 32;
/// Beyond this aspect a warning is due: a picture is squeezed to a square.
const LONGEST: f64 = 8.0;
/// A size that fewer images than this share have is odd.
const ODD_SHARE: f64 = 0.2;

/// How the images are to be read, as far as the user says it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Bits that count in 16-bit samples.
    pub(crate) bits: Option<u8>,
    /// Whether images are turned as their EXIF orientation says.
    pub(crate) upright: bool,
    /// The region that is inspected, source pixels.
    pub(crate) roi: Option<Rect>,
}

impl GoodImages {
    /// Looks at every image: leaves out copies, and notes what is odd.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] for images that cannot be one set as they are: samples at the right of
    /// 16 bits, mixed EXIF orientations, images of a few pixels. [`TrainError::Folder`] for an image
    /// that cannot be read.
    pub(crate) fn surveyed(self, asked: Asked) -> Result<Self, TrainError> {
        let reading = Reading {
            bits: asked.bits.unwrap_or(Reading::default().bits),
            upright: asked.upright,
        };
        let all = facts_of(&self.paths, reading)?;
        check_depth(&self, &all, asked)?;
        let mut notes = Vec::new();
        let orientation = orientation(&self, &all, asked.upright, &mut notes)?;
        check_sizes(&self, &all, asked.roi, &mut notes)?;
        let Self { root, paths, .. } = self;
        let relative = |path: &std::path::Path| {
            let below = path.strip_prefix(&root).unwrap_or(path);
            below.to_string_lossy().into_owned()
        };
        let (paths, facts, copies) = without_copies(paths, all, &relative);
        notes.extend(copies);
        let name = |index: usize| relative(&paths[index]);
        notes.extend(near_in_words(&facts, &name));
        notes.extend(odd_sizes(&facts, &name));
        for note in &notes {
            log::warn!("{note}");
        }
        Ok(Self {
            root,
            paths,
            reading,
            survey: Some(Survey {
                facts,
                orientation,
                notes,
            }),
        })
    }
}

fn check_depth(goods: &GoodImages, facts: &[Facts], asked: Asked) -> Result<(), TrainError> {
    let deep = facts.iter().filter_map(|f| f.said.largest);
    let Some(largest) = deep.max() else {
        return match asked.bits {
            Some(bits) => Err(TrainError::Setting(format!(
                "--bits {bits}: none of the images has 16-bit samples; leave it out"
            ))),
            None => Ok(()),
        };
    };
    match right_aligned(largest).filter(|_| asked.bits.is_none()) {
        None => Ok(()),
        Some(bits) => Err(problem(
            &goods.root,
            format!(
                "no 16-bit sample of these images exceeds {largest}: {bits} bits at the right of 16 (Mono{bits}), which would be read as nearly black; say --bits {bits} (or 10, 12, 14; --bits 16 takes them as they are)"
            ),
        )),
    }
}

/// The orientation that all images have.
fn orientation(
    goods: &GoodImages,
    facts: &[Facts],
    upright: bool,
    notes: &mut Vec<String>,
) -> Result<u8, TrainError> {
    let mut by_orientation: BTreeMap<u8, Vec<&PathBuf>> = BTreeMap::new();
    for (fact, path) in facts.iter().zip(&goods.paths) {
        let orientation = fact.said.orientation.unwrap_or(1);
        by_orientation.entry(orientation).or_default().push(path);
    }
    let turned = by_orientation.iter().filter(|(o, _)| **o != 1);
    let names = turned.flat_map(|(o, paths)| {
        paths
            .iter()
            .map(move |path| format!("{} ({o})", goods.relative(path)))
    });
    let names: Vec<String> = names.collect();
    let turned = names.len();
    if upright {
        if turned > 0 {
            notes.push(format!(
                "{} turned as the EXIF orientation says: {}",
                images(turned),
                named(names)
            ));
        }
        return Ok(1);
    }
    if by_orientation.len() > 1 {
        return Err(problem(
            &goods.root,
            format!(
                "{} of {} images have an EXIF orientation other than 1, the others have not: {}. Pixels are taken as they are stored, so some of the parts would lie another way; say --exif apply to turn them, or save them upright",
                turned,
                facts.len(),
                named(names)
            ),
        ));
    }
    let orientation = by_orientation.keys().next().copied().unwrap_or(1);
    if orientation != 1 {
        notes.push(format!(
            "all images have EXIF orientation {orientation}; their pixels are taken as they are stored (--exif apply turns them)"
        ));
    }
    Ok(orientation)
}

fn check_sizes(
    goods: &GoodImages,
    facts: &[Facts],
    roi: Option<Rect>,
    notes: &mut Vec<String>,
) -> Result<(), TrainError> {
    let too_small = |[width, height]: [u32; 2]| width.min(height) < SMALLEST_SIDE;
    if let Some(roi) = roi.filter(|roi| too_small([roi.width, roi.height])) {
        return Err(TrainError::Setting(format!(
            "--roi: {} x {} pixels are inspected; fewer than {SMALLEST_SIDE} pixels along a side show the network nothing but an enlarged smear",
            roi.width, roi.height
        )));
    }
    let pairs = || facts.iter().zip(&goods.paths);
    if let Some((fact, path)) = pairs().find(|(fact, _)| too_small(fact.size)) {
        return Err(problem(
            path,
            format!(
                "{} x {} pixels; fewer than {SMALLEST_SIDE} along a side show the network nothing but an enlarged smear",
                fact.size[0], fact.size[1]
            ),
        ));
    }
    let long = |aspect: f64| !(1.0 / LONGEST..=LONGEST).contains(&aspect);
    let stretched: Vec<String> = match roi {
        Some(roi) if long(f64::from(roi.width) / f64::from(roi.height)) => vec!["--roi".into()],
        Some(_) => Vec::new(),
        None => pairs()
            .filter(|(fact, _)| long(fact.aspect()))
            .map(|(_, path)| goods.relative(path))
            .collect(),
    };
    if !stretched.is_empty() {
        notes.push(format!(
            "longer than {LONGEST}:1: {}. Without --aspect keep the picture is squeezed to a square, so what is small along it is lost; keep the aspect, or inspect a part of it (--roi)",
            named(stretched)
        ));
    }
    Ok(())
}

fn near_in_words(facts: &[Facts], name: &dyn Fn(usize) -> String) -> Option<String> {
    let pairs = near_copies(facts);
    let words = pairs
        .iter()
        .map(|&(a, b)| format!("{} and {}", name(a), name(b)));
    (!pairs.is_empty()).then(|| {
        format!(
            "nearly equal, perhaps the same picture saved again; if so, remove one, because each counts as a part of its own: {}",
            named(words)
        )
    })
}

/// Names the images whose size few others have.
fn odd_sizes(facts: &[Facts], name: &dyn Fn(usize) -> String) -> Option<String> {
    let mut by_size: BTreeMap<[u32; 2], Vec<usize>> = BTreeMap::new();
    for (index, fact) in facts.iter().enumerate() {
        by_size.entry(fact.size).or_default().push(index);
    }
    let usual = by_size.values().max_by_key(|v| v.len())?.clone();
    let odd: Vec<usize> = (0..facts.len()).filter(|i| !usual.contains(i)).collect();
    // Where sizes vary by nature none of them is odd.
    if odd.is_empty() || odd.len() as f64 > ODD_SHARE * facts.len() as f64 {
        return None;
    }
    let [width, height] = facts[usual[0]].size;
    let words = odd.iter().map(|&index| {
        let [w, h] = facts[index].size;
        format!("{} ({w} x {h})", name(index))
    });
    Some(format!(
        "{} of {width} x {height} pixels, but not {}: another size among the goods widens what is accepted on the line; are they right?",
        images(usual.len()),
        named(words)
    ))
}
