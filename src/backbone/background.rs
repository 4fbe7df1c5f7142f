//! What is done to the background of a picture before the network sees it: dust and print beside the
//! part become what is around them, so that no score comes from there. The foreground stays as it is.
//!
//! It works on the resized picture, in levels of 0 to 255, and is the same on every processor.

use crate::size::Size;
use serde::{Deserialize, Serialize};

/// Largest radius of a square of pixels.
pub const MOST_RADIUS: u32 = 64;
/// Most colours of a learnt background.
pub const MOST_COLOURS: usize = 16;

/// Which pixels are foreground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Foreground {
    /// Those whose red, green and blue are all within the range, ends included.
    Range {
        /// Least levels.
        low: [f32; 3],
        /// Most levels.
        high: [f32; 3],
    },
    /// Those that are like none of the colours of the background.
    Unlike {
        /// Colours of the background, levels.
        colours: Vec<[f32; 3]>,
        /// Euclidean distance up to which a pixel is like a colour, levels.
        distance: f32,
    },
}

/// What a pixel of the background becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackgroundFilter {
    /// The mean of the background around it, per channel.
    Mean,
    /// The median of the background around it, per channel, of whole levels.
    Median,
}

impl std::fmt::Display for BackgroundFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackgroundFilter::Mean => "mean",
            BackgroundFilter::Median => "median",
        })
    }
}

/// How the background is found and what it becomes: JSON in the section `background`. A reader refuses
/// fields that it does not know. Squares have `2 radius + 1` pixels of the network's input a side, and
/// are cut at its edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Background {
    /// Which pixels are foreground.
    pub foreground: Foreground,
    /// Radius of the opening of the foreground, which removes specks; 0 for none.
    pub opening: u32,
    /// Radius of the closing after it, which fills holes; 0 for none.
    pub closing: u32,
    /// What the background becomes.
    pub filter: BackgroundFilter,
    /// Radius of the filter.
    pub radius: u32,
}

impl Background {
    /// What is wrong with the values, if anything is.
    pub fn problem(&self) -> Option<String> {
        let radii = [self.opening, self.closing, self.radius];
        if let Some(radius) = radii.iter().find(|&&radius| radius > MOST_RADIUS) {
            return Some(format!(
                "a radius of {radius} pixels; at most {MOST_RADIUS} are possible"
            ));
        }
        if self.radius == 0 {
            return Some("a filter of radius 0 changes nothing".into());
        }
        match &self.foreground {
            Foreground::Range { low, high } => {
                let mut ends = low.iter().zip(high);
                let sound =
                    ends.all(|(low, high)| low.is_finite() && high.is_finite() && low <= high);
                (!sound).then(|| format!("a foreground of levels {low:?} to {high:?}"))
            }
            Foreground::Unlike { colours, distance } => {
                let levels = colours.iter().flatten().all(|v| v.is_finite());
                let sound = (1..=MOST_COLOURS).contains(&colours.len())
                    && levels
                    && distance.is_finite()
                    && *distance > 0.0;
                (!sound).then(|| {
                    format!(
                        "a background of {} colours within {distance}",
                        colours.len()
                    )
                })
            }
        }
    }

    /// What it does, in a sentence.
    pub fn in_words(&self) -> String {
        let foreground = match &self.foreground {
            Foreground::Range { low, high } => {
                let ends = low.iter().zip(high);
                let ends: Vec<String> = ends.map(|(l, h)| format!("{l} to {h}")).collect();
                format!("levels of {} are foreground", ends.join(", "))
            }
            Foreground::Unlike { colours, distance } => format!(
                "what differs by more than {distance:.1} levels from {} is foreground",
                match colours.len() {
                    1 => "1 learnt colour".to_owned(),
                    n => format!("all of {n} learnt colours"),
                }
            ),
        };
        let side = |radius: u32| 2 * radius + 1;
        format!(
            "{foreground}, opened by {0} x {0} and closed by {1} x {1} pixels; the rest becomes the {2} of the background within {3} x {3} pixels",
            side(self.opening),
            side(self.closing),
            self.filter,
            side(self.radius)
        )
    }
}

/// Does it to pictures of one size. It keeps its buffers: after the first picture it takes no memory.
#[derive(Clone, Debug)]
pub struct BackgroundRemover {
    background: Background,
    size: Size,
    foreground: Vec<bool>,
    other: Vec<bool>,
    /// Running sums of the flags of a line.
    sums: Vec<u32>,
    /// The picture as it was.
    before: Vec<f32>,
    /// Of the background: `[height + 1, width + 1]` of pixels and of red, green and blue above and left.
    totals: Vec<[f64; 4]>,
    histograms: Box<[Histogram; 3]>,
}

