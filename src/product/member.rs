//! The data of one member of a product, checked: bank, conditions, networks. An ordinary product has
//! one member, an ensemble up to three.

mod bank;
mod encoder;
mod scoring;

use super::manifest::{
    DType, Manifest, Method, NeighbourhoodEvidence, RefinementEvidence, Section, SectionKind,
};
use super::{Problem, other};
use crate::backbone::{BackboneSpec, InputGeometry};
use crate::lanes::LANES;
use crate::network::{NetworkError, Threads};
use crate::refine::Refiner;
use crate::score::{
    Condition, Gaussians, GlancingNetwork, IgnoreMask, Likelihood, LinearMap, Measure,
    NeighbourhoodNetwork, PackedBank, PositionMask, Rule, ScoreMap, Scoring, Search, SightingTable,
    blocks, triangle,
};
use crate::size::Size;
use encoder::EncoderData;
use scoring::Means;

/// Access to a bundle whose section table was checked against its bytes.
#[derive(Clone, Copy)]
pub(super) struct Sections<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) manifest: &'a Manifest,
}

impl<'a> Sections<'a> {
    pub(super) fn data(&self, section: &Section) -> &'a [u8] {
        &self.bytes[section.offset as usize..][..section.length as usize]
    }

    fn all(&self, kind: SectionKind, member: u8) -> impl Iterator<Item = &'a Section> + use<'a> {
        let all = self.manifest.sections.iter();
        all.filter(move |s| s.kind == kind && s.member == member)
    }

    pub(super) fn find(&self, kind: SectionKind, member: u8) -> Option<(&'a Section, &'a [u8])> {
        let section = self.all(kind, member).next()?;
        Some((section, self.data(section)))
    }

    pub(super) fn only(
        &self,
        kind: SectionKind,
        member: u8,
        dtype: DType,
    ) -> Result<(&'a Section, &'a [u8]), Problem> {
        let count = self.all(kind, member).count();
        match self.find(kind, member) {
            Some((section, data)) if count == 1 && section.dtype == dtype => Ok((section, data)),
            Some((section, _)) if count == 1 => other(format!(
                "section `{kind}` is {:?}; this version reads {dtype:?}",
                section.dtype
            )),
            _ => other(format!("{count} sections `{kind}`, but one is needed")),
        }
    }
}

fn numbers<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&b| from(b)).collect()
}

/// One member's data, decoded.
pub struct MemberData {
    input: InputGeometry,
    backbone: BackboneSpec,
    method: Method,
    map: Option<LinearMap>,
    bank: PackedBank,
    place: Option<PositionMask>,
    likelihood: Option<LikelihoodData>,
    row_scale: Option<Vec<f32>>,
    gaussians: Option<Gaussians>,
    means: Means,
    /// Range of the ONNX bytes in the bundle.
    backbone_onnx: std::ops::Range<usize>,
    refinement_onnx: Option<std::ops::Range<usize>>,
    encoder: Option<EncoderData>,
}

struct LikelihoodData {
    onnx: std::ops::Range<usize>,
    assignment: Vec<u16>,
    sightings: Option<SightingTable>,
}

/// Which sections a rule needs: the position mask, the neighbourhood network, the sightings. `None` if
/// the method's evidence does not fit its rule.
fn needs(method: &Method) -> Option<(bool, bool, bool)> {
    let (position, likely) = (method.position.is_some(), method.neighbourhood.is_some());
    let needs = match method.rule {
        Rule::Patchcore | Rule::Gaussian | Rule::BankGaussian | Rule::NPad | Rule::Glancing => {
            (false, false, false)
        }
        Rule::Position => (true, false, false),
        Rule::Neighbourhood => (false, true, false),
        // The sections that the fit used.
        Rule::Coverage => (position, likely, false),
        Rule::Pni | Rule::PniV1 => (false, true, true),
        Rule::PniTwoMap => (true, true, false),
    };
    let (place, near, seen) = needs;
    let fits = (place || seen) == position
        && near == likely
        && (unconditioned(method.rule) != (place || near))
        && !(without_bank(method.rule) && method.density.is_some());
    fits.then_some(needs)
}

