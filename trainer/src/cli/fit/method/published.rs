//! The options of published methods that stand beside the project's own: means, banks of centroids,
//! shorter vectors, N-pad.

use super::preset::Preset;
use super::{Method, MethodArgs, Switch, refused};
use crate::error::TrainError;
use crate::fit::background::BackgroundRequest;
use crate::fit::glancing;
use crate::fit::reduction::Reduction;
use crate::fit::rules::RuleSpec;
use crate::fit::settings::BankKind;
use clap::{Args, ValueEnum};
use partgate::score::{
    GlancingForm, Interpolation, MOST_NEIGHBOURS, MOST_REACH, NPadForm, PlaceWeights, Rule,
};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BankName {
    /// Feature vectors of good parts that cover all others (k-centre greedy)
    Coreset,
    /// Means of clusters of them (k-means)
    Kmeans,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightsName {
    /// By how alike the distributions of two places are
    Bhattacharyya,
    /// All alike
    Equal,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InterpolationName {
    /// Linear down and across
    Bilinear,
    /// The four cells around, each weighted by one over its distance
    InverseDistance,
}

/// Parts of published methods, for comparison.
#[derive(Args, Clone, Debug)]
pub(super) struct PublishedArgs {
    /// Take every setting of a published method. They need a wide network (--backbone FILE.onnx) and a
    /// host. `benchmark` prints the published figures beside
    #[arg(long, value_enum, conflicts_with_all = [
        "method", "size", "aspect", "crop", "patch", "sigma", "bank_ratio", "min_bank", "max_bank",
        "principal", "projection", "window", "sightings", "density", "ring", "entries", "network",
        "network_width", "network_layers", "neighbours", "top_pixels", "bank", "channels", "average", "discriminant",
        "pad_window", "pad_reach", "pad_weights", "interpolation", "hole",
    ])]
    pub(super) preset: Option<Preset>,
    /// A cell's distance is the mean of those to the nearest row and to that row's nearest rows in the
    /// bank, N rows in all
    #[arg(long, value_name = "N", default_value_t = 1)]
    neighbours: u32,
    /// The image score is the mean of the N highest pixels of the map
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) top_pixels: u32,
    /// With --refine on: a network whose features the refinement network takes instead of the backbone's,
    /// by name or FILE.onnx with its FILE.onnx.json. A board runs it for every part
    #[arg(long, value_name = "NAME")]
    refine_encoder: Option<String>,
    /// How the map is drawn between the middles of cells [default: inverse-distance with glancing, else
    /// bilinear]
    #[arg(long, value_enum)]
    interpolation: Option<InterpolationName>,
    /// Under glancing: side of the patch that its surroundings do not show, cells, odd; --ring is the
    /// side of the surroundings
    #[arg(long, value_name = "CELLS", default_value_t = 3)]
    hole: u32,
    /// What the bank's rows are
    #[arg(long, value_enum, default_value = "coreset")]
    bank: BankName,
    /// Keep the N channels of the features that are not zero in most of the good parts' cells; 0 keeps
    /// all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) channels: usize,
    /// Reduce features to N means of neighbouring channels; 0 leaves them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) average: usize,
    /// Reduce features to the N directions in which painted damage differs most from what good parts leave
    /// unexplained; 0 leaves them. It makes the bank smaller, as --principal does
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) discriminant: usize,
    /// What is done to the background before the network sees a picture: `learnt` (its colours are learnt
    /// from good images with a part on a plain background), or levels of the foreground (grey=90..255,
    /// or red=, green=, blue=). Then opening=1, closing=2 (radius in pixels of the input), filter=median
    /// or mean, radius=4. It is part of the bundle and runs on the board [default: nothing]
    #[arg(long, value_name = "learnt|LEVELS,...")]
    background: Option<BackgroundRequest>,
    /// Under n-pad: side of the square of places that a distribution is made from, cells, odd
    #[arg(long, value_name = "CELLS", default_value_t = 3)]
    pad_window: u32,
    /// Under n-pad: side of the square of places to which a cell is compared, cells, odd
    #[arg(long, value_name = "CELLS", default_value_t = 3)]
    pad_reach: u32,
    /// Under n-pad: weights of the places in a distribution
    #[arg(long, value_enum, default_value = "bhattacharyya")]
    pad_weights: WeightsName,
}

impl PublishedArgs {
    /// Makes the bank one of centroids.
    pub(super) fn of_centroids(&mut self) {
        self.bank = BankName::Kmeans;
    }
}

