//! Settings of a fit.

use super::features::FeatureSettings;
use super::position::default_window;
use super::reduction::Reduction;
use super::rules::RuleSpec;
use super::thresholds::Risk;
use partgate::backbone::Precision;
use partgate::score::{NeighbourhoodForm, NeighbourhoodShape};
use partgate::size::Size;

/// Fewest good images from which a rule other than the plain bank, or a refinement, is chosen.
pub(crate) const LEAST_IMAGES: usize = 50;
/// Above this length of the feature vectors the coreset is chosen under a projection.
const PROJECT_ABOVE: usize = 256;
const PROJECTED: usize = 128;

/// Form of the neighbourhood network, with the sizes that a user may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkForm {
    /// For boards.
    Edge,
    /// As published, for hosts.
    Paper {
        /// Channels of each layer.
        width: usize,
        /// Layers in all.
        layers: usize,
    },
}

/// What the rows of a bank are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BankKind {
    /// Feature vectors of good parts that cover all others (k-centre greedy).
    Coreset,
    /// Means of clusters of them (k-means).
    Centroids,
}

/// A further member of an ensemble. It takes what is not set here from the first member, and sees
/// the same part of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtherMember {
    /// Another network.
    pub(crate) backbone: Option<String>,
    /// Another size after the resize, pixels. A square means the first member's aspect at about as
    /// many pixels in all.
    pub(crate) size: Option<Size>,
}

impl std::fmt::Display for OtherMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backbone = self.backbone.iter().map(|b| format!("backbone={b}"));
        let size = self.size.iter().map(|s| format!("size={}", s.typed()));
        let parts: Vec<String> = backbone.chain(size).collect();
        write!(f, "--member {}", parts.join(","))
    }
}

/// All settings of a fit.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) part_number: String,
    pub(crate) revision: u32,
    pub(crate) created_unix: Option<u64>,
    pub(crate) features: FeatureSettings,
    pub(crate) backbone: String,
    /// Further members of an ensemble: the same product by another network, or at another size.
    pub(crate) others: Vec<OtherMember>,
    /// Size of the maps and of [`Settings::ignore`], pixels; `None` takes the network's input. All
    /// members of an ensemble draw their maps at the first member's size.
    pub(crate) map_size: Option<Size>,
    /// The rule; `None` chooses by held-out goods and damaged copies of them.
    pub(crate) rule: Option<RuleSpec>,
    /// Power of the rows' spacing in the scale of distances under `auto`; 0 leaves them.
    pub(crate) density: f32,
    /// Side of the neighbourhood network's window, cells; `None` takes the sighting window's.
    pub(crate) ring: Option<usize>,
    /// Whether to train a refinement network and let damaged copies decide its weight; `None` does so
    /// where the rule is chosen too.
    pub(crate) refine: Option<bool>,
    /// A network whose features the refinement takes instead of the backbone's.
    pub(crate) refine_encoder: Option<String>,
    /// Rows of the distribution coreset at most.
    pub(crate) entries: usize,
    pub(crate) network: NetworkForm,
    /// Training steps of the neighbourhood network.
    pub(crate) network_steps: usize,
    /// Blur of the map, pixels; `None` takes the published 8 at 480 px in proportion.
    pub(crate) sigma: Option<f32>,
    pub(crate) bank_ratio: f64,
    pub(crate) min_bank: usize,
    pub(crate) max_bank: usize,
    /// Whether the rows of the bank are rounded to bytes with a scale per row.
    pub(crate) bank_in_bytes: bool,
    /// How feature vectors are made shorter; `None` leaves them.
    pub(crate) reduction: Option<Reduction>,
    /// What the rows of the bank are.
    pub(crate) bank: BankKind,
    /// Dimensions of the random projection for the coreset; `None` decides by feature length.
    pub(crate) projection: Option<usize>,
    /// Side of the sighting window, cells; `None` takes the published one in proportion.
    pub(crate) window: Option<usize>,
    /// Sightings that allow a row; `None` takes the published threshold.
    pub(crate) sightings: Option<usize>,
    /// Pixels that do not count, `[height, width]` of the maps.
    pub(crate) ignore: Option<Vec<bool>>,
    pub(crate) folds: usize,
    /// Random splits into folds; `None` decides by the number of images.
    pub(crate) partitions: Option<usize>,
    pub(crate) risk: Risk,
    pub(crate) seed: u64,
    /// Good images (and as many damaged ones) carried for the self-test.
    pub(crate) goldens: usize,
    /// What was left out of the good images before this fit, in a sentence that the bundle keeps.
    pub(crate) left_out: Option<String>,
    /// Whether a product that cannot be right is made all the same; the bundle says so.
    pub(crate) force: bool,
}

impl Settings {
    /// Random splits of `images` into folds, over which held-out scores are averaged. The luck of one
    /// split counts most where a few scores set the threshold.
    pub(crate) fn partitions(&self, images: usize) -> usize {
        let usual = match images {
            0..=60 => 5,
            61..=300 => 3,
            _ => 2,
        };
        self.partitions.unwrap_or(usual)
    }

    /// Whether a refinement network is trained for a product of `images` good images. Weights that
    /// copies of few images choose are luck: on 31 cookies they helped with one seed and harmed with
    /// the next.
    pub(crate) fn refines(&self, images: usize) -> bool {
        self.refine
            .unwrap_or(self.rule.is_none() && images >= LEAST_IMAGES)
    }

    /// Values of a feature vector as the bank has it, of a backbone that gives `dimensions`.
    pub(crate) fn mapped(&self, dimensions: usize) -> usize {
        self.reduction.map_or(dimensions, |r| r.of(dimensions))
    }

    /// Dimensions of the projection for vectors of `dimensions`; 0 for none.
    pub(crate) fn projection_for(&self, dimensions: usize) -> usize {
        let usual = if dimensions > PROJECT_ABOVE {
            PROJECTED
        } else {
            0
        };
        self.projection.unwrap_or(usual)
    }

    /// The neighbourhood network's size on the feature grid `grid` for `entries` rows of D.
    pub(crate) fn network_shape(
        &self,
        grid: Size,
        dimensions: usize,
        entries: usize,
        precision: Precision,
    ) -> NeighbourhoodShape {
        let (form, bottleneck, hidden) = match self.network {
            NetworkForm::Edge => (NeighbourhoodForm::Edge { place: false }, 24, 128),
            NetworkForm::Paper { width, layers } => {
                let layers = layers as u32;
                (NeighbourhoodForm::Paper { layers }, dimensions, width)
            }
        };
        NeighbourhoodShape {
            grid,
            dimensions: dimensions as u32,
            window: self.ring.unwrap_or(default_window(grid).max(5)) as u32,
            bottleneck: bottleneck as u32,
            hidden: hidden as u32,
            entries: entries as u32,
            form,
            precision,
        }
    }
}
