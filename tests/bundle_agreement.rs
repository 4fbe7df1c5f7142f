//! Sections and values of a bundle that do not fit together are refused, and the error names them.

#![allow(clippy::expect_used, clippy::panic)]

mod synthetic;

use partgate::product::{
    DType, Manifest, NeighbourhoodEvidence, Product, RefinementEvidence, SectionBytes, SectionKind,
    Signature, write,
};
use partgate::score::{Measure, Rule};
use partgate::size::Size;
use synthetic::*;

type Edit<'a> = &'a dyn Fn(&mut Manifest, &mut Vec<SectionBytes>);

/// The error for a bundle of [`everything`] that `edit` has changed.
fn complaint(rule: Rule, what: &str, edit: Edit<'_>) -> String {
    let (mut manifest, mut sections) = synthetic(&everything(rule));
    let whole = write(manifest.clone(), &sections, &Signature::Unsigned).expect("write");
    Product::from_bytes(whole, "whole").expect("whole before it is changed");
    edit(&mut manifest, &mut sections);
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
    refused(bytes, what)
}

fn find(sections: &mut [SectionBytes], kind: SectionKind) -> &mut SectionBytes {
    let mut all = sections.iter_mut();
    all.find(|s| s.kind == kind).expect("such a section")
}

fn near(manifest: &mut Manifest) -> &mut NeighbourhoodEvidence {
    manifest.method.neighbourhood.as_mut().expect("evidence")
}

fn refinement(manifest: &mut Manifest) -> &mut RefinementEvidence {
    manifest.method.refinement.as_mut().expect("evidence")
}

