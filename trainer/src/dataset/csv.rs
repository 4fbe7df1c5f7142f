//! Tables as text: fields between commas, quoted where they must be (RFC 4180).

/// A table of more bytes is no list of images.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// Fields of a row, at most.
const MOST_FIELDS: usize = 64;

/// A row, and the line on which it begins (the first line is 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) fields: Vec<String>,
}

/// What separates the fields: spreadsheets of some countries write semicolons, others tabs.
fn separator(text: &str) -> char {
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let count = |c: char| first.matches(c).count();
    // The last of equals counts for `max_by_key`, so a comma wins where nothing separates.
    [';', '\t', ',']
        .into_iter()
        .max_by_key(|&c| count(c))
        .unwrap_or(',')
}

/// The rows of `text` without empty ones. The error names the line.
pub(crate) fn rows(text: &str) -> Result<Vec<Row>, String> {
    // Spreadsheets begin their files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let separator = separator(text);
    let mut rows = Vec::new();
    let mut row = Row {
        line: 1,
        fields: Vec::new(),
    };
    let (mut field, mut line) = (String::new(), 1);
    let mut quoted = None;
    let mut was_quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\n' {
            line += 1;
        }
        if quoted.is_some() {
            match c {
                '"' if rest.peek() == Some(&'"') => {
                    rest.next();
                    field.push('"');
                }
                '"' => (quoted, was_quoted) = (None, true),
                c => field.push(c),
            }
            continue;
        }
        match c {
            '"' if field.is_empty() && !was_quoted => quoted = Some(line),
            '\n' => {
                end_field(&mut row, &mut field, &mut was_quoted)?;
                if row.fields.iter().any(|f| !f.is_empty()) {
                    rows.push(std::mem::replace(&mut row, Row::at(line)));
                }
                row = Row::at(line);
            }
            '\r' if rest.peek().is_none_or(|&next| next == '\n') => {}
            c if c == separator => end_field(&mut row, &mut field, &mut was_quoted)?,
            c if was_quoted && !c.is_whitespace() => {
                return Err(format!(
                    "line {line}: text follows a closing quote; a quote inside of a quoted field is written twice"
                ));
            }
            c => field.push(c),
        }
    }
    if let Some(line) = quoted {
        return Err(format!("line {line}: this quote is never closed"));
    }
    end_field(&mut row, &mut field, &mut was_quoted)?;
    if row.fields.iter().any(|f| !f.is_empty()) {
        rows.push(row);
    }
    Ok(rows)
}

impl Row {
    fn at(line: usize) -> Self {
        Self {
            line,
            fields: Vec::new(),
        }
    }
}

fn end_field(row: &mut Row, field: &mut String, was_quoted: &mut bool) -> Result<(), String> {
    if row.fields.len() == MOST_FIELDS {
        return Err(format!(
            "line {}: more than {MOST_FIELDS} fields; is it a table of images?",
            row.line
        ));
    }
    let field = std::mem::take(field);
    *was_quoted = false;
    row.fields.push(field.trim().to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        let rows = rows(text).expect("a table");
        rows.into_iter().map(|r| r.fields).collect()
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        assert_eq!(fields("a,b\r\nc,d\r\n"), [["a", "b"], ["c", "d"]]);
        assert_eq!(fields("\u{feff}a;b\n\n c ;d"), [["a", "b"], ["c", "d"]]);
        assert_eq!(fields("a\tb\nc\t"), [["a", "b"], ["c", ""]]);
        assert_eq!(
            fields("a,b\n\"x, \"\"1\"\".png\",\"two\nlines\"\n"),
            [["a", "b"], ["x, \"1\".png", "two\nlines"]]
        );
        assert!(fields("").is_empty());
        let rows = rows("a\n\n\"b\nc\"\nd\n").expect("a table");
        let lines: Vec<usize> = rows.iter().map(|r| r.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn broken_quotes_are_named_with_their_line() {
        assert!(rows("a,b\n\"c,d\n").is_err_and(|e| e.contains("line 2")));
        assert!(rows("a,b\n\"c\"x,d\n").is_err_and(|e| e.contains("line 2")));
        assert!(rows(&",".repeat(100)).is_err_and(|e| e.contains("64 fields")));
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(table in proptest::collection::vec(
            proptest::collection::vec("[a-z,;\"\\n ]{0,6}[a-z]", 2..4), 1..6)) {
            let quoted = |f: &String| format!("\"{}\"", f.replace('"', "\"\""));
            let text = table.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n");
            let text = "a,b,c,d,e,f,g,h\n".to_owned() + &text.collect::<String>();
            let back = rows(&text).unwrap();
            for (row, back) in table.iter().zip(&back[1..]) {
                let trimmed: Vec<&str> = row.iter().map(|f| f.trim()).collect();
                prop_assert_eq!(&back.fields, &trimmed);
            }
        }
    }
}
