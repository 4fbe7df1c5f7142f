//! The documented example, and the same example for another board.

use super::board::Board;
use super::wiring::Lines;

/// The example: every key with its meaning. It is a valid configuration.
pub const EXAMPLE: &str = include_str!("../../board/line.example.toml");

/// [`EXAMPLE`] with `board`'s name and the wiring that its profile suggests.
pub fn example(board: &Board) -> String {
    let mut in_lines = false;
    let mut out = String::with_capacity(EXAMPLE.len());
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            in_lines = line.starts_with("[lines]");
        }
        let (lead, rest) = match line.strip_prefix("# ") {
            Some(rest) => ("# ", rest),
            None => ("", line),
        };
        let value = rest.split_once(" = ").and_then(|(key, old)| {
            let known = || Lines::INPUTS.contains(&key) || Lines::OUTPUTS.contains(&key);
            let new = if key == "board" && !in_lines {
                Some(&board.name)
            } else if in_lines && known() {
                board.example.get(key)
            } else {
                None
            };
            Some((key, old, new?))
        });
        match value {
            Some((key, old, new)) => {
                // Comments stay in their column if the new value leaves room.
                let comment = old.split_once(" #").map(|(_, comment)| comment);
                let start = format!("{lead}{key} = {new:?}");
                match comment {
                    Some(comment) => out += &format!("{start:<28} #{comment}"),
                    None => out += &start,
                }
            }
            None => out += line,
        }
        out.push('\n');
    }
    out
}
