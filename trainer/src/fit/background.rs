//! `--background`: what the user says of the background, and what good images teach about its colours.

use super::centroids::k_means;
use super::coreset::Vectors;
use crate::damage::background_colours;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::{Background, BackgroundFilter, Foreground};
use rayon::prelude::*;
use std::fmt;
use std::str::FromStr;

/// Good images that are looked at, at most.
const IMAGES: usize = 48;
/// Colours taken of one image, at most.
const COLOURS: usize = 2000;
/// Colours of a learnt background.
const KINDS: usize = 4;
/// The distance to a colour that is still background: twice what this share of the background's cells
/// stays below, because a pixel varies more than a cell's mean, ...
const WITHIN: f64 = 0.99;
const ROOM: f32 = 2.0;
/// ... and at least this, levels.
const LEAST: f32 = 10.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Learnt,
    Range { low: [f32; 3], high: [f32; 3] },
}

/// What `--background` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BackgroundRequest {
    foreground: Asked,
    opening: u32,
    closing: u32,
    filter: BackgroundFilter,
    radius: u32,
}

fn expected(part: &str) -> String {
    format!(
        "`{part}`: `learnt`, or levels of the foreground as grey=90..255 or red=A..B, green=A..B, blue=A..B is expected; then opening=N, closing=N, radius=N and filter=mean or filter=median, with commas between"
    )
}

fn levels(text: &str) -> Option<[f32; 2]> {
    let (low, high) = text.split_once("..")?;
    let ends = [low, high].map(|end| end.trim().parse::<f32>().ok());
    let [Some(low), Some(high)] = ends else {
        return None;
    };
    let sound = 0.0 <= low && low <= high && high <= 255.0;
    sound.then_some([low, high])
}

impl FromStr for BackgroundRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut found = Self {
            foreground: Asked::Learnt,
            opening: 1,
            closing: 2,
            filter: BackgroundFilter::Median,
            radius: 4,
        };
        let mut learnt = false;
        let mut range: [Option<[f32; 2]>; 3] = [None; 3];
        let mut named: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if named.contains(&name) {
                return Err(format!("`{part}`: named twice"));
            }
            named.push(name);
            let number = || value.parse::<u32>().map_err(|_| expected(part));
            let ends = || levels(value).ok_or_else(|| expected(part));
            match name {
                "learnt" if value.is_empty() => learnt = true,
                "grey" => range = [Some(ends()?); 3],
                "red" => range[0] = Some(ends()?),
                "green" => range[1] = Some(ends()?),
                "blue" => range[2] = Some(ends()?),
                "opening" => found.opening = number()?,
                "closing" => found.closing = number()?,
                "radius" => found.radius = number()?,
                "filter" => {
                    found.filter = match value {
                        "mean" => BackgroundFilter::Mean,
                        "median" => BackgroundFilter::Median,
                        _ => return Err(expected(part)),
                    }
                }
                _ => return Err(expected(part)),
            }
        }
        let given = range.iter().any(Option::is_some);
        if learnt == given {
            return Err(expected(text));
        }
        if given {
            // A channel that is not named may have any level.
            let ends = range.map(|ends| ends.unwrap_or([0.0, 255.0]));
            found.foreground = Asked::Range {
                low: ends.map(|[low, _]| low),
                high: ends.map(|[_, high]| high),
            };
        }
        match found.with(Foreground::Range {
            low: [0.0; 3],
            high: [255.0; 3],
        }) {
            background if background.problem().is_some() => {
                Err(background.problem().unwrap_or_default())
            }
            _ => Ok(found),
        }
    }
}

impl fmt::Display for BackgroundRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.foreground {
            Asked::Learnt => f.write_str("--background learnt"),
            Asked::Range { low, high } => write!(f, "--background with levels {low:?} to {high:?}"),
        }
    }
}

impl BackgroundRequest {
    fn with(&self, foreground: Foreground) -> Background {
        Background {
            foreground,
            opening: self.opening,
            closing: self.closing,
            filter: self.filter,
            radius: self.radius,
        }
    }

