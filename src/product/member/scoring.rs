//! The sections of a member's means and of rule `n-pad` (format 5).

use super::{MemberSections, numbers, range, without_bank};
use crate::product::manifest::{DType, Method, SectionKind};
use crate::product::{Problem, other};
use crate::score::{PlaceDistributions, RowNeighbours, Rule, Scoring, triangle};

/// What follows the search for the nearest row, in a member that has more than the usual.
#[derive(Clone, Debug, Default)]
pub(super) struct Means {
    pub(super) scoring: Scoring,
    pub(super) neighbours: Option<RowNeighbours>,
    pub(super) places: Option<PlaceDistributions>,
    /// Range of the networks' file in the bundle, and the weight of the inconsistency.
    pub(super) glancing: Option<(std::ops::Range<usize>, f32)>,
}

impl MemberSections<'_> {
    /// Reads them for a bank of `rows` rows.
    pub(super) fn means(&self, method: &Method, rows: usize) -> Result<Means, Problem> {
        let scoring = self.scoring()?;
        let formed = [
            (scoring.n_pad.is_some(), Rule::NPad),
            (scoring.glancing.is_some(), Rule::Glancing),
        ];
        if formed
            .iter()
            .any(|(form, rule)| *form != (method.rule == *rule))
        {
            return other(format!(
                "section `{}` and the method `{}` disagree",
                SectionKind::Scoring,
                method.rule
            ));
        }
        let averaged = scoring.neighbours > 1;
        if averaged && without_bank(method.rule) {
            return other(format!(
                "a mean over rows of the bank, which does not count under `{}`",
                method.rule
            ));
        }
        for (kind, expected) in [
            (SectionKind::RowNeighbours, averaged),
            (SectionKind::NPadMean, scoring.n_pad.is_some()),
            (SectionKind::NPadFactor, scoring.n_pad.is_some()),
            (SectionKind::Glancing, scoring.glancing.is_some()),
        ] {
            if self.has(kind) != expected {
                return other(format!("section `{kind}` and the scoring disagree"));
            }
        }
        let neighbours = averaged.then(|| self.row_neighbours(scoring.neighbours as usize, rows));
        let places = scoring.n_pad.map(|form| self.places(form.reach as usize));
        let glancing = scoring.glancing.map(|form| {
            let (section, _) = self.only(SectionKind::Glancing, DType::Bytes)?;
            Ok::<_, Problem>((range(section), form.weight))
        });
        Ok(Means {
            scoring,
            neighbours: neighbours.transpose()?,
            places: places.transpose()?,
            glancing: glancing.transpose()?,
        })
    }

    fn scoring(&self) -> Result<Scoring, Problem> {
        if !self.has(SectionKind::Scoring) {
            return Ok(Scoring::default());
        }
        let (_, data) = self.only(SectionKind::Scoring, DType::Bytes)?;
        let scoring: Scoring = serde_json::from_slice(data)
            .map_err(|e| Problem::Other(format!("section `{}`: {e}", SectionKind::Scoring)))?;
        match scoring.problem() {
            Some(problem) => other(format!("section `{}`: {problem}", SectionKind::Scoring)),
            None => Ok(scoring),
        }
    }

    fn row_neighbours(&self, count: usize, rows: usize) -> Result<RowNeighbours, Problem> {
        let (section, data) = self.only(SectionKind::RowNeighbours, DType::U32)?;
        let per_row = count - 1;
        if section.shape != [rows as u64, per_row as u64] {
            return other(format!(
                "neighbours of rows of shape {:?}; [{rows}, {per_row}] is needed",
                section.shape
            ));
        }
        let values: Vec<u32> = numbers(data, u32::from_le_bytes);
        if let Some(beyond) = values.iter().find(|&&row| row as usize >= rows) {
            return other(format!(
                "a neighbour of a row is row {beyond} of a bank of {rows}"
            ));
        }
        Ok(RowNeighbours::new(values, per_row))
    }

    fn places(&self, reach: usize) -> Result<PlaceDistributions, Problem> {
        let (cells, d) = (self.cells(), self.dimensions);
        let of = |kind, width: usize| {
            let (section, data) = self.only(kind, DType::F32)?;
            if section.shape != [cells as u64, width as u64] {
                return other(format!(
                    "section `{kind}` of shape {:?}; [{cells}, {width}] is needed",
                    section.shape
                ));
            }
            let values: Vec<f32> = numbers(data, f32::from_le_bytes);
            match values.iter().position(|v| !v.is_finite()) {
                Some(at) => other(format!(
                    "section `{kind}`: value {} of cell {} is {}",
                    at % width,
                    at / width,
                    values[at]
                )),
                None => Ok(values),
            }
        };
        let mean = of(SectionKind::NPadMean, d)?;
        let factor = of(SectionKind::NPadFactor, triangle(d))?;
        // A direction without spread would hide every defect in it.
        let diagonal = |place: &[f32]| (0..d).all(|row| place[triangle(row) + row] > 0.0);
        if !factor.chunks_exact(triangle(d)).all(diagonal) {
            return other("a distribution of a place has no spread in a direction");
        }
        Ok(PlaceDistributions::new(self.grid, d, reach, mean, &factor))
    }
}
