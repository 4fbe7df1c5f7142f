//! What a threshold costs and brings: the scores of good images that the fit held out, the scores of
//! damaged copies, and the thresholds for several budgets of false rejects. It is evidence for people;
//! no verdict depends on it.

use super::{ContainerError, DType, Problem, SectionBytes, SectionKind, other};
use crate::verdict::BoundMethod;
use serde::{Deserialize, Serialize};

/// The evidence behind the choice of an operating point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operating {
    /// Scores of good images that were not in the bank, ascending.
    pub goods: Vec<f32>,
    /// Random splits into folds over which each of them is the mean; 0 where they are single scores of
    /// images that the fit has not seen.
    pub partitions: u32,
    /// Damaged copies of good images.
    pub damaged: Vec<DamagedScore>,
    /// Ascending by budget.
    pub points: Vec<BudgetPoint>,
    /// Confidence of [`BudgetPoint::at_most`].
    pub confidence: f64,
}

/// A damaged copy of a good image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DamagedScore {
    /// Whether something in the picture was moved, turned or exchanged; else something foreign was
    /// painted on it.
    pub misplaced: bool,
    /// Side of a square as large as the damage, pixels of the picture.
    pub side: f32,
    /// Its score from banks without the image.
    pub score: f32,
}

/// The threshold for one budget of false rejects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetPoint {
    /// Share of good parts that is expected above the threshold.
    pub budget: f64,
    /// Scores above it are rejected.
    pub threshold: f32,
    /// How it was derived.
    pub method: BoundMethod,
    /// Held-out good images above it.
    pub above: u32,
    /// Share of good parts that is at most above it, at the evidence's confidence, without assumptions.
    pub at_most: f64,
}

/// Damaged copies of similar size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizeClass {
    /// Smallest side, pixels.
    pub from: f32,
    /// All sides are below it, pixels.
    pub below: f32,
    /// Copies.
    pub copies: usize,
}

/// Sides that separate the classes: a factor of two in each direction is what a person sees as another
/// size.
const EDGES: [f32; 8] = [0.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, f32::INFINITY];

impl Operating {
    /// Share of good parts that score at least `score`: of n held-out good images, as if the part were
    /// one more (so never 0). Small is strange.
    pub fn share_above(&self, score: f32) -> f64 {
        let below = self.goods.partition_point(|&good| good < score);
        (self.goods.len() - below + 1) as f64 / (self.goods.len() + 1) as f64
    }

    /// The lowest and the highest threshold of all budgets: what a board may set.
    pub fn limits(&self) -> Option<[f32; 2]> {
        let all = || self.points.iter().map(|point| point.threshold);
        let lowest = all().min_by(f32::total_cmp)?;
        let highest = all().max_by(f32::total_cmp)?;
        (lowest > 0.0).then_some([lowest, highest])
    }

    /// The sizes of damage that there are, ascending.
    pub fn sizes(&self) -> Vec<SizeClass> {
        let classes = EDGES.windows(2).map(|edge| {
            let (from, below) = (edge[0], edge[1]);
            let within = |d: &&DamagedScore| d.side >= from && d.side < below;
            SizeClass {
                from,
                below,
                copies: self.damaged.iter().filter(within).count(),
            }
        });
        classes.filter(|class| class.copies > 0).collect()
    }

    /// Copies of `class` that score above `threshold`.
    pub fn caught(&self, class: &SizeClass, threshold: f32) -> usize {
        let within = self
            .damaged
            .iter()
            .filter(|d| d.side >= class.from && d.side < class.below);
        within.filter(|d| d.score > threshold).count()
    }

    /// The table of the budgets, line by line; the budget whose threshold is `taken` is marked.
    pub fn lines(&self, taken: f32) -> Vec<String> {
        let sizes = self.sizes();
        let mut head = format!(
            "{:>8} {:>11} {:>9} {:>10}",
            "budget", "threshold", "of goods", "at most"
        );
        for class in &sizes {
            head += &format!(" {:>12}", class.name());
        }
        let mut lines = vec![head];
        for point in &self.points {
            let mark = if point.threshold == taken { '>' } else { ' ' };
            let mut line = format!(
                "{mark}{:>7} {:>11.4} {:>9} {:>10}",
                percent(point.budget),
                point.threshold,
                format!("{} of {}", point.above, self.goods.len()),
                percent(point.at_most),
            );
            for class in &sizes {
                let caught = self.caught(class, point.threshold);
                line += &format!(" {:>12}", format!("{caught} of {}", class.copies));
            }
            lines.push(line);
        }
        lines
    }

