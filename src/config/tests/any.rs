//! Any text is a configuration or gives problems.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_problems_with_lines_in_it(text in "(\\PC|\n){0,400}") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            let lines = text.split('\n').count();
            prop_assert!(error.problems().iter().all(|p| (1..=lines).contains(&p.line)));
        }
    }

    /// Any entry of the example with its value replaced by any other TOML value.
    #[test]
    fn any_value_in_any_place_is_taken_or_refused_with_its_line(
        at in 0usize..200,
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| format!("{n:?}").replace("NaN", "nan")),
            Just("true".to_string()),
            Just("\"text\"".to_string()),
            Just("\"\"".to_string()),
            Just("[]".to_string()),
            Just("[1, \"a\", []]".to_string()),
            Just("{ a = 1 }".to_string()),
            Just("1979-05-27".to_string()),
        ],
    ) {
        let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_string).collect();
        let at = at % lines.len();
        let bare = lines[at].strip_prefix("# ").unwrap_or(&lines[at]).to_string();
        if let Some((key, _)) = bare.split_once(" = ") {
            lines[at] = format!("{key} = {value}");
            let text = lines.join("\n");
            if let Err(error) = parse(&text) {
                prop_assert!(!error.problems().is_empty());
                prop_assert!(error.problems().iter().all(|p| p.line <= lines.len() && !p.message.is_empty()));
            }
        }
    }

    #[test]
    fn any_text_for_a_line_is_a_line_or_says_why_not(text in "\\PC{0,40}", output: bool) {
        for name in Board::known() {
            if let Some(Ok(board)) = Board::embedded(name) {
                match board.line(&text, output) {
                    Ok(spec) => prop_assert!(spec.name.is_some() != spec.offset.is_some()),
                    Err(why) => prop_assert!(!why.to_string().is_empty()),
                }
            }
        }
    }
}
