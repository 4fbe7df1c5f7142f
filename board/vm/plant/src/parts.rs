//! The parts of the run, and the expected result of each.

use crate::video::{FRAME_BYTES, HEIGHT, WIDTH};
use serde_json::Value;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

/// A part on the belt.
pub struct Part {
    /// File name of its picture.
    pub name: String,
    /// Its picture, RGB.
    pub rgb: Vec<u8>,
    /// Verdict of `partgate score` for the same pixels.
    pub verdict: String,
    /// Score of `partgate score` for the same pixels.
    pub score: f64,
}

impl Part {
    /// Whether the part may pass.
    pub fn may_pass(&self) -> bool {
        self.verdict == "OK"
    }
}

fn picture(file: &Path) -> Result<Vec<u8>, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let reader = BufReader::new(File::open(file).map_err(|e| named(&e))?);
    let mut reader = png::Decoder::new(reader)
        .read_info()
        .map_err(|e| named(&e))?;
    let mut rgb = vec![0; FRAME_BYTES];
    let info = reader.info();
    if (info.width as usize, info.height as usize, info.color_type)
        != (WIDTH, HEIGHT, png::ColorType::Rgb)
    {
        return Err(named(&format!("not an RGB picture of {WIDTH} x {HEIGHT}")));
    }
    reader.next_frame(&mut rgb).map_err(|e| named(&e))?;
    Ok(rgb)
}

/// Parts with a score this near to a threshold (relative) are not used. Scores of two machines
/// differ by up to a third of it, because floats are rounded in another order.
const MARGIN: f64 = 0.01;

/// Enlarges a 320 x 256 part to twice the size, the size of the camera: each pixel becomes four.
pub fn enlarge(from: &Path, to: &Path) -> Result<(), String> {
    let named = |file: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let reader = BufReader::new(File::open(from).map_err(|e| named(from, &e))?);
    let mut reader = png::Decoder::new(reader)
        .read_info()
        .map_err(|e| named(from, &e))?;
    let info = reader.info();
    if (info.width as usize, info.height as usize, info.color_type)
        != (WIDTH / 2, HEIGHT / 2, png::ColorType::Rgb)
    {
        return Err(named(from, &"not a part as `partgate render` draws it"));
    }
    let mut small = vec![0; FRAME_BYTES / 4];
    reader.next_frame(&mut small).map_err(|e| named(from, &e))?;
    let mut large = Vec::with_capacity(FRAME_BYTES);
    for row in small.chunks_exact(WIDTH / 2 * 3) {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|p| [p, p].concat()).collect();
        large.extend_from_slice(&wide);
        large.extend_from_slice(&wide);
    }
    let file = File::create(to).map_err(|e| named(to, &e))?;
    let mut encoder = png::Encoder::new(file, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&large))
        .map_err(|e| named(to, &e))
}

/// One line of the output of `partgate score`.
struct Scored {
    path: String,
    score: f64,
    verdict: String,
    thresholds: [f64; 2],
}

impl Scored {
    fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            path: value["path"].as_str()?.to_owned(),
            score: value["score"].as_f64()?,
            verdict: value["verdict"].as_str()?.to_owned(),
            thresholds: [
                value["threshold"].as_f64()?,
                value["unknown_threshold"].as_f64()?,
            ],
        })
    }

    fn near_a_threshold(&self) -> bool {
        let near = |t: &f64| (self.score - t).abs() < MARGIN * t;
        self.thresholds.iter().any(near)
    }
}

fn scored(file: &Path) -> Result<Vec<Scored>, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.lines()
        .map(|line| {
            let named = || format!("{}: not an inspected image: {line}", file.display());
            Scored::read(line).ok_or_else(named)
        })
        .collect()
}

/// The largest relative difference between the scores of two machines.
pub struct Difference {
    /// Number of compared pictures.
    pub pictures: usize,
    /// The largest relative difference.
    pub greatest: f64,
    /// The picture with that difference.
    pub path: String,
}

/// Compares the outputs of `partgate score` of two machines, for every picture of the first.
///
/// # Errors
/// If the second has no result for a picture, or another verdict although the score is not near a
/// threshold.
pub fn compare(one: &Path, other: &Path) -> Result<Difference, String> {
    let (one, other) = (scored(one)?, scored(other)?);
    let mut difference = Difference {
        pictures: one.len(),
        greatest: 0.0,
        path: "no picture".to_owned(),
    };
    if one.is_empty() {
        return Err("no pictures".to_owned());
    }
    for a in &one {
        let b = other.iter().find(|b| b.path == a.path);
        let b = b.ok_or_else(|| format!("{}: inspected on one machine only", a.path))?;
        if a.verdict != b.verdict && !a.near_a_threshold() {
            return Err(format!(
                "{}: {} {} here, {} {} there",
                a.path, a.score, a.verdict, b.score, b.verdict
            ));
        }
        let relative = (a.score - b.score).abs() / a.score.abs().max(b.score.abs()).max(1e-9);
        if relative >= difference.greatest {
            difference.greatest = relative;
            difference.path.clone_from(&a.path);
        }
    }
    Ok(difference)
}

/// Reads `expected.jsonl`, the output of `partgate score`, and the pictures that it names. Parts
/// within [`MARGIN`] of a threshold are left out.
pub fn read(folder: &Path) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for scored in scored(&folder.join("expected.jsonl"))? {
        let name = scored.path.trim_start_matches("./");
        if scored.near_a_threshold() {
            println!(
                "part    {name} is left out: {:.3} is too near to a threshold",
                scored.score
            );
            continue;
        }
        parts.push(Part {
            name: name.to_owned(),
            rgb: picture(&folder.join(name))?,
            verdict: scored.verdict,
            score: scored.score,
        });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("plant-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn scores_are_compared_and_verdicts_must_be_equal() {
        let line = |path: &str, score: f64, verdict: &str| {
            format!(
                "{{\"path\":\"{path}\",\"score\":{score},\"verdict\":\"{verdict}\",\"threshold\":3.0,\"unknown_threshold\":2.5}}\n"
            )
        };
        let one = file("one", &(line("a", 2.0, "OK") + &line("b", 4.0, "NG")));
        let near = file("near", &(line("b", 4.004, "NG") + &line("a", 2.0, "OK")));
        let turned = file("turned", &(line("a", 2.0, "NG") + &line("b", 4.0, "NG")));
        let hair = file("hair", &line("c", 3.001, "NG"));
        let breadth = file("breadth", &line("c", 2.999, "UNKNOWN"));
        let unscored = file(
            "unscored",
            "{\"path\":\"a\",\"error\":\"x\",\"verdict\":\"UNKNOWN\"}\n",
        );
        let found = compare(&one, &near).unwrap();
        assert!((found.greatest - 0.001).abs() < 1e-5 && found.path == "b" && found.pictures == 2);
        assert!(compare(&hair, &breadth).is_ok());
        for other in [&turned, &hair, &unscored] {
            assert!(compare(&one, other).is_err());
        }
        for path in [hair, breadth] {
            fs::remove_file(path).unwrap();
        }
        for path in [one, near, turned, unscored] {
            fs::remove_file(path).unwrap();
        }
    }
}
