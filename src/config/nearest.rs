//! What somebody who mistyped a name probably meant.

/// Longer names are not compared: nobody mistypes one, and the work grows with the square.
const LONGEST: usize = 48;

/// Insertions, removals, replacements and swaps of neighbours that make `b` of `a` (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = usize::from(a[i - 1] != b[j - 1]);
                let mut least = (table[(i - 1) * width + j] + 1)
                    .min(table[i * width + j - 1] + 1)
                    .min(table[(i - 1) * width + j - 1] + changed);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(table[(i - 2) * width + j - 2] + 1);
                }
                least
            };
        }
    }
    table[a.len() * width + b.len()]
}

/// The name in `known` that `given` is probably meant to be; None when nothing is near. Of equally
/// near ones the first.
pub(super) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = given.chars().count();
    if length > LONGEST {
        return None;
    }
    let lower = given.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            // A name with its unit left out, or the unit alone wrong, is near whatever its length.
            let stem = name.rsplit_once('_').map_or(name, |(stem, _)| stem);
            let given_stem = lower.rsplit_once('_').map_or(&*lower, |(stem, _)| stem);
            let same = lower == stem || given_stem == stem;
            let far = if same { 1 } else { distance(&lower, name) };
            (far, name)
        })
        .filter(|(far, _)| *far <= (length / 3).clamp(1, 3))
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slips_of_the_finger_are_found_and_other_words_are_not() {
        let known = ["width", "height", "timeout_ms", "format", "fps"];
        for (given, meant) in [
            ("widht", Some("width")),
            ("Height", Some("height")),
            ("timeout", Some("timeout_ms")),
            ("timeout_us", Some("timeout_ms")),
            ("fsp", Some("fps")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_a_distance(a in "[ab]{0,6}", b in "[ab]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) >= a.len().abs_diff(b.len()));
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }

        #[test]
        fn any_text_has_an_answer(given in ".{0,80}") {
            let known = ["width", "height"];
            prop_assert!(nearest(&given, known).is_none_or(|name| known.contains(&name)));
        }
    }
}