impl BackgroundRemover {
    /// For pictures of `size` pixels.
    pub fn new(background: Background, size: Size) -> Self {
        let area = size.area();
        let totals = match background.filter {
            BackgroundFilter::Mean => (size.width + 1) * (size.height + 1),
            BackgroundFilter::Median => 0,
        };
        Self {
            background,
            size,
            foreground: vec![false; area],
            other: vec![false; area],
            sums: Vec::with_capacity(size.longer() + 1),
            before: vec![0.0; 3 * area],
            totals: vec![[0.0; 4]; totals],
            histograms: Box::new([Histogram::EMPTY; 3]),
        }
    }

    /// The background that it was made with.
    pub fn background(&self) -> &Background {
        &self.background
    }

    /// The foreground of the last picture, `[height, width]`.
    pub fn foreground(&self) -> &[bool] {
        &self.foreground
    }

    /// Changes the background of `picture`, `[height, width, 3]` in levels.
    ///
    /// # Panics
    /// If the buffer has another length: a programming error.
    pub fn run(&mut self, picture: &mut [f32]) {
        assert_eq!(picture.len(), 3 * self.size.area(), "picture");
        self.find_foreground(picture);
        self.before.copy_from_slice(picture);
        match self.background.filter {
            BackgroundFilter::Mean => self.means(picture),
            BackgroundFilter::Median => self.medians(picture),
        }
    }

    fn find_foreground(&mut self, picture: &[f32]) {
        let pixels = picture.as_chunks::<3>().0;
        let is_foreground = |pixel: &[f32; 3]| match &self.background.foreground {
            Foreground::Range { low, high } => {
                (0..3).all(|c| low[c] <= pixel[c] && pixel[c] <= high[c])
            }
            Foreground::Unlike { colours, distance } => {
                let squares = |colour: &[f32; 3]| -> f32 {
                    (0..3)
                        .map(|c| (colour[c] - pixel[c]) * (colour[c] - pixel[c]))
                        .sum()
                };
                let like = |colour: &[f32; 3]| squares(colour) <= distance * distance;
                !colours.iter().any(like)
            }
        };
        for (flag, pixel) in self.foreground.iter_mut().zip(pixels) {
            *flag = is_foreground(pixel);
        }
        let (opening, closing) = (self.background.opening, self.background.closing);
        self.spread(opening, false);
        self.spread(opening, true);
        self.spread(closing, true);
        self.spread(closing, false);
    }

    /// Sets every pixel of the foreground to whether `any` of its square is foreground, or all of it.
    fn spread(&mut self, radius: u32, any: bool) {
        if radius == 0 {
            return;
        }
        let Size { width, height } = self.size;
        let (r, sums) = (radius as usize, &mut self.sums);
        for y in 0..height {
            line(
                sums,
                width,
                r,
                any,
                &self.foreground[y * width..],
                &mut self.other[y * width..],
                1,
            );
        }
        for x in 0..width {
            line(
                sums,
                height,
                r,
                any,
                &self.other[x..],
                &mut self.foreground[x..],
                width,
            );
        }
    }

    fn means(&mut self, picture: &mut [f32]) {
        let Size { width, height } = self.size;
        let across = width + 1;
        for y in 0..height {
            let mut row = [0.0f64; 4];
            for x in 0..width {
                let at = y * width + x;
                if !self.foreground[at] {
                    row[0] += 1.0;
                    for c in 0..3 {
                        row[1 + c] += f64::from(self.before[3 * at + c]);
                    }
                }
                let above = self.totals[y * across + x + 1];
                let total = &mut self.totals[(y + 1) * across + x + 1];
                *total = std::array::from_fn(|i| above[i] + row[i]);
            }
        }
        let r = self.background.radius as usize;
        for y in 0..height {
            let (top, bottom) = (y.saturating_sub(r), (y + r + 1).min(height));
            for x in 0..width {
                let at = y * width + x;
                if self.foreground[at] {
                    continue;
                }
                let (left, right) = (x.saturating_sub(r), (x + r + 1).min(width));
                let total = |y: usize, x: usize| &self.totals[y * across + x];
                let corners = [
                    total(bottom, right),
                    total(top, right),
                    total(bottom, left),
                    total(top, left),
                ];
                let sum =
                    |i: usize| (corners[0][i] - corners[1][i]) - (corners[2][i] - corners[3][i]);
                for c in 0..3 {
                    picture[3 * at + c] = (sum(1 + c) / sum(0)) as f32;
                }
            }
        }
    }