/// Whether a rule lets every row explain every cell.
fn unconditioned(rule: Rule) -> bool {
    matches!(rule, Rule::Patchcore | Rule::NPad | Rule::Glancing) || rule.combination().is_some()
}

/// Whether the bank does not count under a rule.
fn without_bank(rule: Rule) -> bool {
    matches!(rule, Rule::Gaussian | Rule::Glancing)
}

fn range(section: &Section) -> std::ops::Range<usize> {
    section.offset as usize..(section.offset + section.length) as usize
}

fn check_method(method: &Method, size: Size) -> Result<(), Problem> {
    if method.patch.is_multiple_of(2) || method.patch > 31 {
        return other(format!(
            "patch side {} is not odd and below 32",
            method.patch
        ));
    }
    if !method.sigma.is_finite() || method.sigma < 0.0 || method.sigma > size.longer() as f32 {
        return other(format!("map blur of {} pixels", method.sigma));
    }
    Ok(())
}

/// The sections of one member, and the sizes that they must have.
struct MemberSections<'a> {
    bundle: Sections<'a>,
    member: u8,
    /// The feature grid, cells.
    grid: Size,
    /// Values of a feature vector, after the map if there is one.
    dimensions: usize,
}

impl<'a> MemberSections<'a> {
    fn only(&self, kind: SectionKind, dtype: DType) -> Result<(&'a Section, &'a [u8]), Problem> {
        self.bundle.only(kind, self.member, dtype)
    }

    fn has(&self, kind: SectionKind) -> bool {
        self.bundle.find(kind, self.member).is_some()
    }

    fn cells(&self) -> usize {
        self.grid.area()
    }

    fn backbone(&self) -> Result<std::ops::Range<usize>, Problem> {
        Ok(range(self.only(SectionKind::Backbone, DType::Bytes)?.0))
    }

    /// The map before the bank, if there is one; [`MemberSections::dimensions`] are the backbone's.
    fn feature_map(&self) -> Result<Option<LinearMap>, Problem> {
        if !self.has(SectionKind::FeatureMap) {
            return Ok(None);
        }
        let (section, data) = self.only(SectionKind::FeatureMap, DType::F32)?;
        let from = self.dimensions as u64;
        let [rows, columns] = section.shape[..] else {
            return other(format!("feature map of shape {:?}", section.shape));
        };
        if rows != from || !(1..=from).contains(&columns) {
            return other(format!(
                "feature map of shape {:?}; {from} rows and 1 to {from} columns are needed",
                section.shape
            ));
        }
        let weights = numbers(data, f32::from_le_bytes);
        if let Some(at) = weights.iter().position(|v| !v.is_finite()) {
            return other(format!("feature map: weight {at} is {}", weights[at]));
        }
        Ok(Some(LinearMap::new(&weights, self.dimensions)))
    }

    /// Refuses a section that is missing, and one that the method does not use. The three flags are
    /// those of [`needs`].
    fn check_kinds(
        &self,
        method: &Method,
        (place, likely, seen): (bool, bool, bool),
    ) -> Result<(), Problem> {
        let gaussian = method.rule.combination().is_some();
        let expected = [
            (SectionKind::BankScales, self.bank_type() == DType::I8),
            (SectionKind::PositionMask, place),
            (SectionKind::Neighbourhood, likely),
            (SectionKind::Assignment, likely),
            (SectionKind::SightingCounts, seen),
            (SectionKind::SightingTotals, seen),
            (SectionKind::RowScale, method.density.is_some()),
            (SectionKind::Refinement, method.refinement.is_some()),
            (SectionKind::GaussianMean, gaussian),
            (SectionKind::GaussianFactor, gaussian),
            (SectionKind::GaussianScale, gaussian),
        ];
        for (kind, expected) in expected {
            // Ignoring a section would score by another method than the fitted one.
            if self.has(kind) != expected {
                return other(format!(
                    "section `{kind}` and the method `{}` disagree",
                    method.rule
                ));
            }
        }
        Ok(())
    }

    fn position_mask(&self, rows: usize) -> Result<PositionMask, Problem> {
        let cells = self.cells();
        let (section, data) = self.only(SectionKind::PositionMask, DType::U16)?;
        if section.shape != [cells as u64, rows.div_ceil(LANES) as u64] {
            return other(format!("position mask of shape {:?}", section.shape));
        }
        let words = numbers(data, u16::from_le_bytes);
        Ok(PositionMask::from_words(cells, rows, words)?)
    }

