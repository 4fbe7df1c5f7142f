use super::*;
#[test]
fn lines_are_drawn() {
    for seed in 0..200 {
        let line = line::Line::draw(crate::seed::mix(seed), &[]);
        assert!(line.is_some(), "{seed}");
    }
}
