//! A method in words, the same in `inspect`, `fit` and reports.

use super::manifest::{
    Candidate, Choice, DensityEvidence, Method, NeighbourhoodEvidence, PositionEvidence,
    RefinementEvidence,
};
use crate::score::{Measure, NeighbourhoodForm, Rule};

fn percent(share: f64) -> String {
    // Three significant digits at most: 0.1 %, 4.17 %, 98 %.
    let value = 100.0 * share;
    let digits = if value < 1.0 { 3 } else { 1 };
    let text = format!("{value:.digits$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn position(p: &PositionEvidence) -> String {
    match (p.lost_share, p.threshold) {
        (Some(lost), Some(threshold)) => format!(
            "a row counts if its kind was seen within {0} x {0} cells with probability {threshold:.2e} or more, so that at most {1} of held-out good cells lose the row they are; {2} of all pairs allowed",
            p.window,
            percent(lost),
            percent(p.allowed_share)
        ),
        _ if p.sightings == 0 => format!(
            "sightings within {0} x {0} cells count as a probability",
            p.window
        ),
        _ => format!(
            "a row counts if good images showed it at least {} within {1} x {1} cells; {2} of all pairs allowed",
            match p.sightings {
                1 => "once".to_string(),
                2 => "twice".to_string(),
                n => format!("{n} times"),
            },
            p.window,
            percent(p.allowed_share)
        ),
    }
}

fn neighbourhood(n: &NeighbourhoodEvidence) -> String {
    let shape = &n.shape;
    let what = match n.measure {
        Measure::Ratio => "probability over the likeliest row's",
        Measure::Probability => "probability",
        Measure::MeanWithPosition => "mean of probability and share of sightings",
    };
    let lost = n.lost_share.map_or(String::new(), |lost| {
        format!(
            ", so that at most {} of held-out good cells lose the row they are",
            percent(lost)
        )
    });
    let form = match shape.form {
        NeighbourhoodForm::Edge { .. } => String::new(),
        NeighbourhoodForm::Paper { layers } => {
            format!(" of the paper's form, {layers} layers of {},", shape.hidden)
        }
    };
    format!(
        "{} network{form} over {} x {} cells without the middle one, {} kinds of row, {:.3} GMAC; a row counts with a {what} above {:.2e} (temperature {}){lost}; held-out cross-entropy {:.2} nats",
        shape.precision,
        shape.window,
        shape.window,
        shape.entries,
        shape.gmac(),
        n.threshold,
        n.temperature,
        n.held_out_loss
    )
}

fn density(d: &DensityEvidence) -> String {
    format!(
        "distances in units of the bank's spacing (mean of {} neighbours) to the power {}; factors {:.2} to {:.2}",
        d.neighbours, d.power, d.factors[0], d.factors[1]
    )
}

fn refinement(r: &RefinementEvidence) -> String {
    format!(
        "{} network, {:.3} GMAC, weight {}; of {} synthetically damaged copies above every held-out good: {} without, {} with",
        r.shape.precision,
        r.shape.gmac(),
        r.weight,
        r.held_out_images,
        percent(r.caught[0]),
        percent(r.caught[1])
    )
}

/// A candidate by its name and settings.
fn candidate(c: &Candidate) -> String {
    let mut text = c.rule.to_string();
    if let Some(lost) = c.place_lost {
        text += &format!(", place {}", percent(lost));
    }
    if let Some(lost) = c.near_lost {
        text += &format!(", neighbourhood {}", percent(lost));
    }
    if c.density > 0.0 {
        text += &format!(", spacing^{}", c.density);
    }
    text
}

impl Choice {
    /// The choice in three lines: what was compared, what is taken, and why. `rule` names the rule that
    /// is taken as [`Choice::lines`] do; the plain bank is the first candidate.
    pub fn summary(&self, taken: &Method) -> [String; 3] {
        let copies: u32 = self.damaged.iter().sum();
        let compared = format!(
            "{} compared on {} held-out good images and {copies} damaged copies of them",
            match self.candidates.len() {
                1 => "1 rule was".to_owned(),
                n => format!("{n} rules were"),
            },
            self.images
        );
        let density = taken.density.as_ref().map_or(0.0, |d| d.power);
        let is_taken = |c: &&Candidate| {
            let same = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => (a - b).abs() < 1e-9,
                _ => false,
            };
            let (place, near) = (&taken.position, &taken.neighbourhood);
            c.rule == taken.rule
                && (c.density - density).abs() < 1e-6
                && same(c.place_lost, place.as_ref().and_then(|p| p.lost_share))
                && same(c.near_lost, near.as_ref().and_then(|n| n.lost_share))
        };
        let plain = self.candidates.first();
        let found = self.candidates.iter().find(is_taken);
        let caught = |c: &Candidate| {
            let [surface, misplaced, exchanged] = c.caught.map(percent);
            format!(
                "{surface} of surface damage, {misplaced} of misplaced, {exchanged} of exchanged places"
            )
        };
        let taken = match (found, plain) {
            (Some(found), Some(plain)) if !std::ptr::eq(found, plain) => format!(
                "taken: {}, which rejects {}; the plain bank {}",
                candidate(found),
                caught(found),
                caught(plain)
            ),
            (Some(found), _) if copies > 0 => {
                format!("taken: the plain bank, which rejects {}", caught(found))
            }
            _ => format!("taken: {}", taken.rule),
        };
        [compared, taken, format!("why: {}", self.reason)]
    }

    /// The names of the candidates.
    pub fn names(&self) -> Vec<String> {
        self.candidates.iter().map(candidate).collect()
    }

    /// One entry per candidate: its name, how much damage is above its threshold, how far the rest
    /// stays below it.
    pub fn lines(&self) -> Vec<String> {
        let line = |c: &Candidate| {
            format!(
                "{:<56} surface {:>6}  misplaced {:>6}  exchanged {:>6}  shortfall {:.4}",
                candidate(c),
                percent(c.caught[0]),
                percent(c.caught[1]),
                percent(c.caught[2]),
                c.shortfall
            )
        };
        self.candidates.iter().map(line).collect()
    }
}

