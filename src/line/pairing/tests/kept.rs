//! Frames that are kept, parts that wait for frames, and frames that are told apart.

use super::*;

/// A frame that arrives 5 after it was exposed.
fn frame(p: &mut Small, e: &mut dyn FnMut(Paired<u64>), number: u64, exposed: u64) {
    let at = Instant(exposed + 5);
    p.frame(number, info(number, exposed, false), at, at, &mut |x| e(x));
}

fn matched(part: u64, frame: u64, exposed: u64) -> Paired<u64> {
    Paired::Match {
        part: PartId(part),
        frame,
        exposed: Instant(exposed),
    }
}

#[test]
fn a_trigger_takes_its_frame_and_leaves_the_others_for_the_next() {
    let reported = run(|p, e| {
        for (n, exposed) in [(1, 101), (2, 110), (3, 121)] {
            frame(p, e, n, exposed);
        }
        p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        p.trigger(PartId(2), Instant(92), &mut |x| e(x));
        p.trigger(PartId(3), Instant(110), &mut |x| e(x));
    });
    assert_eq!(
        reported,
        [matched(1, 2, 110), matched(2, 1, 101), matched(3, 3, 121)]
    );
}

#[test]
fn where_more_frames_come_than_are_kept_the_oldest_goes() {
    let reported = run(|p, e| {
        for n in 1..=5 {
            frame(p, e, n, 100 + n);
        }
        p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        p.trigger(PartId(2), Instant(96), &mut |x| e(x));
    });
    let oldest = Paired::Free(1, Unused::Unclaimed);
    assert_eq!(reported, [oldest, matched(1, 5, 105), matched(2, 2, 102)]);
}

#[test]
fn a_frame_in_one_parts_window_is_that_parts_whoever_else_waits() {
    let reported = run(|p, e| {
        p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        p.trigger(PartId(2), Instant(120), &mut |x| e(x));
        frame(p, e, 1, 130);
        frame(p, e, 2, 131);
        p.tick(Instant(146), &mut |x| e(x));
    });
    let missing = Paired::Missing(PartId(1), Reason::NoFrame);
    assert_eq!(reported, [matched(2, 1, 130), missing]);
}

#[test]
fn a_damaged_frame_is_given_back_as_damaged() {
    let reported = run(|p, e| {
        p.frame(1, info(1, 50, true), Instant(55), Instant(55), &mut |x| {
            e(x)
        });
        p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        p.frame(
            2,
            info(2, 110, true),
            Instant(115),
            Instant(115),
            &mut |x| e(x),
        );
        p.trigger(PartId(2), Instant(48), &mut |x| e(x));
    });
    let missing = Paired::Missing(PartId(1), Reason::DamagedFrame);
    let free = |n| Paired::Free(n, Unused::Damaged);
    assert_eq!(reported, [free(1), missing, free(2)]);
}

#[test]
fn a_part_waits_for_its_frame_as_long_as_one_may_be_on_its_way() {
    let mut pairing = Small::new(SETTINGS);
    let mut reported = Vec::new();
    assert_eq!(pairing.deadline(), Instant::MAX);
    pairing.trigger(PartId(1), Instant(100), &mut |x| reported.push(x));
    // Exposed 15 after the trigger at the latest, and 30 on its way.
    assert_eq!(pairing.deadline(), Instant(146));
    pairing.tick(Instant(145), &mut |x| reported.push(x));
    assert_eq!(reported, []);
    pairing.tick(Instant(146), &mut |x| reported.push(x));
    assert_eq!(reported, [Paired::Missing(PartId(1), Reason::NoFrame)]);
}

