//! Rules with their settings, and the held-out figures that thresholds of `coverage` come from.

use partgate::score::{GlancingForm, Interpolation, NPadForm, Rule, Scoring};
use serde::Serialize;

/// A scoring rule with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct RuleSpec {
    pub(crate) rule: Rule,
    /// Under `coverage`: share of held-out good cells that may lose their row by place.
    pub(crate) place_lost: Option<f64>,
    /// Under `coverage`: the same by neighbourhood.
    pub(crate) near_lost: Option<f64>,
    /// Power of the rows' spacing in the scale of distances; 0 leaves them.
    pub(crate) density: f32,
    /// Rows of the bank over which a distance is averaged; 1 for the nearest alone.
    pub(crate) neighbours: u32,
    /// Highest pixels of the map whose mean is the image score; 1 for its maximum.
    pub(crate) top_pixels: u32,
    /// Under `n-pad`.
    pub(crate) n_pad: Option<NPadForm>,
    /// Under `glancing`.
    pub(crate) glancing: Option<GlancingForm>,
    /// How the map is drawn between cells.
    pub(crate) interpolation: Interpolation,
}

impl RuleSpec {
    pub(crate) const fn of(rule: Rule) -> Self {
        Self {
            rule,
            place_lost: None,
            near_lost: None,
            density: 0.0,
            neighbours: 1,
            top_pixels: 1,
            n_pad: None,
            glancing: None,
            interpolation: Interpolation::Bilinear,
        }
    }

    pub(crate) const fn coverage(place_lost: Option<f64>, near_lost: Option<f64>) -> Self {
        Self {
            place_lost,
            near_lost,
            ..Self::of(Rule::Coverage)
        }
    }

    /// Plain PatchCore on the same features and bank.
    pub(crate) const BASELINE: Self = Self::of(Rule::Patchcore);

    /// The same with distances in units of the bank's spacing to `power`.
    pub(crate) const fn with_density(self, power: f32) -> Self {
        Self {
            density: power,
            ..self
        }
    }

    /// N-pad in this form.
    pub(crate) const fn n_pad(form: NPadForm) -> Self {
        Self {
            n_pad: Some(form),
            ..Self::of(Rule::NPad)
        }
    }

    /// Glancing at the Patch in this form.
    pub(crate) const fn glancing(form: GlancingForm) -> Self {
        Self {
            glancing: Some(form),
            interpolation: Interpolation::InverseDistance,
            ..Self::of(Rule::Glancing)
        }
    }

    /// The plain bank with this rule's way from cells to the image score.
    pub(crate) const fn map_alone(self) -> Self {
        Self {
            top_pixels: self.top_pixels,
            interpolation: self.interpolation,
            ..Self::BASELINE
        }
    }

    /// The same with a distance averaged over `neighbours` rows, and the image score over `top_pixels`
    /// pixels.
    pub(crate) const fn with_means(self, neighbours: u32, top_pixels: u32) -> Self {
        Self {
            neighbours,
            top_pixels,
            ..self
        }
    }

    /// What follows the search, as a bundle states it.
    pub(crate) fn scoring(&self) -> Scoring {
        Scoring {
            neighbours: self.neighbours,
            top_pixels: self.top_pixels,
            n_pad: self.n_pad,
            glancing: self.glancing,
            interpolation: self.interpolation,
        }
    }

    /// Whether the rule needs sightings of rows at places.
    pub(crate) fn places(&self) -> bool {
        !matches!(
            self.rule,
            Rule::Patchcore | Rule::Neighbourhood | Rule::NPad | Rule::Glancing
        ) && !self.gaussian()
    }

    /// Whether the rule needs a Gaussian of each place.
    pub(crate) fn gaussian(&self) -> bool {
        self.rule.combination().is_some()
    }

    /// Whether networks are trained for the rule, in every fold.
    pub(crate) fn trained(&self) -> bool {
        self.network() || self.glancing.is_some()
    }

    /// Whether the rule needs the neighbourhood network.
    pub(crate) fn network(&self) -> bool {
        match self.rule {
            Rule::Patchcore
            | Rule::Position
            | Rule::Gaussian
            | Rule::BankGaussian
            | Rule::NPad
            | Rule::Glancing => false,
            Rule::Coverage => self.near_lost.is_some(),
            Rule::Neighbourhood | Rule::Pni | Rule::PniV1 | Rule::PniTwoMap => true,
        }
    }
}

impl std::fmt::Display for RuleSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.rule)?;
        if self.density > 0.0 {
            write!(f, ", spacing^{}", self.density)?;
        }
        if let Some(form) = &self.n_pad {
            write!(f, ", {0} x {0} places, {1}", form.window, form.weights)?;
        }
        if let Some(form) = &self.glancing {
            write!(f, ", {0} x {0} cells around", form.window)?;
        }
        if self.neighbours > 1 {
            write!(f, ", mean of {} rows", self.neighbours)?;
        }
        if self.top_pixels > 1 {
            write!(f, ", mean of {} pixels", self.top_pixels)?;
        }
        let percent = |share: f64| format!("{} %", share * 100.0);
        match (self.place_lost, self.near_lost) {
            (None, None) => Ok(()),
            (Some(place), None) => write!(f, " (place {})", percent(place)),
            (None, Some(near)) => write!(f, " (neighbourhood {})", percent(near)),
            (Some(place), Some(near)) => write!(
                f,
                " (place {}, neighbourhood {})",
                percent(place),
                percent(near)
            ),
        }
    }
}

