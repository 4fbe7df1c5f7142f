use super::canvas::Pose;
use super::*;
use std::collections::HashSet;

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Mean absolute difference, grey levels.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.len() as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    let renderer = Renderer::new(7);
    let good = renderer.good(3);
    let bad = renderer.defective(3, Defect::WireSwapped);
    assert_eq!(good, Renderer::new(7).good(3));
    assert_eq!(
        fnv(&good.rgb),
        0x1723_fc16_92ff_20d6,
        "good: {:#018x}",
        fnv(&good.rgb)
    );
    assert_eq!(
        fnv(&bad.rgb),
        0xcadc_35dd_6499_4ba3,
        "bad: {:#018x}",
        fnv(&bad.rgb)
    );
    assert_ne!(good.rgb, Renderer::new(8).good(3).rgb);
}

#[test]
fn sizes_fit_and_good_parts_have_no_mask() {
    let renderer = Renderer::new(1);
    let good = renderer.good(0);
    assert_eq!(good.rgb.len(), good.width * good.height * 3);
    assert_eq!((good.defect, good.mask), (None, None));
    let bad = renderer.defective(0, Defect::Stain);
    assert_eq!((bad.width, bad.height), (good.width, good.height));
    assert_eq!(bad.mask.map(|m| m.len()), Some(bad.width * bad.height));
}

#[test]
fn good_parts_differ_from_one_another_but_not_much() {
    let renderer = Renderer::new(2);
    let first = renderer.good(0).rgb;
    for index in 1..6 {
        let other = difference(&first, &renderer.good(index).rgb);
        // Noise alone gives about 1.7 levels.
        assert!((2.5..25.0).contains(&other), "part {index}: {other}");
    }
}

#[test]
fn every_defect_changes_the_part_where_its_mask_says() {
    let renderer = Renderer::new(3);
    for defect in Defect::ALL {
        for index in 0..4 {
            let (good, bad) = renderer.noiseless(index, *defect, &renderer.nuisance(index));
            let part = renderer.defective(index, *defect);
            let mask = part.mask.unwrap_or_default();
            assert!(mask.iter().all(|v| *v == 0 || *v == 255));
            let area = mask.iter().filter(|v| **v == 255).count();
            let what = format!("{} {index}: {area} pixels", defect.name());
            // At least what an eye sees, at most a tenth of the picture.
            assert!((40..8192).contains(&area), "{what}");
            if defect.is_misplacement() {
                assert!(area > 350, "{what}");
            }
            let (mut inside, mut outside, mut most) = (0.0, 0.0, 0.0f32);
            for ((g, b), m) in good.chunks(3).zip(bad.chunks(3)).zip(&mask) {
                let change: f32 = g.iter().zip(b).map(|(g, b)| (g - b).abs()).sum();
                most = most.max(change);
                if *m == 255 {
                    inside += change;
                } else {
                    outside += change;
                }
            }
            // A stain fades out, so some of it is below what is noticeable.
            assert!(outside < 0.2 * inside, "{what}: {inside} and {outside}");
            assert!(most > 20.0, "{what}: {most}");
        }
    }
}

#[test]
fn a_defect_falls_on_several_places() {
    let renderer = Renderer::new(4);
    for defect in Defect::ALL {
        let places: HashSet<Vec<u8>> = (0..12)
            .map(|index| format!("{:?}", renderer.faulty(index, *defect)).into_bytes())
            .collect();
        // Two plugs have the same surroundings, so there is only one exchange.
        let least = if *defect == Defect::PlugsSwapped {
            1
        } else {
            2
        };
        assert!(places.len() >= least, "{}", defect.name());
    }
}

