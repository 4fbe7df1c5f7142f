//! Good images that join a finished product, without the images of its fit: rows for the bank, places
//! for the rows, means for the Gaussians. What is learnt by steps (networks, covariances) stays as it
//! was fitted.

use super::density;
use super::position::{Sightings, published_sightings, windowed_counts};
use super::sections::{
    assignment_section, bank_sections, density_evidence, little_endian, mask_section,
    row_scale_section, section, sighting_sections,
};
use crate::error::TrainError;
use partgate::network::Threads;
use partgate::product::{BankBytes, DType, MemberData, Method, Product, SectionBytes, SectionKind};
use partgate::score::{Neighbour, PackedBank, PositionMask, Rule, SightingTable, distance};
use partgate::size::Size;
use rayon::prelude::*;

/// What of a product changes.
pub(crate) struct Amended {
    pub(crate) sections: Vec<SectionBytes>,
    pub(crate) method: Method,
    /// Rows of the bank now.
    pub(crate) rows: usize,
    /// Cells farther from the bank than its own rows are from each other, for which it had no room.
    pub(crate) left_out: usize,
}

/// Why good images cannot join this product.
pub(crate) fn refusal(product: &Product) -> Option<String> {
    let rule = product.manifest().method.rule;
    if !product.manifest().others.is_empty() {
        return Some(
            "an ensemble's members are weighed by images that the bundle does not hold".into(),
        );
    }
    let why = match rule {
        Rule::Gaussian => {
            "its scores come from covariances, and the bundle does not hold the images they were computed from"
        }
        Rule::PniV1 => "the rule looks only at the first rows of the bank, which stay as they are",
        Rule::NPad | Rule::Glancing => "it is a published method for comparison, fitted whole",
        _ if product.members()[0].scoring().neighbours > 1 => {
            "its scores are means over rows of the bank, which would be others"
        }
        _ => return None,
    };
    Some(format!("rule `{rule}`: {why}"))
}

/// A product's first member, and the features of the images that join it, `[cells, dimensions]` each.
struct Joining<'a> {
    product: &'a Product,
    member: &'a MemberData,
    images: &'a [&'a [f32]],
    grid: Size,
}

/// The sections and the method of `product` with `images` in its bank, of at most `most_rows` rows.
///
/// # Errors
/// [`TrainError::Setting`] for a product that cannot be amended.
pub(crate) fn amended(
    product: &Product,
    images: &[&[f32]],
    most_rows: usize,
) -> Result<Amended, TrainError> {
    if let Some(why) = refusal(product) {
        return Err(TrainError::Setting(format!(
            "{}: cannot be amended: {why}; fit it again on all images",
            product.origin()
        )));
    }
    let member = &product.members()[0];
    let joining = Joining {
        product,
        member,
        images,
        grid: member.backbone().grid(member.input().size()),
    };
    let (bank, left_out) = joining.grown(most_rows);
    let mut method = member.method().clone();
    let mut sections = bank_sections(&bank, joining.in_bytes());
    let nearest = joining.nearest(&bank);
    joining.places(&bank, &nearest, &mut method, &mut sections)?;
    joining.neighbourhood(&bank, &nearest, &mut method, &mut sections)?;
    if let Some(evidence) = &mut method.density {
        let factors = density::factors(&density::spacing(&bank), evidence.power);
        *evidence = density_evidence(&factors, evidence.power);
        sections.push(row_scale_section(&factors));
    }
    sections.extend(joining.means(bank.dimensions()));
    Ok(Amended {
        sections,
        method,
        rows: bank.rows(),
        left_out,
    })
}

fn numbers<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&b| from(b)).collect()
}

/// The distance at which the bank's rows stopped: no good cell of the fit is farther from a row.
fn radius(bank: &PackedBank) -> f32 {
    let d = bank.dimensions();
    let row = |at: usize| &bank.values()[at * d..][..d];
    let nearest_before = (1..bank.rows()).into_par_iter().map(|at| {
        let before = (0..at).map(|other| distance(row(at), row(other)));
        before.fold(f32::INFINITY, f32::min)
    });
    let least = nearest_before.min_by(f32::total_cmp);
    least.unwrap_or(0.0)
}