    /// A window of the background's levels that slides along each row.
    fn medians(&mut self, picture: &mut [f32]) {
        let Size { width, height } = self.size;
        let r = self.background.radius as usize;
        let (foreground, before) = (&self.foreground, &self.before);
        let histograms = &mut self.histograms;
        for y in 0..height {
            let rows = y.saturating_sub(r)..(y + r + 1).min(height);
            histograms.iter_mut().for_each(Histogram::clear);
            let column = |x: usize, histograms: &mut [Histogram; 3], add: bool| {
                for row in rows.clone() {
                    let at = row * width + x;
                    if !foreground[at] {
                        for (c, histogram) in histograms.iter_mut().enumerate() {
                            histogram.change(before[3 * at + c], add);
                        }
                    }
                }
            };
            (0..r.min(width)).for_each(|x| column(x, histograms, true));
            for x in 0..width {
                if x + r < width {
                    column(x + r, histograms, true);
                }
                if x > r {
                    column(x - r - 1, histograms, false);
                }
                let at = y * width + x;
                if !foreground[at] {
                    for (c, histogram) in histograms.iter().enumerate() {
                        picture[3 * at + c] = histogram.median();
                    }
                }
            }
        }
    }
}

/// One line of [`BackgroundRemover::spread`], of `count` flags that lie `step` apart.
fn line(
    sums: &mut Vec<u32>,
    count: usize,
    r: usize,
    any: bool,
    from: &[bool],
    to: &mut [bool],
    step: usize,
) {
    sums.clear();
    sums.push(0);
    let mut sum = 0;
    for at in 0..count {
        sum += u32::from(from[at * step]);
        sums.push(sum);
    }
    for at in 0..count {
        let (low, high) = (at.saturating_sub(r), (at + r + 1).min(count));
        let set = sums[high] - sums[low];
        to[at * step] = if any {
            set > 0
        } else {
            set as usize == high - low
        };
    }
}

/// Counts of whole levels.
#[derive(Clone, Debug)]
struct Histogram {
    all: u32,
    /// Of 16 levels each.
    coarse: [u32; 16],
    fine: [u32; 256],
}

impl Histogram {
    const EMPTY: Self = Self {
        all: 0,
        coarse: [0; 16],
        fine: [0; 256],
    };

    fn clear(&mut self) {
        *self = Self::EMPTY;
    }

    fn change(&mut self, level: f32, add: bool) {
        let level = usize::from(level.round() as u8);
        let by = |count: &mut u32| *count = if add { *count + 1 } else { *count - 1 };
        by(&mut self.all);
        by(&mut self.coarse[level / 16]);
        by(&mut self.fine[level]);
    }