/// Output of the models, on held-out good images, for the row that each cell really is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calibration {
    /// Probability by place.
    pub(crate) place: Vec<f32>,
    /// Logarithm of the ratio to the likeliest row, by neighbourhood; at most 0.
    pub(crate) log_ratio: Vec<f32>,
    /// What the place tells about a cell's row, nats: for each held-out image the mean of
    /// `ln(p(row | place) / p(row))`. Near 0 or below on a texture.
    pub(crate) place_information: Vec<f64>,
    /// Sum of the negative logarithms of the probability, at each of [`TEMPERATURES`].
    losses: [f64; TEMPERATURES.len()],
}

/// Least information of the place about a cell's row, nats: a tenth of what one bit is worth.
const PLACE_INFORMATION: f64 = 0.07;

/// Temperatures tried on held-out images.
pub(crate) const TEMPERATURES: [f32; 9] = [0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0];

/// The temperature under which held-out cells are likeliest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BestTemperature {
    pub(crate) temperature: f32,
    /// Mean cross-entropy, nats.
    pub(crate) loss: f32,
}

impl Calibration {
    /// One held-out cell: its logits, and that of the row it really is.
    pub(crate) fn add_logits(&mut self, logits: impl Iterator<Item = f32> + Clone, truth: f32) {
        let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
        self.log_ratio.push(truth - highest);
        for (loss, temperature) in self.losses.iter_mut().zip(TEMPERATURES) {
            let sum: f32 = logits
                .clone()
                .map(|z| ((z - highest) / temperature).exp())
                .sum();
            *loss += f64::from(sum.ln() - (truth - highest) / temperature);
        }
    }

    /// Adds the figures of another fold.
    pub(crate) fn extend(&mut self, other: Self) {
        self.place.extend(other.place);
        self.place_information.extend(other.place_information);
        self.log_ratio.extend(other.log_ratio);
        for (mine, theirs) in self.losses.iter_mut().zip(other.losses) {
            *mine += theirs;
        }
    }

    /// Whether held-out good parts prove that places differ: what the place tells about a row is above
    /// [`PLACE_INFORMATION`] by two standard errors over the images.
    pub(crate) fn places_differ(&self) -> bool {
        let n = self.place_information.len() as f64;
        let mean = self.place_information.iter().sum::<f64>() / n;
        let squares = self.place_information.iter().map(|v| (v - mean).powi(2));
        let error = (squares.sum::<f64>() / (n - 1.0) / n).sqrt();
        // False where there are too few images for a number.
        mean - 2.0 * error > PLACE_INFORMATION
    }

    /// The best of [`TEMPERATURES`] on held-out cells.
    pub(crate) fn temperature(&self) -> BestTemperature {
        let cells = self.log_ratio.len().max(1) as f64;
        let mut best = BestTemperature {
            temperature: 1.0,
            loss: f32::INFINITY,
        };
        for (temperature, loss) in TEMPERATURES.into_iter().zip(self.losses) {
            let loss = (loss / cells) as f32;
            if loss < best.loss {
                best = BestTemperature { temperature, loss };
            }
        }
        best
    }

    /// Probability by place that at most `lost` of the held-out cells are below.
    pub(crate) fn place_threshold(&self, lost: f64) -> f32 {
        quantile(&self.place, lost).clamp(0.0, 0.999)
    }

    /// Ratio to the likeliest row that at most `lost` of the held-out cells are below.
    pub(crate) fn ratio_threshold(&self, lost: f64) -> f32 {
        // A hair below, so that the cell at the quantile itself keeps its row; never nothing,
        // whose logarithm would be compared.
        (quantile(&self.log_ratio, lost) - 1e-4)
            .exp()
            .clamp(1e-30, 0.999)
    }
}

/// The value that at most `share` of `values` are below.
fn quantile(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    let at = (share * sorted.len() as f64) as usize;
    if sorted.is_empty() {
        return 0.0;
    }
    let at = at.min(sorted.len() - 1);
    *sorted.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_the_asked_share_is_lost() {
        let mut calibration = Calibration::default();
        for i in 0..1000 {
            calibration.place.push(i as f32 / 1000.0);
            calibration.add_logits([0.0, -(i as f32) / 100.0].into_iter(), -(i as f32) / 100.0);
        }
        for lost in [0.0, 0.001, 0.05, 0.5] {
            let place = calibration.place_threshold(lost);
            let below = calibration.place.iter().filter(|&&p| p < place).count();
            assert!(below as f64 <= lost * 1000.0, "{below}");
            let ratio = calibration.ratio_threshold(lost);
            let below = calibration
                .log_ratio
                .iter()
                .filter(|r| r.exp() <= ratio)
                .count();
            assert!(below as f64 <= lost * 1000.0, "{below}");
        }
    }

    #[test]
    fn places_differ_only_where_every_kind_of_image_says_so() {
        let differ = |information: &[f64]| {
            let calibration = Calibration {
                place_information: information.to_vec(),
                ..Calibration::default()
            };
            calibration.places_differ()
        };
        assert!(differ(&[0.5, 0.6, 0.4, 0.5]));
        assert!(!differ(&[0.01, 0.02, 0.0, 0.01]));
        assert!(!differ(&[3.0, -1.0, -1.0, -0.9]));
        assert!(!differ(&[0.5]) && !differ(&[]));
    }

    #[test]
    fn the_temperature_is_the_likeliest() {
        let mut calibration = Calibration::default();
        // Logits twice too sharp for a coin that shows the likelier side 3 times of 4.
        let z = 2.0 * 3.0f32.ln();
        for i in 0..400 {
            let truth = if i % 4 == 0 { 0.0 } else { z };
            calibration.add_logits([0.0, z].into_iter(), truth);
        }
        assert_eq!(calibration.temperature().temperature, 2.0);
    }
}