#[test]
fn a_frame_waits_for_its_trigger_as_long_as_one_may_be_on_its_way() {
    let mut pairing = Small::new(SETTINGS);
    let mut reported = Vec::new();
    let at = Instant(110);
    pairing.frame(1, info(1, 110, false), at, at, &mut |x| reported.push(x));
    assert_eq!(pairing.deadline(), Instant(141));
    pairing.trigger(PartId(1), Instant(200), &mut |x| reported.push(x));
    assert_eq!(pairing.deadline(), Instant(141), "the first of both");
    pairing.tick(Instant(140), &mut |x| reported.push(x));
    assert_eq!(reported, []);
    pairing.tick(Instant(141), &mut |x| reported.push(x));
    assert_eq!(reported, [Paired::Free(1, Unused::Unclaimed)]);
    assert_eq!(pairing.deadline(), Instant(246));
}

#[test]
fn a_frame_that_was_on_its_way_as_long_as_it_may_be_is_believed() {
    for (clock, believed) in [(110, true), (140, true), (141, false)] {
        let reported = run(|p, e| {
            p.trigger(PartId(1), Instant(100), &mut |x| e(x));
            p.frame(
                1,
                info(1, 110, false),
                Instant(clock),
                Instant(clock),
                &mut |x| e(x),
            );
        });
        assert_eq!(reported == [matched(1, 1, 110)], believed, "{clock}");
    }
}

#[test]
fn a_frozen_camera_does_not_wear_out_what_is_remembered() {
    let reported = run(|p, e| {
        start(p, e);
        let mut frame = |n: u64, content| {
            let info = FrameInfo {
                content: Some(content),
                ..info(n, 100 * n, false)
            };
            p.frame(
                n,
                info,
                Instant(100 * n + 5),
                Instant(100 * n + 5),
                &mut |x| e(x),
            );
            p.tick(Instant(100 * n + 90), &mut |x| e(x));
        };
        for n in 1..=2 * REMEMBERED as u64 {
            frame(n, 5);
        }
        // The frame from the start.
        frame(999, 1000);
    });
    assert_eq!(reported.last(), Some(&Paired::Free(999, Unused::Repeated)));
}

#[test]
fn a_number_that_came_before_is_a_repetition_even_with_another_content() {
    let reported = run(|p, e| {
        start(p, e);
        p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        let again = FrameInfo {
            content: Some(77),
            ..info(0, 110, false)
        };
        p.frame(2, again, Instant(115), Instant(115), &mut |x| e(x));
    });
    assert_eq!(reported.last(), Some(&Paired::Free(2, Unused::Repeated)));
}

#[test]
fn a_stamp_before_the_newest_one_is_left_over() {
    for (exposed, used) in [(111, true), (109, false)] {
        let reported = run(|p, e| {
            p.frame(
                1,
                info(1, 110, false),
                Instant(112),
                Instant(112),
                &mut |x| {
                    e(x);
                },
            );
            p.trigger(PartId(2), Instant(100), &mut |x| e(x));
            p.trigger(PartId(3), Instant(101), &mut |x| e(x));
            p.frame(
                2,
                info(2, exposed, false),
                Instant(115),
                Instant(115),
                &mut |x| e(x),
            );
        });
        let second = matched(3, 2, exposed);
        assert_eq!(reported.contains(&second), used, "{exposed}: {reported:?}");
    }
}

#[test]
fn a_camera_whose_clock_stands_still_does_not_wear_out_what_is_remembered() {
    let reported = run(|p, e| {
        let mut frame = |n: u64, exposed: u64| {
            let at = Instant(exposed + 5);
            p.frame(n, info(n, exposed, false), at, at, &mut |x| e(x));
        };
        frame(1, 100);
        for n in 2..=2 * REMEMBERED as u64 {
            frame(n, 200);
        }
        frame(999, 100);
    });
    assert_eq!(reported.last(), Some(&Paired::Free(999, Unused::Repeated)));
}

#[test]
fn the_first_frame_after_a_start_shows_no_part_where_contents_are_told_apart() {
    let reported = run(|p, e| {
        p.trigger(PartId(1), Instant(100), &mut |x| e(x));
        let frame = FrameInfo {
            content: Some(5),
            ..info(7, 110, false)
        };
        p.frame(7, frame, Instant(120), Instant(120), &mut |x| e(x));
    });
    assert_eq!(reported, [Paired::Free(7, Unused::Repeated)]);
}
