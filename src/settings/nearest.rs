//! The name that was probably meant by a misspelt one.

use strsim::osa_distance;

/// Longer names are not compared: the work grows with the square of the length.
const LONGEST: usize = 48;

/// The name in `known` that `given` probably means; None if no name is near. If several are
/// equally near, the first one.
pub(crate) fn nearest<'a>(
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
            // A name without its unit, or with a wrong unit, is near at any length.
            let stem = name.rsplit_once('_').map_or(name, |(stem, _)| stem);
            let given_stem = lower.rsplit_once('_').map_or(&*lower, |(stem, _)| stem);
            let same = lower == stem || given_stem == stem;
            let far = if same { 1 } else { osa_distance(&lower, name) };
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
        fn any_text_has_an_answer(given in ".{0,80}") {
            let known = ["width", "height"];
            prop_assert!(nearest(&given, known).is_none_or(|name| known.contains(&name)));
        }
    }
}
