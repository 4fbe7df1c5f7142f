//! What a bundle states about itself. The field order is the wire format (postcard is positional): a
//! change here is a new format version, and the golden files in `tests/` detect it. Earlier formats are
//! read in `earlier.rs`.

use crate::backbone::{BackboneSpec, InputGeometry};
use crate::refine::RefinementShape;
use crate::score::{Border, Measure, NeighbourhoodShape, Rule};
use crate::verdict::{Thresholds, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Everything about a product except the sections' bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Product name.
    pub name: String,
    /// The customer's part number; may be empty.
    pub part_number: String,
    /// Grows by one with every release of this product; a board refuses to go back.
    pub revision: u32,
    /// Seconds since 1970, if the maker chose to record it (a recorded time makes two otherwise equal
    /// fits differ).
    pub created_unix: Option<u64>,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Oldest runtime version that may run it.
    pub minimum_runtime: [u16; 3],
    /// Frame to network input.
    pub input: InputGeometry,
    /// The network.
    pub backbone: BackboneSpec,
    /// How features become a score.
    pub method: Method,
    /// Further members of an ensemble; most products have none.
    pub others: Vec<Member>,
    /// The divisor of each member's map before the average, the first member's first: its median score
    /// of held-out good images. Empty without further members.
    pub member_scales: Vec<f32>,
    /// The thresholds of the score.
    pub thresholds: Thresholds,
    /// The thresholds that the plain bank (`patchcore`) would have on the same held-out images, so that
    /// reports can compare the rule with it fairly. `None` if the rule is the plain bank.
    pub baseline_thresholds: Option<Thresholds>,
    /// What it was fitted on.
    pub training: Training,
    /// Figures of a validation run, if one was recorded.
    pub validation: Option<Validation>,
    /// Board classes on which it was proven.
    pub boards: Vec<String>,
    /// How closely a board must reproduce the golden images.
    pub parity: Parity,
    /// Golden images with the trainer's results.
    pub goldens: Vec<Golden>,
    /// Who changed thresholds, when and why.
    pub audit: Vec<AuditEntry>,
    /// Where the bytes are; filled in by the writer.
    pub sections: Vec<Section>,
}

impl Manifest {
    /// Whether the inputs of all members are squares.
    pub fn is_square(&self) -> bool {
        let others = self.others.iter().map(|member| &member.input);
        let mut inputs = std::iter::once(&self.input).chain(others);
        inputs.all(|input| input.resize.is_square() && input.crop.is_square())
    }

    /// Every rule that it names: those of the members, and those that were compared for them.
    pub(super) fn rules(&self) -> impl Iterator<Item = Rule> {
        let others = self.others.iter().map(|member| &member.method);
        std::iter::once(&self.method)
            .chain(others)
            .flat_map(|method| {
                let compared = method.choice.iter().flat_map(|choice| &choice.candidates);
                std::iter::once(method.rule).chain(compared.map(|candidate| candidate.rule))
            })
    }

    /// Whether a picture of `width` x `height` can be the view that the product was fitted on. If all
    /// training images had one size: the same size if a region of interest is cut out in pixels, else
    /// the same aspect within 1 % (the picture is squeezed to the input's size, so another aspect is
    /// another view). A set of many sizes accepts any size in which the region lies.
    pub fn expects_size(&self, width: usize, height: usize) -> bool {
        let training = &self.training;
        let ends = self.input.roi.map(|roi| {
            let end = |from: u32, length: u32| u64::from(from) + u64::from(length);
            (end(roi.x, roi.width), end(roi.y, roi.height))
        });
        if ends.is_some_and(|(right, below)| right > width as u64 || below > height as u64) {
            return false;
        }
        let [w, h] = training.smallest.map(f64::from);
        if training.smallest != training.largest || w == 0.0 || h == 0.0 {
            return true;
        }
        let (width, height) = (width as f64, height as f64);
        if self.input.roi.is_some() {
            return (width, height) == (w, h);
        }
        (width * h / (height * w) - 1.0).abs() <= 0.01
    }
}

/// How features become a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Which bank rows may explain a cell.
    pub rule: Rule,
    /// Side of the averaging box, cells, odd.
    pub patch: u32,
    /// How the box treats the border.
    pub border: Border,
    /// Gaussian blur of the map, input pixels.
    pub sigma: f32,
    /// Requested rows, as a share of all training cells.
    pub bank_ratio: f64,
    /// Dimensions of the random projection under which the coreset was chosen; 0: none.
    pub projection: u32,
    /// The position histogram from which the mask was made.
    pub position: Option<PositionEvidence>,
    /// The neighbourhood network and its condition.
    pub neighbourhood: Option<NeighbourhoodEvidence>,
    /// How distances are scaled by the spacing of the bank's rows.
    pub density: Option<DensityEvidence>,
    /// The refinement network.
    pub refinement: Option<RefinementEvidence>,
    /// How `--method auto` chose the rule.
    pub choice: Option<Choice>,
}