/// Sections and values of the method that do not fit together. Each would make another method than
/// the fitted one inspect, so each is an error, and the error names the cause.
#[test]
fn what_does_not_fit_together_is_refused_and_named() {
    let stray: Edit<'_> = &|_, sections| {
        let mut more = sections[0].clone();
        more.member = 2;
        sections.push(more);
    };
    let four: Edit<'_> = &|manifest, _| {
        let one = manifest.others[0].clone();
        manifest.others = vec![one; 3];
        manifest.member_scales = vec![1.0; 4];
    };
    let float = |value: f32| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            find(sections, SectionKind::RowScale).bytes[8..12]
                .copy_from_slice(&value.to_le_bytes());
        }
    };
    let drop_kind = |kind: SectionKind| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            find(sections, kind).kind = SectionKind::GoldenImage;
        }
    };
    let cases: &[(&str, Edit<'_>, &[&str])] = &[
        (
            "a section belongs to nobody",
            stray,
            &["backbone", "member 2", "not there"],
        ),
        ("it has four members", four, &["4 members", "at most 3"]),
        (
            "a member has no scale",
            &|m, _| m.member_scales = vec![1.0],
            &["scales", "members"],
        ),
        (
            "a scale is nothing",
            &|m, _| m.member_scales[1] = 0.0,
            &["scales", "positive"],
        ),
        (
            "a scale is no number",
            &|m, _| m.member_scales[0] = f32::NAN,
            &["scales", "positive"],
        ),
        (
            "a product of one member has scales",
            &|m, sections| {
                m.others.clear();
                sections.retain(|s| s.member == 0);
                m.goldens.clear();
            },
            &["scales"],
        ),
        (
            "the second member has no bank",
            &|_, sections| {
                let bank = sections
                    .iter_mut()
                    .find(|s| s.member == 1 && s.kind == SectionKind::Bank);
                bank.expect("a bank").kind = SectionKind::GoldenImage;
            },
            &["bank"],
        ),
        (
            "the ignore mask is of the second member",
            &|_, sections| find(sections, SectionKind::IgnoreMask).member = 1,
            &["ignore mask"],
        ),
        (
            "coverage rests on nothing",
            &|m, _| (m.method.position, m.method.neighbourhood) = (None, None),
            &["evidence", "`coverage`"],
        ),
        (
            "coverage has a mask that its evidence does not know",
            &|m, _| m.method.position = None,
            &["position-mask", "`coverage`"],
        ),
        (
            "patchcore has a neighbourhood network",
            &|m, sections| {
                m.method.rule = Rule::Patchcore;
                (m.method.position, m.method.neighbourhood) = (None, None);
                find(sections, SectionKind::PositionMask).kind = SectionKind::GoldenImage;
            },
            &["neighbourhood", "`patchcore`"],
        ),
        (
            "patchcore has evidence of a neighbourhood network",
            &|m, _| m.method.rule = Rule::Patchcore,
            &["evidence", "`patchcore`"],
        ),
        (
            "pni has no sightings",
            &|m, _| m.method.rule = Rule::Pni,
            &["`pni`"],
        ),
        (
            "the mask is gone",
            &drop_kind(SectionKind::PositionMask),
            &["position-mask", "`coverage`"],
        ),
        (
            "the network is gone",
            &drop_kind(SectionKind::Neighbourhood),
            &["neighbourhood", "`coverage`"],
        ),
        (
            "the assignment is gone",
            &drop_kind(SectionKind::Assignment),
            &["assignment", "`coverage`"],
        ),
        (
            "the row factors are gone",
            &drop_kind(SectionKind::RowScale),
            &["row-scale"],
        ),
        (
            "the refinement is gone",
            &drop_kind(SectionKind::Refinement),
            &["refinement"],
        ),
        (
            "row factors are there that the evidence does not know",
            &|m, _| m.method.density = None,
            &["row-scale"],
        ),
        (
            "a refinement is there that the evidence does not know",
            &|m, _| m.method.refinement = None,
            &["refinement"],
        ),
        (
            "there are two networks",
            &|_, sections| {
                let more = find(sections, SectionKind::Neighbourhood).clone();
                sections.push(more);
            },
            &["2 sections `neighbourhood`"],
        ),
        (
            "the assignment is beyond the network's entries",
            &|m, sections| {
                let entries = near(m).shape.entries as u16;
                find(sections, SectionKind::Assignment).bytes[6..8]
                    .copy_from_slice(&entries.to_le_bytes());
            },
            &["assignment", "bank"],
        ),
        (
            "the assignment is short",
            &|_, sections| {
                let section = find(sections, SectionKind::Assignment);
                section.bytes.truncate(38);
                section.shape = vec![19];
            },
            &["assignment", "bank"],
        ),
        ("a row factor is nothing", &float(0.0), &["row factors"]),
        (
            "a row factor is no number",
            &float(f32::NAN),
            &["row factors"],
        ),
        (
            "a row factor has no end",
            &float(f32::INFINITY),
            &["row factors"],
        ),
        ("a row factor is negative", &float(-1.0), &["row factors"]),
        (
            "a row factor is missing",
            &|_, sections| {
                let section = find(sections, SectionKind::RowScale);
                section.bytes.truncate(76);
                section.shape = vec![19];
            },
            &["row factors"],
        ),
        (
            "the network is for another grid",
            &|m, _| near(m).shape.grid = Size::square(5),
            &["neighbourhood network", "grid"],
        ),
        (
            "the network is for other features",
            &|m, _| near(m).shape.dimensions = 6,
            &["neighbourhood network", "bank"],
        ),
        (
            "the network tells more rows apart than there are",
            &|m, _| near(m).shape.entries = 21,
            &["neighbourhood network", "bank"],
        ),
        (
            "more rows take part than there are",
            &|m, _| near(m).rows = 21,
            &["neighbourhood network", "bank"],
        ),
        (
            "no row takes part",
            &|m, _| near(m).rows = 0,
            &["neighbourhood network", "bank"],
        ),
        (
            "the window is even",
            &|m, _| near(m).shape.window = 4,
            &["neighbourhood network", "window: 4"],
        ),
        (
            "the threshold is no number",
            &|m, _| near(m).threshold = f32::NAN,
            &["neighbourhood", "threshold NaN"],
        ),
        (
            "nothing can be above the threshold",
            &|m, _| near(m).threshold = 1.0,
            &["neighbourhood", "threshold 1"],
        ),
        (
            "the threshold is negative",
            &|m, _| near(m).threshold = -0.5,
            &["neighbourhood", "threshold -0.5"],
        ),
        (
            "logits are divided by nothing",
            &|m, _| near(m).temperature = 0.0,
            &["neighbourhood", "temperature 0"],
        ),
        (
            "the mean with the position has no sightings",
            &|m, _| near(m).measure = Measure::MeanWithPosition,
            &["neighbourhood", "measure"],
        ),
        (
            "the refinement is for another grid",
            &|m, _| refinement(m).shape.grid = Size::new(4, 8),
            &["refinement", "grid"],
        ),
        (
            "the refinement counts more than the whole",
            &|m, _| refinement(m).weight = 1.5,
            &["refinement", "weight 1.5"],
        ),
        (
            "the refinement's weight is no number",
            &|m, _| refinement(m).weight = f32::NAN,
            &["refinement", "weight NaN"],
        ),
        (
            "the refinement's unit is nothing",
            &|m, _| refinement(m).scale = 0.0,
            &["refinement", "scale 0"],
        ),
        (
            "the refinement has no blocks",
            &|m, _| refinement(m).shape.blocks = 0,
            &["refinement", "0 blocks"],
        ),
    ];
    for (what, edit, names) in cases {
        let text = complaint(Rule::Coverage, what, *edit);
        for name in *names {
            assert!(text.contains(name), "{what}: `{name}` is not in: {text}");
        }
    }
}

