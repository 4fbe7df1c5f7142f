//! A list of images in a table: `path,label,mask,part`.

use super::csv::{self, MOST_BYTES, Row};
use super::folders::{Meaning, meaning};
use super::labelled::TestImage;
use super::problem;
use crate::error::TrainError;
use std::collections::HashMap;
use std::path::Path;

/// Which part of the set an image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
}

/// An image of a list.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) image: TestImage,
    /// None if the list has no such column.
    pub(super) part: Option<Part>,
    /// What it shows, if the list has such a column.
    pub(super) object: String,
}

/// The names of each column.
const PATH: [&str; 3] = ["path", "image", "file"];
const LABEL: [&str; 2] = ["label", "kind"];
const MASK: [&str; 1] = ["mask"];
const PART: [&str; 2] = ["part", "split"];
const OBJECT: [&str; 1] = ["object"];

/// Where the columns are.
#[derive(Debug)]
struct Columns {
    path: usize,
    label: usize,
    mask: Option<usize>,
    part: Option<usize>,
    object: Option<usize>,
    /// Columns that mean nothing here.
    others: Vec<String>,
}

impl Columns {
    fn find(head: &Row) -> Result<Self, String> {
        let names: Vec<String> = head.fields.iter().map(|f| f.to_lowercase()).collect();
        let find = |known: &[&str]| {
            let mut all = (0..names.len()).filter(|&i| known.contains(&names[i].as_str()));
            let first = all.next();
            match all.next() {
                Some(second) => Err(format!(
                    "line {}: `{}` and `{}` mean the same; keep one of these columns",
                    head.line,
                    names[first.unwrap_or(0)],
                    names[second]
                )),
                None => Ok(first),
            }
        };
        let needed = |known: &[&str]| {
            find(known)?.ok_or_else(|| {
                format!(
                    "line {}: no column `{}` (here is `{}`); the first line names the columns: path,label,mask,part, of which path and label are needed",
                    head.line,
                    known[0],
                    head.fields.join(",")
                )
            })
        };
        let known = [&PATH[..], &LABEL, &MASK, &PART, &OBJECT].concat();
        let others = names.iter().filter(|n| !known.contains(&n.as_str()));
        Ok(Self {
            path: needed(&PATH)?,
            label: needed(&LABEL)?,
            mask: find(&MASK)?,
            part: find(&PART)?,
            object: find(&OBJECT)?,
            others: others.cloned().collect(),
        })
    }
}

/// Whether `text` begins like a list of images.
pub(super) fn is_list(text: &str) -> bool {
    let head = text.lines().next().unwrap_or_default();
    let rows = csv::rows(head).unwrap_or_default();
    rows.first().is_some_and(|row| Columns::find(row).is_ok())
}