    /// The neighbourhood network with its assignment to the `rows` of the bank, and the sightings if
    /// the rule needs them.
    fn likelihood(
        &self,
        evidence: &NeighbourhoodEvidence,
        rows: usize,
        seen: bool,
    ) -> Result<LikelihoodData, Problem> {
        let shape = evidence.shape;
        if let Some(problem) = shape.problem() {
            return other(problem);
        }
        let fits = shape.grid == self.grid
            && shape.dimensions as usize == self.dimensions
            && shape.entries as usize <= rows
            && (1..=rows).contains(&(evidence.rows as usize));
        let sound = evidence.temperature > 0.0
            && evidence.temperature.is_finite()
            && (0.0..1.0).contains(&evidence.threshold)
            && (evidence.measure == Measure::MeanWithPosition) == seen;
        if !fits {
            return other("the neighbourhood network does not fit the bank or the grid");
        }
        if !sound {
            return other(format!(
                "neighbourhood condition with temperature {}, threshold {} and measure {:?}",
                evidence.temperature, evidence.threshold, evidence.measure
            ));
        }
        let (_, data) = self.only(SectionKind::Assignment, DType::U16)?;
        let assignment = numbers(data, u16::from_le_bytes);
        let beyond = |&a: &u16| u32::from(a) >= shape.entries;
        if assignment.len() != rows || assignment.iter().any(beyond) {
            return other("the assignment does not fit the bank");
        }
        let sightings = seen.then(|| self.sightings(rows)).transpose()?;
        let (section, _) = self.only(SectionKind::Neighbourhood, DType::Bytes)?;
        Ok(LikelihoodData {
            onnx: range(section),
            assignment,
            sightings,
        })
    }

    fn sightings(&self, rows: usize) -> Result<SightingTable, Problem> {
        let cells = self.cells();
        let (_, counts) = self.only(SectionKind::SightingCounts, DType::U8)?;
        let (_, totals) = self.only(SectionKind::SightingTotals, DType::U32)?;
        if counts.len() != cells * rows || totals.len() != cells * 4 {
            return other("the sighting table does not fit the bank or the grid");
        }
        Ok(SightingTable {
            counts: counts.to_vec(),
            totals: numbers(totals, u32::from_le_bytes),
        })
    }

    fn row_scale(&self, rows: usize) -> Result<Vec<f32>, Problem> {
        let (_, data) = self.only(SectionKind::RowScale, DType::F32)?;
        let scale = numbers(data, f32::from_le_bytes);
        // A factor of zero would hide every defect that its row explains.
        let sound = |s: &f32| (1e-3..=1e3).contains(s);
        if scale.len() != rows || !scale.iter().all(sound) {
            return other("the row factors do not fit the bank");
        }
        Ok(scale)
    }

    /// The Gaussians of the cells.
    fn gaussians(&self) -> Result<Gaussians, Problem> {
        let (cells, d, blocks) = (self.cells(), self.dimensions, blocks(self.grid));
        let of = |kind, dtype, shape: [usize; 2]| {
            let (section, data) = self.only(kind, dtype)?;
            if section.shape != shape.map(|side| side as u64) {
                return other(format!(
                    "section `{kind}` of shape {:?}; {shape:?} is needed",
                    section.shape
                ));
            }
            Ok(data)
        };
        let mean = of(SectionKind::GaussianMean, DType::F32, [cells, d])?;
        let factor = of(
            SectionKind::GaussianFactor,
            DType::I8,
            [blocks, triangle(d)],
        )?;
        let scale = of(SectionKind::GaussianScale, DType::F32, [blocks, d])?;
        let mean = numbers(mean, f32::from_le_bytes);
        let scale = numbers(scale, f32::from_le_bytes);
        if let Some(at) = mean.iter().position(|v| !v.is_finite()) {
            return other(format!("mean of cell {} holds {}", at / d, mean[at]));
        }
        // A factor of zero would hide every defect in its direction.
        let sound = |s: &f32| s.is_finite() && *s > 0.0;
        if let Some(at) = scale.iter().position(|s| !sound(s)) {
            return other(format!("factor {at} of the Gaussians is {}", scale[at]));
        }
        let factor: Vec<i8> = numbers(factor, i8::from_le_bytes);
        let diagonal = |block: &[i8]| (0..d).all(|row| block[triangle(row) + row] > 0);
        if !factor.chunks_exact(triangle(d)).all(diagonal) {
            return other("a Gaussian has no spread in a direction");
        }
        Ok(Gaussians::new(self.grid, d, mean, &factor, &scale))
    }