#[test]
fn sightings_that_do_not_fit_are_refused_and_named() {
    for (kind, item) in [
        (SectionKind::SightingCounts, 1),
        (SectionKind::SightingTotals, 4),
    ] {
        let text = complaint(Rule::Pni, "sightings are missing", &|_, sections| {
            let section = find(sections, kind);
            let left = section.bytes.len() - item;
            section.bytes.truncate(left);
            section.shape = vec![(left / item) as u64];
        });
        assert!(text.contains("sighting table"), "{text}");
        let text = complaint(Rule::Pni, "sightings are gone", &|_, sections| {
            find(sections, kind).kind = SectionKind::GoldenImage;
        });
        assert!(text.contains(&format!("{kind}")), "{text}");
    }
}

/// The sections of format 5: what follows the search, the distributions of places, the background.
#[test]
fn means_distributions_and_backgrounds_that_do_not_fit_are_refused_and_named() {
    let text = |kind: SectionKind, json: &'static str| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            let section = find(sections, kind);
            section.bytes = json.into();
            section.shape = vec![json.len() as u64];
        }
    };
    let background = |member: u8, json: &'static str| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            let kind = SectionKind::Background;
            let shape = [json.len()];
            sections.push(section(kind, member, DType::Bytes, &shape, json.into()));
        }
    };
    let encoder = |kind: SectionKind, text: &'static str| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            sections.push(section(kind, 0, DType::Bytes, &[text.len()], text.into()));
        }
    };
    let gone = |kind: SectionKind| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            find(sections, kind).kind = SectionKind::GoldenImage;
        }
    };
    let number = |kind: SectionKind, at: usize, value: [u8; 4]| {
        move |_: &mut Manifest, sections: &mut Vec<SectionBytes>| {
            find(sections, kind).bytes[4 * at..][..4].copy_from_slice(&value);
        }
    };
    let (nan, zero) = (f32::NAN.to_le_bytes(), [0; 4]);
    let scoring = SectionKind::Scoring;
    let sound = r#"{"foreground":{"range":{"low":[0,0,0],"high":[9,9,9]}},"opening":0,"closing":0,"filter":"mean","radius":2}"#;
    let wrong = r#"{"foreground":{"range":{"low":[0,0,0],"high":[9,9,9]}},"opening":0,"closing":0,"filter":"mean","radius":0}"#;
    let cases: &[(&str, Edit<'_>, &[&str])] = &[
        ("n-pad has no form", &gone(scoring), &["scoring", "`n-pad`"]),
        (
            "the form is of no rule",
            &|m, _| m.method.rule = Rule::Patchcore,
            &["scoring", "`patchcore`"],
        ),
        (
            "a field is not known",
            &text(scoring, r#"{"more":1}"#),
            &["scoring", "more"],
        ),
        (
            "a mean is over nothing",
            &text(scoring, r#"{"neighbours":0}"#),
            &["scoring", "0 rows"],
        ),
        (
            "a square is even",
            &text(
                scoring,
                r#"{"neighbours":2,"top_pixels":3,"n_pad":{"window":2,"reach":5,"weights":"equal"}}"#,
            ),
            &["squares", "odd"],
        ),
        (
            "members disagree about the image score",
            &text(
                scoring,
                r#"{"neighbours":2,"top_pixels":4,"n_pad":{"window":3,"reach":5,"weights":"equal"}}"#,
            ),
            &["different numbers of pixels"],
        ),
        (
            "the neighbours are gone",
            &gone(SectionKind::RowNeighbours),
            &["row-neighbours"],
        ),
        (
            "a neighbour is beyond the bank",
            &number(SectionKind::RowNeighbours, 3, 20u32.to_le_bytes()),
            &["row 20", "bank of 20"],
        ),
        (
            "the distributions are gone",
            &gone(SectionKind::NPadFactor),
            &["n-pad-factor"],
        ),
        (
            "a mean is no number",
            &number(SectionKind::NPadMean, 7, nan),
            &["n-pad-mean", "cell 1"],
        ),
        (
            "a direction has no spread",
            &number(SectionKind::NPadFactor, 0, zero),
            &["no spread"],
        ),
        (
            "an encoder has no description",
            &encoder(SectionKind::RefinementEncoder, "no ONNX"),
            &["refinement-encoder-spec"],
        ),
        (
            "the description of an encoder is none",
            &encoder(SectionKind::RefinementEncoderSpec, "{}"),
            &["refinement-encoder-spec"],
        ),
        (
            "a background changes nothing",
            &background(0, wrong),
            &["background", "radius 0"],
        ),
        (
            "a background is of the second member",
            &background(1, sound),
            &["background", "all members"],
        ),
        (
            "a background is no JSON",
            &background(0, "grey"),
            &["background"],
        ),
    ];
    for (what, edit, names) in cases {
        let text = complaint(Rule::NPad, what, *edit);
        for name in *names {
            assert!(text.contains(name), "{what}: `{name}` is not in: {text}");
        }
    }
    let cases: &[(&str, Edit<'_>, &[&str])] = &[
        (
            "the networks are gone",
            &gone(SectionKind::Glancing),
            &["glancing"],
        ),
        (
            "the patch is as wide as its surroundings",
            &text(
                scoring,
                r#"{"glancing":{"weight":0.8,"window":3,"hole":3,"channels":[1,1,1,1]}}"#,
            ),
            &["scoring", "networks"],
        ),
        (
            "the bank counts in rows",
            &text(
                scoring,
                r#"{"neighbours":2,"glancing":{"weight":0.8,"window":5,"hole":3,"channels":[1,1,1,1]}}"#,
            ),
            &["`glancing`", "does not count"],
        ),
    ];
    for (what, edit, names) in cases {
        let text = complaint(Rule::Glancing, what, *edit);
        for name in *names {
            assert!(text.contains(name), "{what}: `{name}` is not in: {text}");
        }
    }
    let (manifest, mut sections) = synthetic(&everything(Rule::NPad));
    background(0, sound)(&mut manifest.clone(), &mut sections);
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
    let product = Product::from_bytes(bytes, "sound").expect("a bundle");
    assert_eq!(product.format(), 5);
    assert_eq!(product.background().expect("a background").radius, 2);
}
