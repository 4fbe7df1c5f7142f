//! The members of the golden bundle of format 4.

use super::super::density;
use super::super::gaussian::GoodCells;
use super::super::made_up_products::method;
use super::super::sections::{gaussian_sections, little_endian};
use super::{Features, IMAGES, choice, common, fitted, section};
use partgate::network::Precision;
use partgate::product::{
    Candidate, Choice, DType, DensityEvidence, Method, SectionBytes, SectionKind,
};
use partgate::score::{Border, Rule};

fn extend(
    member: u8,
    features: &Features,
    backbone: &[u8],
    rows: usize,
    sections: &mut Vec<SectionBytes>,
) -> Vec<f32> {
    let fitted = fitted(features, rows, 8, Precision::Int8);
    sections.extend(common(member, backbone, &fitted));
    let cells = GoodCells {
        features,
        ignored: &vec![false; features.cells()],
    };
    let images: Vec<usize> = (0..IMAGES).collect();
    let of_first = gaussian_sections(&cells.gaussians(&images));
    sections.extend(of_first.map(|section| SectionBytes { member, ..section }));
    density::factors(&density::spacing(&fitted.bank), 0.5)
}

/// Bank and Gaussians with row factors, for the first member.
pub(super) fn first(
    features: &Features,
    backbone: &[u8],
    sections: &mut Vec<SectionBytes>,
) -> Method {
    let scale = extend(0, features, backbone, 24, sections);
    let bytes = little_endian(&scale);
    let shape = [scale.len()];
    sections.push(section(
        (SectionKind::RowScale, 0),
        DType::F32,
        &shape,
        bytes,
    ));
    let compared = choice();
    let candidates = compared.candidates.into_iter().map(|candidate| Candidate {
        rule: match candidate.rule {
            Rule::Patchcore => Rule::Patchcore,
            _ => Rule::BankGaussian,
        },
        place_lost: None,
        near_lost: None,
        ..candidate
    });
    Method {
        border: Border::Inside,
        density: Some(DensityEvidence {
            neighbours: density::NEIGHBOURS as u32,
            power: 0.5,
            factors: [
                scale.iter().copied().fold(f32::INFINITY, f32::min),
                scale.iter().copied().fold(0.0, f32::max),
            ],
        }),
        choice: Some(Choice {
            candidates: candidates.collect(),
            ..compared
        }),
        ..method(Rule::BankGaussian)
    }
}

/// Gaussians alone, for the second.
pub(super) fn second(
    features: &Features,
    backbone: &[u8],
    sections: &mut Vec<SectionBytes>,
) -> Method {
    extend(1, features, backbone, 16, sections);
    method(Rule::Gaussian)
}