#[test]
fn misplacements_move_what_is_there_and_add_nothing() {
    let renderer = Renderer::new(5);
    let drawn = Assembly::as_drawn();
    for defect in Defect::ALL {
        let mut moved = 0;
        for index in 0..20 {
            let wrong = renderer.faulty(index, *defect);
            assert_ne!(wrong, drawn);
            let strange = wrong.scratch.is_some()
                || wrong.stain.is_some()
                || wrong.chip.is_some()
                || wrong.cut.is_some()
                || wrong.screws != drawn.screws;
            let count = |plugs: &[assembly::Plug], one| plugs.iter().filter(|p| **p == one).count();
            for one in [
                assembly::Plug::White,
                assembly::Plug::Red,
                assembly::Plug::Blue,
            ] {
                assert_eq!(count(&wrong.plugs, one), count(&drawn.plugs, one));
            }
            let emptied = !wrong.fuse
                || wrong.cases.contains(&None)
                || wrong.cans.contains(&None)
                || wrong.lamps.contains(&None);
            moved += usize::from(!strange && !emptied);
            let colours: HashSet<usize> = wrong.wires.iter().map(|w| w.colour).collect();
            assert_eq!(colours.len(), drawn.wires.len());
            for side in [|w: &assembly::Wire| w.left, |w: &assembly::Wire| w.right] {
                // In order from the top, none twice: no wire crosses another.
                let ends: Vec<usize> = wrong.wires.iter().map(side).collect();
                assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
        assert_eq!(moved, if defect.is_misplacement() { 20 } else { 0 });
    }
}

/// A part that only its assembly distinguishes from another: no noise, level light.
fn still_life(assembly: &Assembly) -> Vec<f32> {
    let mut nuisance = Renderer::new(6).nuisance(0);
    nuisance.pose = Pose::new(0.0, 0.0, 0.0);
    nuisance.seats = Default::default();
    nuisance.sleeves = Default::default();
    nuisance.light.slope = [0.0; 2];
    nuisance.light.centre = [0.0; 2];
    levels(layout::ground(assembly, &nuisance), assembly, &nuisance)
}

/// Largest differences in a rectangle (x, then y): between `good` here and there, between `bad`
/// here and `good` there, and between the two here. There is `aside` values further on.
fn compared(
    good: &[f32],
    bad: &[f32],
    [xs, ys]: [std::ops::Range<usize>; 2],
    aside: usize,
) -> [f32; 3] {
    let [mut before, mut after, mut beside] = [0.0f32; 3];
    for y in ys {
        for x in xs.clone() {
            let here = (y * WIDTH + x) * 3;
            for here in here..here + 3 {
                let there = here + aside;
                before = before.max((good[here] - good[there]).abs());
                after = after.max((bad[here] - good[there]).abs());
                beside = beside.max((bad[here] - good[here]).abs());
            }
        }
    }
    [before, after, beside]
}

/// Through a window of the size of a patch, a reversed capacitor looks like the good one beside it.
#[test]
fn a_mirrored_capacitor_looks_like_its_good_neighbour() {
    let mut wrong = Assembly::as_drawn();
    wrong.cans = [wrong.cans[1]; 2];
    let (good, bad) = (still_life(&Assembly::as_drawn()), still_life(&wrong));
    // The seats are 32 pixels apart, one above the other.
    let [before, after, beside] = compared(&good, &bad, [122..171, 19..40], 32 * WIDTH * 3);
    assert!(before > 60.0 && beside > 60.0, "{before} {beside}");
    assert!(after < 8.0, "{after}");
}

/// The exchanged plug and three more on each side look as they do on a good part around the other
/// coded plug.
#[test]
fn an_exchanged_plug_looks_like_the_good_one_with_its_surroundings() {
    let mut wrong = Assembly::as_drawn();
    wrong.plugs.swap(3, 7);
    assert_eq!(wrong, Renderer::new(6).faulty(0, Defect::PlugsSwapped));
    let (good, bad) = (still_life(&Assembly::as_drawn()), still_life(&wrong));
    // 140 pixels about the first, and the other 80 pixels to the right; the rows above these are in
    // the shadow of the left terminal block.
    let [before, after, beside] = compared(&good, &bad, [51..189, 207..232], 80 * 3);
    assert!(before > 60.0 && beside > 60.0, "{before} {beside}");
    assert!(after < 8.0, "{after}");
}

#[test]
fn names_are_unique_folder_names_and_explained() {
    let names: HashSet<&str> = Defect::ALL.iter().map(|d| d.name()).collect();
    assert_eq!(names.len(), Defect::ALL.len());
    for defect in Defect::ALL {
        let name = defect.name();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        assert!(defect.what().ends_with('.') && defect.what().len() > 20);
    }
    assert!(!names.contains("good"), "the folder of good parts");
}

#[test]
fn a_closing_fills_a_gap_and_keeps_the_outline() {
    let mut changed = vec![false; WIDTH * HEIGHT];
    for row in 10..20 {
        for column in (10..16).chain(18..24) {
            changed[row * WIDTH + column] = true;
        }
    }
    let mask = closed(&changed);
    let area = mask.iter().filter(|v| **v == 255).count();
    assert_eq!(area, 10 * 14);
    assert_eq!(mask[15 * WIDTH + 17], 255);
    // At the picture's edge there is nothing to shrink from.
    let corner: Vec<bool> = (0..WIDTH * HEIGHT).map(|i| i == 0).collect();
    assert_eq!(closed(&corner).iter().filter(|v| **v == 255).count(), 1);
}
