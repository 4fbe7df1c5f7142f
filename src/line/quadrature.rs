//! The two channels of an encoder, a quarter of a step apart. They give the direction, and noise on one
//! of them goes back and forth without a count. Pure.

/// What an edge means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The belt is no further than it was before.
    No,
    /// The belt reached a new count.
    Forward,
    /// An edge is missing: the belt may have moved unseen, either way.
    Unsure,
}

/// Quarter steps of a count.
const QUARTERS: i64 = 4;

/// One count per full step forward beyond the furthest place so far: a belt that goes back and forth
/// counts nothing twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quadrature {
    a: bool,
    b: bool,
    place: i64,
    furthest: i64,
}

impl Quadrature {
    /// Channel A goes to `on`.
    pub fn a(&mut self, on: bool) -> Moved {
        if on == self.a {
            return Moved::Unsure;
        }
        self.a = on;
        // On the way forward A leads: it changes to the opposite of B.
        self.step(if on == self.b { -1 } else { 1 })
    }

    /// Channel B goes to `on`.
    pub fn b(&mut self, on: bool) -> Moved {
        if on == self.b {
            return Moved::Unsure;
        }
        self.b = on;
        self.step(if on == self.a { 1 } else { -1 })
    }

    fn step(&mut self, quarters: i64) -> Moved {
        self.place += quarters;
        if self.place >= self.furthest + QUARTERS {
            self.furthest += QUARTERS;
            return Moved::Forward;
        }
        Moved::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(encoder: &mut Quadrature) -> [Moved; 4] {
        [
            encoder.a(true),
            encoder.b(true),
            encoder.a(false),
            encoder.b(false),
        ]
    }

    fn back(encoder: &mut Quadrature) -> [Moved; 4] {
        [
            encoder.b(true),
            encoder.a(true),
            encoder.b(false),
            encoder.a(false),
        ]
    }

    #[test]
    fn a_full_step_forward_is_one_count() {
        let mut encoder = Quadrature::default();
        for _ in 0..5 {
            use Moved::{Forward, No};
            assert_eq!(forward(&mut encoder), [No, No, No, Forward]);
        }
    }

    #[test]
    fn noise_on_one_channel_counts_nothing() {
        let mut encoder = Quadrature::default();
        for _ in 0..1000 {
            assert_eq!(encoder.a(true), Moved::No);
            assert_eq!(encoder.a(false), Moved::No);
        }
        assert_eq!(forward(&mut encoder)[3], Moved::Forward);
    }

    #[test]
    fn a_belt_that_goes_back_is_counted_again_only_beyond_where_it_was() {
        let mut encoder = Quadrature::default();
        for _ in 0..3 {
            forward(&mut encoder);
        }
        for _ in 0..2 {
            assert_eq!(back(&mut encoder), [Moved::No; 4]);
        }
        for _ in 0..2 {
            assert_eq!(forward(&mut encoder), [Moved::No; 4]);
        }
        assert_eq!(forward(&mut encoder)[3], Moved::Forward);
    }

    #[test]
    fn a_missing_edge_is_noticed() {
        let mut encoder = Quadrature::default();
        encoder.a(true);
        // B's edge was lost.
        encoder.a(false);
        assert_eq!(encoder.b(false), Moved::Unsure);
        let mut encoder = Quadrature::default();
        assert_eq!(encoder.a(false), Moved::Unsure);
        // The lost edge did not move the count.
        assert_eq!(forward(&mut encoder)[3], Moved::Forward);
        encoder.a(true);
        assert_eq!(encoder.a(true), Moved::Unsure);
    }
}