impl MethodArgs {
    pub(super) fn check_published(&self) -> Result<(), TrainError> {
        let own = &self.published;
        if !(1..=MOST_NEIGHBOURS).contains(&own.neighbours) {
            return refused(format!(
                "--neighbours {}: 1 to {MOST_NEIGHBOURS} rows",
                own.neighbours
            ));
        }
        let beyond = own.top_pixels as usize > self.size().area().max(1);
        if own.top_pixels == 0 || beyond {
            return refused(format!(
                "--top-pixels {}: 1 to the {} pixels of the map",
                own.top_pixels,
                self.size().area()
            ));
        }
        for (name, side) in [("window", own.pad_window), ("reach", own.pad_reach)] {
            if side.is_multiple_of(2) || side > MOST_REACH {
                return refused(format!(
                    "--pad-{name} {side}: an odd number of cells up to {MOST_REACH}"
                ));
            }
        }
        self.check_glancing()?;
        if own.refine_encoder.is_some() && !matches!(self.refine, Some(Switch::On)) {
            return refused("--refine-encoder: say --refine on as well, or leave it out");
        }
        let means = own.neighbours > 1 || own.top_pixels > 1 || own.interpolation.is_some();
        if means && matches!(self.method, Method::Auto) {
            return refused(
                "--neighbours, --top-pixels and --interpolation go with a rule that --method names: `auto` compares rules without them",
            );
        }
        if own.neighbours > 1 && matches!(self.method, Method::Gaussian | Method::Glancing) {
            return refused(
                "--neighbours is of the bank's rows, which do not count under --method gaussian and glancing",
            );
        }
        self.check_bank_kind()?;
        self.check_reduction()
    }

    /// Side of the surroundings under glancing, cells.
    fn surroundings(&self) -> u32 {
        self.ring.map_or(9, |ring| ring as u32)
    }

    fn check_glancing(&self) -> Result<(), TrainError> {
        let hole = self.published.hole;
        if !matches!(self.method, Method::Glancing) {
            return Ok(());
        }
        if hole.is_multiple_of(2) || hole >= self.surroundings() {
            return refused(format!(
                "--hole {hole}: an odd number of cells below the {} of --ring",
                self.surroundings()
            ));
        }
        let least = self.crop.unwrap_or(self.size()).shorter() / 8;
        if least <= hole as usize {
            return refused(format!(
                "--hole {hole}: the grid has {least} cells at its shorter side, and more than the patch must be seen"
            ));
        }
        Ok(())
    }

    fn check_bank_kind(&self) -> Result<(), TrainError> {
        let told_by_rows = !matches!(
            self.method,
            Method::Patchcore
                | Method::Gaussian
                | Method::BankGaussian
                | Method::NPad
                | Method::Glancing
        );
        if self.bank_kind() == BankKind::Centroids && told_by_rows {
            return refused(
                "--bank kmeans: conditions tell cells by the first rows of a coreset, and centroids have no such order; name --method patchcore, n-pad or bank-gaussian",
            );
        }
        Ok(())
    }

    fn check_reduction(&self) -> Result<(), TrainError> {
        let own = &self.published;
        let given = [
            ("--principal", self.principal),
            ("--channels", own.channels),
            ("--average", own.average),
            ("--discriminant", own.discriminant),
        ];
        if let Some((name, count)) = given.iter().find(|(_, count)| *count > 4096) {
            return refused(format!("{name} {count}: at most 4096 values"));
        }
        let named: Vec<&str> = given
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, _)| *name)
            .collect();
        if named.len() > 1 {
            return refused(format!(
                "{}: one map makes features shorter; give one of them",
                named.join(" with ")
            ));
        }
        Ok(())
    }

    pub(super) fn background(&self) -> Option<&BackgroundRequest> {
        self.published.background.as_ref()
    }

    pub(super) fn refine_encoder(&self) -> Option<&String> {
        self.published.refine_encoder.as_ref()
    }

    pub(super) fn bank_kind(&self) -> BankKind {
        match self.published.bank {
            BankName::Coreset => BankKind::Coreset,
            BankName::Kmeans => BankKind::Centroids,
        }
    }

    pub(super) fn reduction(&self) -> Option<Reduction> {
        let own = &self.published;
        // At most one of them is given.
        let asked = [
            (self.principal, Reduction::Principal(self.principal)),
            (own.channels, Reduction::Channels(own.channels)),
            (own.average, Reduction::Average(own.average)),
            (own.discriminant, Reduction::Discriminant(own.discriminant)),
        ];
        let given = asked.into_iter().find(|(count, _)| *count > 0);
        given.map(|(_, reduction)| reduction)
    }

    /// `spec` with the means that the options name, and the form of n-pad.
    pub(super) fn with_published(&self, spec: RuleSpec) -> RuleSpec {
        let own = &self.published;
        let spec = match spec.rule {
            Rule::NPad => RuleSpec::n_pad(NPadForm {
                window: own.pad_window,
                reach: own.pad_reach,
                weights: match own.pad_weights {
                    WeightsName::Bhattacharyya => PlaceWeights::Bhattacharyya,
                    WeightsName::Equal => PlaceWeights::Equal,
                },
            })
            .with_density(spec.density),
            Rule::Glancing => RuleSpec::glancing(GlancingForm {
                weight: glancing::WEIGHT,
                window: self.surroundings(),
                hole: own.hole,
                channels: glancing::CHANNELS,
            }),
            _ => spec,
        };
        let spec = RuleSpec {
            interpolation: match own.interpolation {
                Some(InterpolationName::Bilinear) => Interpolation::Bilinear,
                Some(InterpolationName::InverseDistance) => Interpolation::InverseDistance,
                None => spec.interpolation,
            },
            ..spec
        };
        spec.with_means(own.neighbours, own.top_pixels)
    }
}