impl Method {
    /// What conditions and corrects the distances: for each, a short name and a sentence.
    pub fn in_words(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if let Some(choice) = &self.choice {
            out.push((
                "chosen",
                format!(
                    "from {} candidates on {} held-out good images and {} + {} + {} damaged copies: {}",
                    choice.candidates.len(),
                    choice.images,
                    choice.damaged[0],
                    choice.damaged[1],
                    choice.damaged[2],
                    choice.reason
                ),
            ));
        }
        match self.rule {
            Rule::Patchcore => {
                out.push(("rows", "every bank row may explain every place".into()));
            }
            Rule::Gaussian => out.push((
                "gaussian",
                "distance to what good parts show at the place, in their own spread there; the bank does not count"
                    .into(),
            )),
            Rule::BankGaussian => out.push((
                "gaussian",
                "geometric mean of the distance to the bank and of the distance to what good parts show at the place, in their own spread there"
                    .into(),
            )),
            Rule::Glancing => out.push((
                "glancing",
                "how far the cell is from what its surroundings say, and how distorted it looks; the bank does not count"
                    .into(),
            )),
            Rule::NPad => out.push((
                "distributions",
                "geometric mean of the distance to the bank and of the smallest distance to what good parts show at the places around, each in its own spread"
                    .into(),
            )),
            _ => {}
        }
        out.extend(self.position.as_ref().map(|p| ("position", position(p))));
        let near = self.neighbourhood.as_ref();
        out.extend(near.map(|n| ("neighbours", neighbourhood(n))));
        out.extend(self.density.as_ref().map(|d| ("distances", density(d))));
        let refined = self.refinement.as_ref();
        out.extend(refined.map(|r| ("refinement", refinement(r))));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_without_empty_digits() {
        let stated = [0.001, 0.005, 0.0417, 0.5, 1.0, 0.0].map(percent);
        assert_eq!(stated, ["0.1 %", "0.5 %", "4.2 %", "50 %", "100 %", "0 %"]);
    }
}
