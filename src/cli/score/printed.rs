//! What is printed per image, and the table of `--csv`.

use super::super::failure::Failure;
use super::super::output_folder::OutputError;
use super::super::{ms, terminal::Out};
use partgate::inspection::Inspection;
use partgate::verdict::Verdict;
use partgate::view::{Defect, Ground};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Milliseconds per stage, in the order of the stages.
pub(super) struct Times<'a> {
    pub(super) decode: Duration,
    pub(super) inspection: &'a Inspection,
}

impl Serialize for Times<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("decode", &ms(self.decode))?;
        for (stage, time) in &self.inspection.stages {
            map.serialize_entry(stage.name(), &ms(*time))?;
        }
        map.serialize_entry("total", &ms(self.inspection.total()))?;
        map.end()
    }
}

/// One region of the map above the limit, in pixels of the picture.
#[derive(Serialize)]
struct Mark {
    /// Left, top, width, height.
    #[serde(rename = "box")]
    bounds: [u32; 4],
    area: f64,
    peak: [u32; 2],
    score: f32,
    verdict: Verdict,
}

impl Mark {
    fn of(defect: &Defect) -> Self {
        let b = defect.bounds;
        Self {
            bounds: [b.x, b.y, b.width, b.height],
            area: tenths(defect.area),
            peak: defect.peak,
            score: defect.score,
            verdict: defect.verdict,
        }
    }
}

/// Rounded to a tenth: a map has no finer places.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What the marks rest on: how coarse the map is, and where it lies.
#[derive(Serialize)]
pub(super) struct MapNote<'a> {
    /// Defects are what is above it.
    limit: f32,
    /// Width and height of what the network sees as one, pixels of the picture.
    cell: [f64; 2],
    /// Sigma of the map's blur, across and down, pixels of the picture.
    blur: [f64; 2],
    /// The map's upper left corner, pixels of the picture.
    origin: [f64; 2],
    /// Width and height of one pixel of the map, pixels of the picture.
    pixel: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    /// A value of the file divided by it is a score.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<f64>,
}

impl<'a> MapNote<'a> {
    pub(super) fn new(
        limit: f32,
        resolution: ([f32; 2], f32),
        ground: &Ground,
        written: Option<&'a (PathBuf, f64)>,
    ) -> Self {
        let (cell, blur) = resolution;
        let pixel = ground.pixel;
        Self {
            limit,
            cell: [0, 1].map(|side| tenths(f64::from(cell[side]) * pixel[side])),
            blur: pixel.map(|side| tenths(f64::from(blur) * side)),
            origin: ground.origin,
            pixel,
            file: written.map(|(path, _)| path.as_path()),
            scale: written.map(|&(_, scale)| scale),
        }
    }
}

/// An inspected image.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    path: &'a str,
    pub(super) score: f32,
    pub(super) verdict: Verdict,
    pub(super) threshold: f32,
    pub(super) unknown_threshold: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) goods_above: Option<f64>,
    defects: Vec<Mark>,
    map: MapNote<'a>,
    ms: Times<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<&'a Path>,
    /// "UNSIGNED" if nobody signed the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// The scores of an image, and what they rest on.
pub(super) struct Scores {
    pub(super) threshold: f32,
    pub(super) unknown_threshold: f32,
    pub(super) goods_above: Option<f64>,
    /// "UNSIGNED" if nobody signed the product.
    pub(super) origin: Option<String>,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        path: &'a str,
        scores: &Scores,
        defects: &[Defect],
        map: MapNote<'a>,
        ms: Times<'a>,
        overlay: Option<&'a Path>,
    ) -> Self {
        Self {
            path,
            score: ms.inspection.score,
            verdict: ms.inspection.verdict,
            threshold: scores.threshold,
            unknown_threshold: scores.unknown_threshold,
            goods_above: scores.goods_above,
            defects: defects.iter().map(Mark::of).collect(),
            map,
            ms,
            overlay,
            origin: scores.origin.clone(),
        }
    }
}

/// An image that could not be inspected.
#[derive(Serialize)]
struct Uninspected<'a> {
    path: &'a str,
    error: &'a str,
    verdict: Verdict,
}

const HEAD: &str = "path,verdict,score,threshold,unknown_threshold,goods_above,defects,\
                    box_x,box_y,box_width,box_height,area,peak_x,peak_y,error\n";

/// The table of `--csv`: a row per image, with the defect of the highest score.
struct Table {
    path: PathBuf,
    file: File,
}

/// `value` as a field of CSV (RFC 4180).
fn field(value: &str) -> String {
    if value.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

impl Line<'_> {
    fn row(&self) -> String {
        let highest = self.defects.first().map_or(",,,,,,".into(), |mark| {
            let [x, y, width, height] = mark.bounds;
            let ([peak_x, peak_y], area) = (mark.peak, mark.area);
            format!("{x},{y},{width},{height},{area},{peak_x},{peak_y}")
        });
        format!(
            "{},{},{},{},{},{},{},{highest},\n",
            field(self.path),
            self.verdict,
            self.score,
            self.threshold,
            self.unknown_threshold,
            self.goods_above.map_or(String::new(), |v| v.to_string()),
            self.defects.len(),
        )
    }
}

/// Standard output, and the table if one is asked for.
pub(super) struct Results<'a> {
    out: &'a mut Out,
    table: Option<Table>,
    /// The table could not be finished.
    pub(super) table_lost: bool,
}

impl<'a> Results<'a> {
    pub(super) fn new(out: &'a mut Out) -> Self {
        Self {
            out,
            table: None,
            table_lost: false,
        }
    }

    /// Also writes a table into `file`.
    pub(super) fn write_table(&mut self, path: &Path, file: File) {
        let path = path.to_path_buf();
        self.table = Some(Table { path, file });
        self.row(HEAD);
    }

    pub(super) fn line(&mut self, line: &Line) -> Result<(), Failure> {
        self.row(&line.row());
        self.out.json_line(line)
    }

    pub(super) fn uninspected(&mut self, path: &Path, error: &str) -> Result<(), Failure> {
        let path = &path.to_string_lossy();
        let verdict = Verdict::Unknown;
        self.row(&format!(
            "{},{verdict},,,,,,,,,,,,,{}\n",
            field(path),
            field(error)
        ));
        self.out.json_line(&Uninspected {
            path,
            error,
            verdict,
        })
    }

    fn row(&mut self, row: &str) {
        let Some(table) = &mut self.table else {
            return;
        };
        if let Err(source) = table.file.write_all(row.as_bytes()) {
            // A full disk costs the table, not the verdicts.
            let path = table.path.clone();
            Failure::input(OutputError::Write { path, source }).report();
            self.table = None;
            self.table_lost = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("a b.png"), "a b.png");
        assert_eq!(field("a,b\".png"), "\"a,b\"\".png\"");
        assert_eq!(field("a\nb"), "\"a\nb\"");
    }
}