/// The images of `text`, whose paths are relative to `root`; and the columns that mean nothing here.
/// Files are not looked at.
///
/// The error names the line.
pub(super) fn parse(text: &str, root: &Path) -> Result<(Vec<Entry>, Vec<String>), String> {
    let rows = csv::rows(text)?;
    let Some((head, rows)) = rows.split_first() else {
        return Err("is empty; the first line names the columns: path,label,mask,part".into());
    };
    let columns = Columns::find(head)?;
    let mut entries = Vec::with_capacity(rows.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let entry = entry(row, &columns, head.fields.len(), root)?;
        let path = entry.image.path.to_string_lossy().into_owned();
        if let Some(first) = seen.insert(path, row.line) {
            return Err(format!(
                "line {}: the same image as in line {first}; keep one of them",
                row.line
            ));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err("holds no image under its first line".into());
    }
    Ok((entries, columns.others))
}

fn entry(row: &Row, columns: &Columns, fields: usize, root: &Path) -> Result<Entry, String> {
    let line = row.line;
    if row.fields.len() > fields {
        return Err(format!(
            "line {line}: {} fields under {fields} columns; quote a path that holds the separator",
            row.fields.len()
        ));
    }
    let field = |column: Option<usize>| {
        let field = column.and_then(|i| row.fields.get(i));
        field.map_or("", String::as_str)
    };
    let needed = |column: usize, name: &str| match field(Some(column)) {
        "" => Err(format!("line {line}: no {name}")),
        text => Ok(text),
    };
    let path = needed(columns.path, "path")?;
    let label = needed(columns.label, "label")?;
    let good = meaning(label) == Meaning::Good;
    let mask = Some(field(columns.mask)).filter(|m| !m.is_empty());
    if let (true, Some(mask)) = (good, mask) {
        return Err(format!(
            "line {line}: a mask ({mask}) for an image labelled `{label}`; a good image has none"
        ));
    }
    let part = match (columns.part, field(columns.part).to_lowercase().as_str()) {
        (None, _) => None,
        (_, "train" | "training") => Some(Part::Train),
        (_, "test" | "testing") => Some(Part::Test),
        (Some(_), other) => {
            return Err(format!(
                "line {line}: `{other}` is no part of the set; write train or test, or leave the column out"
            ));
        }
    };
    Ok(Entry {
        line,
        image: TestImage {
            path: root.join(path),
            kind: if good {
                "good".into()
            } else {
                label.to_owned()
            },
            masks: mask.map(|m| root.join(m)).into_iter().collect(),
        },
        part,
        object: field(columns.object).to_owned(),
    })
}

/// The text of the table `file`.
pub(super) fn read(file: &Path) -> Result<String, TrainError> {
    let failed = |action| {
        move |source| TrainError::File {
            path: file.to_path_buf(),
            action,
            source,
        }
    };
    let there = std::fs::metadata(file).map_err(failed("reading"))?;
    if there.len() > MOST_BYTES {
        return Err(problem(
            file,
            format!("{} bytes are no list of images", there.len()),
        ));
    }
    let bytes = std::fs::read(file).map_err(failed("reading"))?;
    String::from_utf8(bytes).map_err(|e| {
        problem(
            file,
            format!(
                "byte {} is not UTF-8; save the table as UTF-8",
                e.utf8_error().valid_up_to()
            ),
        )
    })
}

/// The images of the list `file`, whose paths are relative to `root`, and whose files are there.
pub(super) fn entries(file: &Path, root: &Path) -> Result<Vec<Entry>, TrainError> {
    let (entries, others) = parse(&read(file)?, root).map_err(|words| problem(file, words))?;
    if !others.is_empty() {
        log::warn!(
            "{}: not used: {} `{}`",
            file.display(),
            if others.len() == 1 {
                "column"
            } else {
                "columns"
            },
            others.join("`, `")
        );
    }
    for entry in &entries {
        let image = &entry.image;
        let mut files = std::iter::once(&image.path).chain(&image.masks);
        if let Some(missing) = files.find(|path| !path.is_file()) {
            return Err(problem(
                file,
                format!(
                    "line {}: {} is not there; paths are relative to {}",
                    entry.line,
                    missing.display(),
                    root.display()
                ),
            ));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text, Path::new("r")).expect_err("accepted")
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "part;Label;PATH;mask\ntrain;OK;a/1.png;\ntest;crack;2.png;m/2.png\n";
        let (entries, others) = parse(text, Path::new("r")).expect("a list");
        assert!(others.is_empty());
        assert_eq!(entries[0].image.path, Path::new("r/a/1.png"));
        assert_eq!(
            (entries[0].image.kind.as_str(), entries[0].part),
            ("good", Some(Part::Train))
        );
        assert_eq!(entries[1].image.masks, [Path::new("r/m/2.png")]);
        assert_eq!(
            (entries[1].image.kind.as_str(), entries[1].part),
            ("crack", Some(Part::Test))
        );
        let (entries, others) = parse("path,label,day\n1.png,good,mon", Path::new("")).expect("ok");
        assert_eq!((entries[0].part, others), (None, vec!["day".to_owned()]));
        assert!(is_list("image,label,mask\n") && !is_list("path,verdict,score\n"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            ("", "is empty"),
            ("path,label\n", "no image under"),
            ("name,label\na,good\n", "no column `path`"),
            ("path,image,label\n", "mean the same"),
            ("path,label\na.png\n", "line 2: no label"),
            ("path,label\n,good\n", "line 2: no path"),
            ("path,label\na,b.png,good\n", "3 fields under 2 columns"),
            ("path,label,part\na.png,good,later\n", "`later` is no part"),
            (
                "path,label,mask\na.png,good,m.png\n",
                "a good image has none",
            ),
            (
                "path,label\na.png,good\nb.png,ok\na.png,bad\n",
                "line 4: the same image as in line 2",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