    /// The background of the product of `images`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where it is to be learnt and most images show none.
    pub(crate) fn learn(&self, images: &GoodImages) -> Result<Background, TrainError> {
        match self.foreground {
            Asked::Range { low, high } => Ok(self.with(Foreground::Range { low, high })),
            Asked::Learnt => {
                let step = images.paths.len().div_ceil(IMAGES).max(1);
                let looked: Vec<_> = images.paths.iter().step_by(step).collect();
                let found: Vec<Option<Vec<[f32; 3]>>> = looked
                    .par_iter()
                    .map(|path| Ok(background_colours(&images.read(path)?)))
                    .collect::<Result<_, TrainError>>()?;
                let plain: Vec<Vec<[f32; 3]>> = found.into_iter().flatten().collect();
                if 2 * plain.len() < looked.len().max(1) {
                    return Err(TrainError::Setting(format!(
                        "--background learnt: {} of {} good images looked at show a part on a plain background; give the levels of the part, as --background grey=90..255",
                        plain.len(),
                        looked.len()
                    )));
                }
                Ok(self.with(unlike(&plain)))
            }
        }
    }
}

/// The foreground by the colours of backgrounds, in shares of full scale.
fn unlike(images: &[Vec<[f32; 3]>]) -> Foreground {
    let colours: Vec<f32> = images
        .iter()
        .flat_map(|image| image.iter().step_by((image.len() / COLOURS).max(1)))
        .flatten()
        .map(|share| 255.0 * share)
        .collect();
    let vectors = Vectors {
        values: &colours,
        dimensions: 3,
    };
    let all: Vec<u32> = (0..vectors.rows() as u32).collect();
    let kinds = KINDS.min(all.len());
    // One start for every product: colours differ little, and the fit's seed has no say in the input.
    let centres = k_means(vectors, &all, kinds, 0, &|_| ()).values;
    let mut distances: Vec<f32> = all
        .iter()
        .map(|&row| {
            let colour = vectors.row(row);
            let squares = |centre: &[f32]| -> f32 {
                let pairs = centre.iter().zip(colour);
                pairs.map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let least = centres.chunks_exact(3).map(squares);
            least.fold(f32::INFINITY, f32::min).sqrt()
        })
        .collect();
    let at = ((WITHIN * distances.len() as f64) as usize).min(distances.len() - 1);
    let (_, within, _) = distances.select_nth_unstable_by(at, f32::total_cmp);
    Foreground::Unlike {
        colours: centres.as_chunks::<3>().0.to_vec(),
        distance: (ROOM * *within).max(LEAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use partgate::seed::Rng;

    #[test]
    fn a_request_is_read_from_its_text() {
        let read = |text: &str| text.parse::<BackgroundRequest>();
        let learnt = read("learnt").expect("a request");
        assert_eq!(learnt.foreground, Asked::Learnt);
        let grey = read("grey=90..255, filter=mean,radius=7,opening=0").expect("a request");
        let range = |low, high| Asked::Range { low, high };
        assert_eq!(grey.foreground, range([90.0; 3], [255.0; 3]));
        assert_eq!((grey.filter, grey.radius), (BackgroundFilter::Mean, 7));
        assert_eq!((grey.opening, grey.closing), (0, 2));
        let red = read("red=10..20.5,blue=0..100").expect("a request");
        let low = [10.0, 0.0, 0.0];
        assert_eq!(red.foreground, range(low, [20.5, 255.0, 100.0]));
        for wrong in [
            "",
            "radius=3",
            "learnt,grey=1..2",
            "grey=9..8",
            "grey=0..256",
            "grey=5",
            "learnt,radius=0",
            "learnt,radius=65",
            "learnt,learnt",
            "learnt,filter=blur",
            "auto",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_learnt_background_takes_in_its_own_colours_and_not_the_part() {
        let mut rng = Rng::new(4);
        let mut near = |middle: [f32; 3]| middle.map(|v| v + 0.01 * rng.gaussian());
        let image: Vec<[f32; 3]> = (0..600)
            .map(|i| {
                near(if i % 3 == 0 {
                    [0.1, 0.1, 0.2]
                } else {
                    [0.3, 0.3, 0.3]
                })
            })
            .collect();
        let Foreground::Unlike { colours, distance } = unlike(&[image.clone(), image.clone()])
        else {
            panic!("learnt");
        };
        let least = |colour: [f32; 3]| {
            let of = |c: &[f32; 3]| {
                let pairs = c.iter().zip(colour);
                pairs
                    .map(|(a, b)| (a - 255.0 * b).powi(2))
                    .sum::<f32>()
                    .sqrt()
            };
            colours.iter().map(of).fold(f32::INFINITY, f32::min)
        };
        let outside = image.iter().filter(|&&c| least(c) > distance).count();
        assert_eq!(outside, 0);
        assert!((LEAST..30.0).contains(&distance), "{distance}");
        assert!(least([0.6, 0.5, 0.4]) > distance);
    }
}
