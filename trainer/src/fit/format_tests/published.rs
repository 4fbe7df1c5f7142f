//! The members of the golden bundle of format 5: published methods, and a background.

use super::super::catalogue::BackboneFile;
use super::super::density::nearest_rows;
use super::super::glancing::{GlancingModel, GlancingShape};
use super::super::made_up_products::method;
use super::super::n_pad::distributions;
use super::super::rules::RuleSpec;
use super::super::sections::{encoder_sections, n_pad_sections, opaque, row_neighbours_section};
use super::super::training::Learning;
use super::{D, Features, IMAGES, common, fitted, refinement, tiny};
use partgate::backbone::{BackboneSpec, Background, BackgroundFilter, Foreground};
use partgate::network::Precision;
use partgate::product::{
    Method, RefinementEvidence, SectionBytes, SectionKind, background_section,
};
use partgate::refine::RefinementShape;
use partgate::score::{GlancingForm, NPadForm, PlaceWeights, Rule};
use partgate::seed::Rng;

const TOP_PIXELS: u32 = 20;

fn scoring(spec: RuleSpec) -> SectionBytes {
    let json = serde_json::to_vec(&spec.scoring()).expect("JSON");
    opaque(SectionKind::Scoring, &json)
}

pub(super) fn background() -> Background {
    Background {
        // The blotch of the golden image is red enough.
        foreground: Foreground::Range {
            low: [60.0, 0.0, 0.0],
            high: [255.0; 3],
        },
        opening: 1,
        closing: 2,
        filter: BackgroundFilter::Median,
        radius: 1,
    }
}

/// N-pad with means over rows and pixels, for the first member, and the background of both.
pub(super) fn first(
    features: &Features,
    backbone: &[u8],
    spec: &BackboneSpec,
    sections: &mut Vec<SectionBytes>,
) -> Method {
    let fitted = fitted(features, 24, 8, Precision::Int8);
    sections.extend(common(0, backbone, &fitted));
    let form = NPadForm {
        window: 9,
        reach: 15,
        weights: PlaceWeights::Bhattacharyya,
    };
    let images: Vec<usize> = (0..IMAGES).collect();
    let ignored = vec![false; features.cells()];
    let model = distributions(features, &ignored, &images, form);
    sections.push(scoring(RuleSpec::n_pad(form).with_means(3, TOP_PIXELS)));
    let near = nearest_rows(&fitted.bank, 2);
    let rows: Vec<u32> = near.iter().flatten().map(|&(_, row)| row as u32).collect();
    sections.push(row_neighbours_section(&rows, 2));
    sections.extend(n_pad_sections(&model));
    sections.push(background_section(&background()).expect("a section"));
    let mut rng = Rng::new(11);
    let shape = RefinementShape {
        grid: features.grid,
        dimensions: D as u32,
        channels: 4,
        blocks: 2,
        precision: Precision::F32,
    };
    let onnx = refinement(shape, &mut rng);
    sections.push(opaque(SectionKind::Refinement, &onnx));
    // Another network than the backbone, of the same sizes.
    let encoder = BackboneFile {
        spec: BackboneSpec {
            name: "tiny encoder".into(),
            ..spec.clone()
        },
        onnx: tiny::backbone(&mut rng).into(),
    };
    sections.extend(encoder_sections(&encoder).expect("sections"));
    Method {
        refinement: Some(RefinementEvidence {
            shape,
            scale: 1.25,
            weight: 0.375,
            separation: [0.625, 0.6875],
            caught: [0.28125, 0.34375],
            held_out_images: 12,
        }),
        ..method(Rule::NPad)
    }
}

/// Glancing at the Patch with a mean over pixels, for the second.
pub(super) fn second(
    features: &Features,
    backbone: &[u8],
    sections: &mut Vec<SectionBytes>,
) -> Method {
    let fitted = fitted(features, 16, 8, Precision::Int8);
    sections.extend(common(1, backbone, &fitted));
    let form = GlancingForm {
        weight: 0.75,
        window: 3,
        hole: 1,
        channels: [4, 6, 3, 5],
    };
    let shape = GlancingShape {
        grid: features.grid,
        dimensions: features.dimensions,
        form,
    };
    let learning = Learning {
        steps: 60,
        rate: 1e-2,
        seed: 7,
        stream: 1,
    };
    let images: Vec<usize> = (0..IMAGES).collect();
    let model = GlancingModel::train(features, &images, shape, &learning, &|| ());
    let of_second = [
        scoring(RuleSpec::glancing(form).with_means(1, TOP_PIXELS)),
        opaque(SectionKind::Glancing, &model.onnx()),
    ];
    sections.extend(of_second.map(|section| SectionBytes {
        member: 1,
        ..section
    }));
    method(Rule::Glancing)
}