    /// Range of the file in the bundle of the refinement network over features of `dimensions` values.
    fn refinement(
        &self,
        evidence: &RefinementEvidence,
        dimensions: usize,
    ) -> Result<std::ops::Range<usize>, Problem> {
        if let Some(problem) = evidence.shape.problem() {
            return other(problem);
        }
        let fits =
            evidence.shape.grid == self.grid && evidence.shape.dimensions as usize == dimensions;
        let sound = evidence.scale > 0.0
            && evidence.scale.is_finite()
            && (0.0..=1.0).contains(&evidence.weight);
        if !fits {
            return other("the refinement network does not fit the grid");
        }
        if !sound {
            return other(format!(
                "refinement with scale {} and weight {}",
                evidence.scale, evidence.weight
            ));
        }
        let (section, _) = self.only(SectionKind::Refinement, DType::Bytes)?;
        Ok(range(section))
    }
}

impl MemberData {
    pub(super) fn assemble(
        sections: Sections<'_>,
        member: u8,
        (input, backbone, method): (&InputGeometry, &BackboneSpec, &Method),
    ) -> Result<Self, Problem> {
        backbone.check()?;
        input.check(backbone.input.multiple_of)?;
        check_method(method, input.size())?;
        let mut sections = MemberSections {
            bundle: sections,
            member,
            grid: backbone.grid(input.size()),
            dimensions: backbone.dimensions(),
        };
        let map = sections.feature_map()?;
        if let Some(map) = &map {
            sections.dimensions = map.to();
        }
        let backbone_onnx = sections.backbone()?;
        let bank = sections.bank()?;
        let rows = bank.rows();
        let Some(needed) = needs(method) else {
            return other(format!(
                "the evidence does not fit the scoring rule `{}`",
                method.rule
            ));
        };
        sections.check_kinds(method, needed)?;
        let (place, _, seen) = needed;
        let place = place.then(|| sections.position_mask(rows)).transpose()?;
        let likelihood = method.neighbourhood.as_ref();
        let likelihood = likelihood
            .map(|evidence| sections.likelihood(evidence, rows, seen))
            .transpose()?;
        let row_scale = method.density.as_ref();
        let row_scale = row_scale.map(|_| sections.row_scale(rows)).transpose()?;
        let gaussians = method.rule.combination();
        let gaussians = gaussians.map(|_| sections.gaussians()).transpose()?;
        let means = sections.means(method, rows)?;
        let refined = method.refinement.as_ref();
        let encoder = sections.encoder(refined, input.size())?;
        let seen = encoder.as_ref().map(|encoder| encoder.spec.dimensions());
        let seen = seen.unwrap_or(sections.dimensions);
        let refinement_onnx = refined
            .map(|evidence| sections.refinement(evidence, seen))
            .transpose()?;
        Ok(Self {
            input: input.clone(),
            backbone: backbone.clone(),
            method: method.clone(),
            map,
            bank,
            place,
            likelihood,
            row_scale,
            gaussians,
            means,
            backbone_onnx,
            refinement_onnx,
            encoder,
        })
    }

    /// Frame to network input.
    pub fn input(&self) -> &InputGeometry {
        &self.input
    }

    /// The network.
    pub fn backbone(&self) -> &BackboneSpec {
        &self.backbone
    }

    /// How features become a score.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The map from the backbone's features to those of the bank, if there is one.
    pub fn feature_map(&self) -> Option<&LinearMap> {
        self.map.as_ref()
    }

    /// The bank.
    pub fn bank(&self) -> &PackedBank {
        &self.bank
    }

    /// The position mask, if the rule has one.
    pub fn place(&self) -> Option<&PositionMask> {
        self.place.as_ref()
    }

