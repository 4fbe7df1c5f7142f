//! An error with its whole chain of causes, as both programs print it.

use std::error::Error;
use std::io::Write;

/// The messages of `error` and of everything behind it, outermost first, one line each.
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let line = error.to_string().replace('\n', " ");
        // Some libraries repeat their cause's text in their own.
        if lines.last() != Some(&line) {
            lines.push(line);
        }
        next = error.source();
    }
    lines
}

/// Prints [`causes`] to standard error.
pub fn print_error(error: &(dyn Error + 'static)) {
    let mut text = String::new();
    for (depth, line) in causes(error).into_iter().enumerate() {
        text += if depth == 0 {
            "error: "
        } else {
            "  caused by: "
        };
        text += &line;
        text.push('\n');
    }
    // Standard error may be closed; the exit code still reports the failure.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn chain(texts: &[&'static str]) -> Option<Box<Link>> {
        let (&text, rest) = texts.split_first()?;
        Some(Box::new(Link {
            text,
            source: chain(rest),
        }))
    }

    #[test]
    fn every_cause_is_one_line_and_no_text_stands_twice() {
        let error = chain(&["outer", "in two\nlines", "same", "same", "last"]).expect("an error");
        assert_eq!(causes(&*error), ["outer", "in two lines", "same", "last"]);
    }
}