/// How the neighbourhood condition was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourhoodEvidence {
    /// Size of the network.
    pub shape: NeighbourhoodShape,
    /// The value that is compared with the threshold.
    pub measure: Measure,
    /// Divides the logits.
    pub temperature: f32,
    /// Rows whose value is above it are allowed.
    pub threshold: f32,
    /// Rows of the bank that take part.
    pub rows: u32,
    /// Under `coverage`: share of held-out good cells that may lose the row they really are.
    pub lost_share: Option<f64>,
    /// Mean cross-entropy on held-out good images at the best temperature, nats.
    pub held_out_loss: f32,
    /// The temperature that explains held-out images best.
    pub best_temperature: f32,
    /// Held-out good images behind the figures.
    pub held_out_images: u32,
}

/// How distances are scaled: multiplied by `(median spacing / spacing of the row)^power`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DensityEvidence {
    /// Nearest other rows whose mean distance is a row's spacing.
    pub neighbours: u32,
    /// 0 leaves distances as they are, 1 measures them in spacings.
    pub power: f32,
    /// Smallest and largest factor.
    pub factors: [f32; 2],
}

/// How the refinement was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefinementEvidence {
    /// Size of the network.
    pub shape: RefinementShape,
    /// Cell scores are divided by this before the network gets them; constant after the fit.
    pub scale: f32,
    /// Share of the network's output in the final score.
    pub weight: f32,
    /// AUROC of held-out good images against damaged copies, without and with.
    pub separation: [f64; 2],
    /// Share of damaged copies above every held-out good image, without and with.
    pub caught: [f64; 2],
    /// Damaged copies behind the figures.
    pub held_out_images: u32,
}

/// The figures by which `--method auto` decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Held-out good images, and damaged copies of each family.
    pub images: u32,
    /// Damaged copies: surface, misplaced, features exchanged between places.
    pub damaged: [u32; 3],
    /// The candidates; the first is the plain bank.
    pub candidates: Vec<Candidate>,
    /// Why this rule was chosen, in words.
    pub reason: String,
}

/// How well one rule separates held-out good images from damaged copies of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The rule.
    pub rule: Rule,
    /// Power of the rows' spacing in the scale of distances.
    pub density: f32,
    /// Share of held-out cells that may lose their row by place, under `coverage`.
    pub place_lost: Option<f64>,
    /// The same by neighbourhood.
    pub near_lost: Option<f64>,
    /// AUROC against surface damage.
    pub surface: f64,
    /// AUROC against misplacement.
    pub misplaced: f64,
    /// AUROC against exchanged features.
    pub exchanged: f64,
    /// Share of damaged copies above the candidate's own threshold: surface, misplaced, exchanged.
    pub caught: [f64; 3],
    /// How far damaged copies stay under that threshold: the mean of `-ln(score / threshold)`, 0 for
    /// those above it. Small is good.
    pub shortfall: f64,
    /// Standard deviation of the held-out good images' scores over their mean: a large one widens
    /// thresholds.
    pub spread: f64,
}

/// A further backbone or input size whose map is averaged with the first member's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Frame to network input.
    pub input: InputGeometry,
    /// The network.
    pub backbone: BackboneSpec,
    /// How features become a score.
    pub method: Method,
}

/// How the position mask was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionEvidence {
    /// Side of the window in which a sighting counts, cells, odd.
    pub window: u32,
    /// Sightings in the window that allow a row there; 0 if a probability decides.
    pub sightings: u32,
    /// Share of (cell, row) pairs allowed by place alone.
    pub allowed_share: f64,
    /// Under `coverage`: share of held-out good cells that may lose the row they really are.
    pub lost_share: Option<f64>,
    /// Under `coverage`: probability of its row of D that allows a row at a cell.
    pub threshold: Option<f32>,
}

/// What the product was fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Good images in the bank.
    pub images: u32,
    /// Feature vectors the coreset was chosen from (the first member's).
    pub cells: u64,
    /// BLAKE3 over names and contents of the images.
    #[serde(with = "hex")]
    pub digest: [u8; 32],
    /// Seed of every random choice.
    pub seed: u64,
    /// Cross-validation folds behind the thresholds.
    pub folds: u32,
    /// Smallest image, width x height.
    pub smallest: [u32; 2],
    /// Largest image, width x height.
    pub largest: [u32; 2],
    /// Held-out scores of the good images: lowest, median, highest.
    pub held_out: [f32; 3],
}

/// Figures of a validation run on labelled images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Good and defective images.
    pub images: [u32; 2],
    /// Area under the ROC curve over images.
    pub image_auroc: Option<f64>,
    /// The same over pixels.
    pub pixel_auroc: Option<f64>,
    /// Area under the per-region overlap curve to 30 % false positives.
    pub aupro: Option<f64>,
    /// Share of good images that are not OK at the product's own threshold.
    pub false_reject_rate: Option<f64>,
    /// Share of defective images that are OK at the product's own threshold.
    pub escape_rate: Option<f64>,
}

/// How closely golden images must be reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parity {
    /// Largest accepted `|score - expected| / expected`.
    pub score_relative: f32,
    /// Smallest accepted correlation of the coarse maps.
    pub map_correlation: f32,
}

/// Side of the coarse map of a golden image.
pub const COARSE_SIDE: usize = 16;