    /// What follows the search for the nearest row.
    pub fn scoring(&self) -> &Scoring {
        &self.means.scoring
    }

    /// Factors of the bank's rows, if distances are scaled.
    pub fn row_scale(&self) -> Option<&[f32]> {
        self.row_scale.as_deref()
    }

    pub(super) fn backbone_range(&self) -> std::ops::Range<usize> {
        self.backbone_onnx.clone()
    }

    /// The conditions of the rule, with their networks loaded from the bundle's `bytes`.
    fn conditions(&self, bytes: &[u8], threads: &Threads) -> Result<Vec<Condition>, NetworkError> {
        let mut conditions = Vec::new();
        if let Some(mask) = &self.place {
            conditions.push(Condition::by_place(mask.clone()));
        }
        if let (Some(parts), Some(evidence)) = (&self.likelihood, &self.method.neighbourhood) {
            let onnx = &bytes[parts.onnx.clone()];
            let network = NeighbourhoodNetwork::load(onnx, evidence.shape, threads)?;
            // `pni-two-map` averages two maps; under the other rules a row must satisfy all conditions.
            if conditions.is_empty() || self.method.rule == Rule::PniTwoMap {
                conditions.push(Condition::default());
            }
            let last = conditions.len() - 1;
            conditions[last].likely = Some(Box::new(Likelihood::new(
                network,
                parts.assignment.clone(),
                evidence.measure,
                evidence.temperature,
                evidence.threshold,
                parts.sightings.clone(),
                evidence.rows as usize,
            )));
        }
        Ok(conditions)
    }

    /// The feature grid, cells.
    pub(super) fn grid(&self) -> Size {
        self.backbone.grid(self.input.size())
    }

    /// The search for the cell scores.
    pub(super) fn search(
        &self,
        bytes: &[u8],
        ignore: Option<&IgnoreMask>,
        threads: &Threads,
    ) -> Result<Search, NetworkError> {
        let search = Search::new(
            self.bank.clone(),
            self.conditions(bytes, threads)?,
            self.row_scale.clone(),
            ignore.map_or(Vec::new(), |mask| mask.cells().to_vec()),
            self.grid().area(),
        );
        let search = match &self.means.neighbours {
            Some(neighbours) => search.with_neighbours(neighbours.clone()),
            None => search,
        };
        let gaussians = self.method.rule.combination().zip(self.gaussians.as_ref());
        Ok(match (gaussians, &self.means.places) {
            (Some((combination, places)), _) => search.with_gaussians(places.clone(), combination),
            (None, Some(places)) => search.with_places(places.clone()),
            (None, None) => match &self.means.glancing {
                Some((range, weight)) => {
                    let (grid, d) = (self.grid(), self.bank.dimensions());
                    let onnx = &bytes[range.clone()];
                    let network = GlancingNetwork::load(onnx, grid, d, *weight, threads)?;
                    search.with_glancing(network)
                }
                None => search,
            },
        })
    }

    /// The score map, of `size` pixels.
    pub(super) fn score_map(&self, ignore: Option<IgnoreMask>, size: Size) -> ScoreMap {
        // The blur is given in this member's own pixels.
        let sigma = self.method.sigma * size.mean_side() / self.input.size().mean_side();
        let scoring = &self.means.scoring;
        ScoreMap::new(self.grid(), size, sigma, ignore)
            .with_top(scoring.top_pixels as usize)
            .with_interpolation(scoring.interpolation)
    }

    #[cfg(test)]
    pub(super) fn refinement_range(&self) -> Option<std::ops::Range<usize>> {
        self.refinement_onnx.clone()
    }

    /// The refinement network, if there is one with a share in the score.
    pub(super) fn refiner(
        &self,
        bytes: &[u8],
        threads: &Threads,
    ) -> Result<Option<Refiner>, NetworkError> {
        let (Some(range), Some(evidence)) = (&self.refinement_onnx, &self.method.refinement) else {
            return Ok(None);
        };
        let (scale, weight) = (evidence.scale, evidence.weight);
        let onnx = &bytes[range.clone()];
        Refiner::load(onnx, evidence.shape, scale, weight, threads).map(Some)
    }
}