    /// The lower one of an even number of levels; 0 without any.
    fn median(&self) -> f32 {
        let mut left = self.all.div_ceil(2);
        for (block, &count) in self.coarse.iter().enumerate() {
            if left > count {
                left -= count;
                continue;
            }
            for (level, &count) in self.fine[16 * block..][..16].iter().enumerate() {
                if left <= count {
                    return (16 * block + level) as f32;
                }
                left -= count;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Rng;

    fn background(filter: BackgroundFilter, [opening, closing, radius]: [u32; 3]) -> Background {
        Background {
            foreground: Foreground::Range {
                low: [100.0, 0.0, 0.0],
                high: [255.0; 3],
            },
            opening,
            closing,
            filter,
            radius,
        }
    }

    fn drawn(size: Size, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..3 * size.area()).map(|_| 255.0 * rng.unit()).collect()
    }

    /// The pixels of the square around `at`.
    fn square(at: usize, size: Size, r: usize) -> Vec<usize> {
        let (x, y) = (at % size.width, at / size.width);
        let near = |&other: &usize| {
            (other % size.width).abs_diff(x) <= r && (other / size.width).abs_diff(y) <= r
        };
        (0..size.area()).filter(near).collect()
    }

    /// The same by the definition.
    fn plain(background: &Background, size: Size, picture: &[f32]) -> (Vec<bool>, Vec<f32>) {
        let all = |flags: &[bool], r: u32| -> Vec<bool> {
            let of = |at| square(at, size, r as usize).into_iter().all(|p| flags[p]);
            (0..size.area()).map(of).collect()
        };
        let any = |flags: &[bool], r: u32| -> Vec<bool> {
            let of = |at| square(at, size, r as usize).into_iter().any(|p| flags[p]);
            (0..size.area()).map(of).collect()
        };
        let first: Vec<bool> = (0..size.area())
            .map(|at| picture[3 * at] >= 100.0)
            .collect();
        let opened = any(&all(&first, background.opening), background.opening);
        let foreground = all(&any(&opened, background.closing), background.closing);
        let mut out = picture.to_vec();
        for at in (0..size.area()).filter(|&at| !foreground[at]) {
            let around = square(at, size, background.radius as usize);
            for c in 0..3 {
                let values = around.iter().filter(|&&p| !foreground[p]);
                let mut values: Vec<f32> = values.map(|&p| picture[3 * p + c]).collect();
                out[3 * at + c] = match background.filter {
                    BackgroundFilter::Mean => {
                        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
                        (sum / values.len() as f64) as f32
                    }
                    BackgroundFilter::Median => {
                        values.sort_by(f32::total_cmp);
                        values[(values.len() - 1) / 2].round()
                    }
                };
            }
        }
        (foreground, out)
    }

    #[test]
    fn the_background_becomes_what_the_definition_says() {
        for (size, seed) in [
            (Size::new(17, 9), 1),
            (Size::new(5, 12), 2),
            (Size::new(1, 4), 3),
        ] {
            let picture = drawn(size, seed);
            for filter in [BackgroundFilter::Mean, BackgroundFilter::Median] {
                for radii in [[0, 0, 1], [1, 0, 2], [0, 1, 3], [1, 2, 2], [2, 1, 20]] {
                    let background = background(filter, radii);
                    let mut remover = BackgroundRemover::new(background.clone(), size);
                    let mut found = picture.clone();
                    // Twice: nothing of the picture before is left in the buffers.
                    remover.run(&mut drawn(size, 9));
                    remover.run(&mut found);
                    let (foreground, right) = plain(&background, size, &picture);
                    assert_eq!(remover.foreground(), foreground, "{size} {radii:?}");
                    for (at, (found, right)) in found.iter().zip(&right).enumerate() {
                        let same = (found - right).abs() < 1e-3;
                        assert!(same, "{size} {filter} {radii:?} {at}: {found} {right}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_speck_in_the_background_is_gone_and_the_part_stays() {
        let size = Size::square(32);
        let mut picture = vec![20.0; 3 * size.area()];
        for y in 10..22 {
            for x in 10..22 {
                let at = 3 * (y * 32 + x);
                picture[at..at + 3].fill(if x == 15 { 90.0 } else { 200.0 });
            }
        }
        picture[3 * (3 * 32 + 3)..][..3].fill(250.0);
        let learnt = Background {
            foreground: Foreground::Unlike {
                colours: vec![[20.0; 3], [30.0; 3]],
                distance: 30.0,
            },
            ..background(BackgroundFilter::Median, [1, 1, 3])
        };
        let mut remover = BackgroundRemover::new(learnt, size);
        let mut found = picture.clone();
        remover.run(&mut found);
        assert_eq!(found[3 * (3 * 32 + 3)], 20.0);
        picture[3 * (3 * 32 + 3)..][..3].fill(20.0);
        assert_eq!(found, picture);
    }

    #[test]
    fn values_that_make_no_background_are_refused() {
        let sound = background(BackgroundFilter::Mean, [1, 1, 3]);
        assert_eq!(sound.problem(), None);
        let with = |foreground| Background {
            foreground,
            ..sound.clone()
        };
        let unlike = |colours, distance| Foreground::Unlike { colours, distance };
        for wrong in [
            background(BackgroundFilter::Mean, [1, 1, 0]),
            background(BackgroundFilter::Mean, [65, 1, 1]),
            with(unlike(Vec::new(), 3.0)),
            with(unlike(vec![[1.0; 3]], 0.0)),
            with(unlike(vec![[f32::NAN; 3]], 1.0)),
            with(Foreground::Range {
                low: [9.0; 3],
                high: [8.0; 3],
            }),
        ] {
            assert!(wrong.problem().is_some(), "{wrong:?}");
        }
        let text = serde_json::to_string(&sound).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Background>(&text).expect("the same"),
            sound
        );
        let more = text.replace("\"radius\"", "\"more\":1,\"radius\"");
        assert!(serde_json::from_str::<Background>(&more).is_err());
    }
}