/// What a golden image shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoldenKind {
    /// A good part.
    Good,
    /// A damaged copy of a good part.
    Damaged,
}

/// One image with the trainer's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Name in messages.
    pub name: String,
    /// What it shows.
    pub kind: GoldenKind,
    /// Index of its PNG among the sections.
    pub section: u32,
    /// The trainer's score.
    pub score: f32,
    /// The trainer's verdict.
    pub verdict: Verdict,
    /// Means of the trainer's map over [`COARSE_SIDE`] x [`COARSE_SIDE`] equal rectangles.
    pub coarse_map: Vec<f32>,
}

/// One change by a person or tool after the fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// What was done, with the old and new values.
    pub action: String,
    /// Seconds since 1970, if recorded.
    pub unix: Option<u64>,
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionKind {
    /// ONNX file of the backbone.
    Backbone,
    /// ONNX file of the neighbourhood network.
    Neighbourhood,
    /// ONNX file of the refinement network.
    Refinement,
    /// Bank rows.
    Bank,
    /// Scale of each row of a bank of bytes.
    BankScales,
    /// Radius of each distribution-coreset cell.
    CellRadii,
    /// Nearest distribution-coreset row of each bank row.
    Assignment,
    /// Allowed rows per cell.
    PositionMask,
    /// Pixels that do not count.
    IgnoreMask,
    /// Map normalisation constants.
    MapConstants,
    /// PNG file.
    GoldenImage,
    /// How often each row was seen near each cell.
    SightingCounts,
    /// Sightings near each cell in total.
    SightingTotals,
    /// Factor of each bank row.
    RowScale,
    /// Evidence of the operating points, postcard encoding of `Operating`.
    Operating,
    /// Matrix that maps the backbone's features to those of the bank.
    FeatureMap,
    /// What the pictures of the fit were like, JSON.
    Inputs,
    /// Mean features of good parts at each cell.
    GaussianMean,
    /// Inverse Cholesky factor of the covariance of each block of cells, lower triangle row by row.
    GaussianFactor,
    /// Factor of each row of those triangles.
    GaussianScale,
    /// The light in which the product inspects, JSON.
    Light,
    /// Means over rows and pixels, and the form of rule `n-pad`, JSON.
    Scoring,
    /// Nearest other rows of each row of the bank.
    RowNeighbours,
    /// Mean of the distribution of each cell, under `n-pad`.
    NPadMean,
    /// Inverse Cholesky factor of its covariance, lower triangle row by row.
    NPadFactor,
    /// What is done to the background of a picture before the network sees it, JSON.
    Background,
    /// ONNX file of the networks of rule `glancing`.
    Glancing,
    /// ONNX file of the network whose features the refinement takes instead of the backbone's.
    RefinementEncoder,
    /// Its description, JSON.
    RefinementEncoderSpec,
}

/// As in the manifest's JSON.
impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in format!("{self:?}").chars().enumerate() {
            if i > 0 && c.is_ascii_uppercase() {
                f.write_str("-")?;
            }
            write!(f, "{}", c.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl SectionKind {
    /// The format that brought it, from format 2 on.
    pub(super) fn since(self) -> u32 {
        match self {
            Self::BankScales
            | Self::Scoring
            | Self::RowNeighbours
            | Self::NPadMean
            | Self::NPadFactor
            | Self::Background
            | Self::Glancing
            | Self::RefinementEncoder
            | Self::RefinementEncoderSpec => 5,
            Self::GaussianMean | Self::GaussianFactor | Self::GaussianScale | Self::Light => 4,
            Self::Operating | Self::FeatureMap | Self::Inputs => 3,
            _ => 2,
        }
    }
}

/// Element type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Opaque bytes.
    Bytes,
    /// Bits, lowest first.
    Bits,
    /// Little-endian.
    U16,
    /// Little-endian IEEE 754 half.
    F16,
    /// Little-endian IEEE 754 single.
    F32,
    /// Two's complement byte.
    I8,
    /// Byte.
    U8,
    /// Little-endian.
    U32,
}

/// Where a section is, and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Which member of an ensemble it belongs to, from 0; 0 for what belongs to all.
    pub member: u8,
    /// Element type.
    pub dtype: DType,
    /// Shape in elements.
    pub shape: Vec<u64>,
    /// First byte in the file, a multiple of 64.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// BLAKE3 of the bytes.
    #[serde(with = "hex")]
    pub blake3: [u8; 32],
}

/// Digests: raw bytes in the file, hexadecimal in JSON and text.
pub(super) mod hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in crate::product) fn serialize<S: Serializer>(
        digest: &[u8; 32],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(&blake3::Hash::from_bytes(*digest).to_hex())
        } else {
            digest.serialize(to)
        }
    }

    pub(in crate::product) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; 32], D::Error> {
        if from.is_human_readable() {
            let text = String::deserialize(from)?;
            blake3::Hash::from_hex(text)
                .map(|hash| *hash.as_bytes())
                .map_err(D::Error::custom)
        } else {
            <[u8; 32]>::deserialize(from)
        }
    }
}
