//! The evidence and the map of the golden bundle of format 3.

use super::super::sections::little_endian;
use super::{D, PICTURE, section};
use partgate::product::{
    BudgetPoint, DType, DamagedScore, Inputs, Operating, SectionBytes, SectionKind,
};
use partgate::score::LinearMap;
use partgate::seed::Rng;
use partgate::verdict::BoundMethod;

/// The sections that format 3 brought, and the map that is in one of them.
pub(super) struct NewSections {
    pub(super) map: LinearMap,
    pub(super) sections: Vec<SectionBytes>,
}

impl NewSections {
    pub(super) fn new() -> Self {
        let mut rng = Rng::new(3);
        // Near the unit matrix, so that features keep their meaning; every value has a say.
        let weights: Vec<f32> = (0..D * D)
            .map(|at| f32::from(u8::from(at / D == at % D)) + 0.1 * rng.gaussian())
            .collect();
        let operating = Operating {
            goods: vec![0.25, 0.5, 0.5, 0.75],
            partitions: 3,
            damaged: vec![DamagedScore {
                misplaced: true,
                side: 12.5,
                score: 0.875,
            }],
            points: vec![BudgetPoint {
                budget: 0.0625,
                threshold: 0.6875,
                method: BoundMethod::BudgetLine,
                above: 1,
                at_most: 0.75,
            }],
            confidence: 0.9375,
        };
        let inputs = Inputs {
            width: [PICTURE as u32; 2],
            height: [PICTURE as u32; 2],
            aspect: [1.0; 2],
            bits: 16,
            upright: false,
            orientation: 1,
            dimmest: 0,
            digests: vec!["0123456789abcdef".into()],
            forced: vec!["made for the format's golden test".into()],
        };
        let map = (SectionKind::FeatureMap, 0);
        Self {
            sections: vec![
                section(map, DType::F32, &[D, D], little_endian(&weights)),
                operating.section().expect("a section"),
                inputs.section().expect("a section"),
            ],
            map: LinearMap::new(&weights, D),
        }
    }
}