impl Joining<'_> {
    fn cells(&self) -> usize {
        self.grid.area()
    }

    fn in_bytes(&self) -> bool {
        self.product.section(SectionKind::BankScales).is_some()
    }

    /// The bank with the new images' cells that are farther from it than its rows are from each other,
    /// the farthest first. Then the number of such cells for which there was no room.
    fn grown(&self, most_rows: usize) -> (PackedBank, usize) {
        let bank = self.member.bank();
        let d = bank.dimensions();
        let ignored = self.product.ignore().map(|mask| mask.cells());
        let counts = |cell: usize| ignored.is_none_or(|ignored| !ignored[cell]);
        let mut cells: Vec<(&[f32], f32)> = Vec::new();
        for image in self.images {
            let mut found = vec![Neighbour::default(); self.cells()];
            bank.nearest(image, None, &Threads::default(), &mut found);
            let all = image.chunks_exact(d).zip(found).enumerate();
            let inspected = all.filter(|(cell, _)| counts(*cell));
            cells.extend(inspected.map(|(_, (values, near))| (values, near.distance)));
        }
        let radius = radius(bank);
        let mut values = bank.values().to_vec();
        loop {
            let farthest = cells
                .iter()
                .enumerate()
                .max_by(|(i, a), (j, b)| a.1.total_cmp(&b.1).then(j.cmp(i)));
            let Some((_, &(cell, far))) = farthest else {
                break;
            };
            if far <= radius || values.len() / d >= most_rows {
                break;
            }
            let centre = match self.in_bytes() {
                true => BankBytes::of(cell, d).rows(),
                false => cell.to_vec(),
            };
            values.extend_from_slice(&centre);
            cells
                .par_iter_mut()
                .with_min_len(256)
                .for_each(|(cell, near)| {
                    *near = near.min(distance(cell, &centre));
                });
        }
        let left_out = cells.iter().filter(|(_, near)| *near > radius).count();
        (PackedBank::new(values, d), left_out)
    }

    /// Nearest row of `bank` for each cell of the new images.
    fn nearest(&self, bank: &PackedBank) -> Vec<u32> {
        let of = |image: &&[f32]| {
            let mut found = vec![Neighbour::default(); self.cells()];
            bank.nearest(image, None, &Threads::default(), &mut found);
            found.into_iter().map(|near| near.row)
        };
        self.images.iter().flat_map(of).collect()
    }

    /// How often the new images show each of `rows` rows near each cell.
    fn counts(&self, nearest: &[u32], rows: usize, window: u32) -> Vec<u32> {
        let sightings = Sightings {
            nearest,
            grid: self.grid,
            rows,
        };
        windowed_counts(&sightings, window as usize)
    }

    /// The position mask: what it allowed, and what the new images show. The bundle holds no counts of
    /// the fit, so a row is allowed where one of both alone shows it often enough; a new row where it
    /// was seen at all.
    fn places(
        &self,
        bank: &PackedBank,
        nearest: &[u32],
        method: &mut Method,
        sections: &mut Vec<SectionBytes>,
    ) -> Result<(), TrainError> {
        let (Some(old), Some(evidence)) = (self.member.place(), &mut method.position) else {
            return Ok(());
        };
        let rows = bank.rows();
        let window = evidence.window;
        let published = published_sightings(self.images.len(), window as usize, rows);
        let needed = (evidence.sightings as usize).clamp(1, published) as u32;
        // Under `coverage` whole groups of rows are allowed together: those of one row of D.
        let group = self.assignment(bank)?;
        let by_group = evidence.threshold.is_some();
        let counts = self.counts(nearest, rows, window);
        let mut mask = PositionMask::nothing(self.cells(), rows);
        for (cell, counts) in counts.chunks_exact(rows).enumerate() {
            let mut groups = vec![false; rows];
            if let Some(group) = group.as_ref().filter(|_| by_group) {
                for (row, _) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    groups[usize::from(group[row])] = true;
                }
            }
            for (row, &count) in counts.iter().enumerate() {
                let known = row < old.rows();
                let seen = count >= if known { needed } else { 1 };
                let alike = group
                    .as_ref()
                    .is_some_and(|group| groups[usize::from(group[row])]);
                if (known && old.allows(cell, row)) || seen || alike {
                    mask.allow(cell, row);
                }
            }
        }
        evidence.allowed_share = mask.allowed_share();
        sections.push(mask_section(&mask));
        Ok(())
    }

    /// The nearest row of D for each row of the grown bank; `None` without a neighbourhood network.
    fn assignment(&self, bank: &PackedBank) -> Result<Option<Vec<u16>>, TrainError> {
        let Some(evidence) = &self.member.method().neighbourhood else {
            return Ok(None);
        };
        let d = bank.dimensions();
        let entries = evidence.shape.entries as usize;
        let old = self.member.bank().rows();
        let mut assignment = numbers(self.section(SectionKind::Assignment)?, u16::from_le_bytes);
        let distribution = PackedBank::new(bank.values()[..entries * d].to_vec(), d);
        let mut found = vec![Neighbour::default(); bank.rows() - old];
        let new = &bank.values()[old * d..];
        distribution.nearest(new, None, &Threads::default(), &mut found);
        assignment.extend(found.iter().map(|near| near.row as u16));
        Ok(Some(assignment))
    }

    /// The rows that the network's condition counts, and the sightings beside it.
    fn neighbourhood(
        &self,
        bank: &PackedBank,
        nearest: &[u32],
        method: &mut Method,
        sections: &mut Vec<SectionBytes>,
    ) -> Result<(), TrainError> {
        let Some(assignment) = self.assignment(bank)? else {
            return Ok(());
        };
        let (old, rows) = (self.member.bank().rows(), bank.rows());
        if let Some(evidence) = &mut method.neighbourhood {
            evidence.rows = rows as u32;
        }
        sections.push(assignment_section(&assignment));
        let Ok(counts) = self.section(SectionKind::SightingCounts) else {
            return Ok(());
        };
        let window = method.position.as_ref().map_or(1, |place| place.window);
        let new = self.counts(nearest, rows, window);
        let mut totals = numbers(
            self.section(SectionKind::SightingTotals)?,
            u32::from_le_bytes,
        );
        let mut all = Vec::with_capacity(new.len());
        let cells = counts.chunks_exact(old).zip(new.chunks_exact(rows));
        for ((before, new), total) in cells.zip(&mut totals) {
            let known = before.iter().copied().chain(std::iter::repeat(0));
            all.extend(
                known
                    .zip(new)
                    .map(|(before, &new)| (u32::from(before) + new).min(u8::MAX.into()) as u8),
            );
            *total += new.iter().sum::<u32>();
        }
        sections.extend(sighting_sections(&SightingTable {
            counts: all,
            totals,
        }));
        Ok(())
    }

    /// The means of the Gaussians with the new images; `None` without Gaussians.
    fn means(&self, d: usize) -> Option<SectionBytes> {
        let bytes = self.section(SectionKind::GaussianMean).ok()?;
        let mut mean = numbers(bytes, f32::from_le_bytes);
        let before = f64::from(self.product.manifest().training.images);
        let n = before + self.images.len() as f64;
        for (at, mean) in mean.iter_mut().enumerate() {
            let new: f64 = self.images.iter().map(|image| f64::from(image[at])).sum();
            *mean = ((f64::from(*mean) * before + new) / n) as f32;
        }
        let shape = [self.cells(), d];
        let bytes = little_endian(&mean);
        Some(section(
            SectionKind::GaussianMean,
            DType::F32,
            &shape,
            bytes,
        ))
    }

    fn section(&self, kind: SectionKind) -> Result<&[u8], TrainError> {
        self.product.section(kind).ok_or_else(|| {
            TrainError::Setting(format!("{}: no section `{kind}`", self.product.origin()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_radius_is_where_the_rows_stopped() {
        let bank = PackedBank::new(vec![0.0, 0.0, 10.0, 0.0, 4.0, 0.0, 4.0, 3.0], 2);
        assert_eq!(radius(&bank), 3.0);
        assert_eq!(radius(&PackedBank::new(vec![1.0, 2.0], 2)), 0.0);
    }
}