    /// What the columns of [`Operating::lines`] are.
    pub fn legend(&self) -> String {
        let damaged = if self.damaged.is_empty() {
            "no copy could be damaged"
        } else {
            "then damaged copies of good images that are rejected, by the side of the damage in pixels of the picture"
        };
        format!(
            "budget: share of good parts expected above the threshold; at most: what {} good images prove at {} confidence; {damaged}",
            self.goods.len(),
            percent(self.confidence),
        )
    }

    /// As the section of a bundle.
    ///
    /// # Errors
    /// [`ContainerError::Manifest`] if it cannot be encoded.
    pub fn section(&self) -> Result<SectionBytes, ContainerError> {
        let bytes = postcard::to_allocvec(self).map_err(|e| ContainerError::Manifest {
            message: e.to_string(),
        })?;
        Ok(SectionBytes {
            kind: SectionKind::Operating,
            member: 0,
            dtype: DType::Bytes,
            shape: vec![bytes.len() as u64],
            bytes,
        })
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let number = |v: &f32| v.is_finite() && *v >= 0.0;
        let share = |v: f64| (0.0..=1.0).contains(&v);
        let points = self.points.iter().all(|p| {
            share(p.budget)
                && share(p.at_most)
                && number(&p.threshold)
                && p.above as usize <= self.goods.len()
        });
        let damaged = self
            .damaged
            .iter()
            .all(|d| number(&d.score) && number(&d.side));
        if self.goods.iter().all(number)
            && self.goods.is_sorted()
            && damaged
            && points
            && share(self.confidence)
        {
            Ok(())
        } else {
            other("the evidence of the operating points is not in order")
        }
    }
}

impl SizeClass {
    /// For example `8-16 px`.
    pub fn name(&self) -> String {
        if self.from == 0.0 {
            format!("<{} px", self.below)
        } else if self.below.is_infinite() {
            format!("{}+ px", self.from)
        } else {
            format!("{}-{} px", self.from, self.below)
        }
    }
}

/// Three digits at most, rounded up: a bound must stay one.
fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let digits = if value < 1.0 { 2 } else { 1 };
    let scale = 10f64.powi(digits);
    let value = (value * scale * (1.0 - 1e-12)).ceil() / scale;
    format!("{value} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Operating {
        let damaged = |side, score| DamagedScore {
            misplaced: false,
            side,
            score,
        };
        Operating {
            goods: vec![1.0, 2.0, 2.0, 3.0],
            partitions: 3,
            damaged: vec![damaged(3.9, 1.0), damaged(9.0, 5.0), damaged(15.9, 2.0)],
            points: vec![BudgetPoint {
                budget: 0.01,
                threshold: 2.5,
                method: BoundMethod::BudgetLine,
                above: 1,
                at_most: 0.751_4,
            }],
            confidence: 0.95,
        }
    }

    #[test]
    fn a_score_is_a_share_of_goods_and_never_nothing() {
        let evidence = evidence();
        for (score, want) in [(0.0, 1.0), (2.0, 0.8), (2.5, 0.4), (9.0, 0.2)] {
            assert_eq!(evidence.share_above(score), want, "{score}");
        }
    }

    #[test]
    fn damage_is_counted_by_its_size() {
        let evidence = evidence();
        let sizes = evidence.sizes();
        let names: Vec<String> = sizes.iter().map(SizeClass::name).collect();
        assert_eq!(names, ["<4 px", "8-16 px"]);
        assert_eq!(evidence.caught(&sizes[1], 2.0), 1);
        assert_eq!(evidence.caught(&sizes[1], 1.9), 2);
        let lines = evidence.lines(2.5);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with(">"), "{lines:?}");
        for part in ["1 %", "2.5000", "1 of 4", "75.2 %", "0 of 1", "1 of 2"] {
            assert!(lines[1].contains(part), "{part} in {lines:?}");
        }
    }

    #[test]
    fn disorder_is_refused() {
        type Change = fn(&mut Operating);
        let changes: [Change; 5] = [
            |o| o.goods.swap(0, 3),
            |o| o.goods[0] = f32::NAN,
            |o| o.damaged[0].score = -1.0,
            |o| o.points[0].above = 5,
            |o| o.confidence = 2.0,
        ];
        assert!(evidence().check().is_ok());
        for change in changes {
            let mut evidence = evidence();
            change(&mut evidence);
            assert!(evidence.check().is_err(), "{evidence:?}");
        }
    }
}
