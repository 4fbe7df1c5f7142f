//! The parts of the run, and what is expected of each.

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
    /// What `partgate score` says of the same pixels.
    pub verdict: String,
    /// Its score, from the same place.
    pub score: f64,
}

impl Part {
    /// True when it may pass.
    pub fn may_pass(&self) -> bool {
        self.verdict == "OK"
    }
}

fn picture(file: &Path) -> Result<Vec<u8>, String> {
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let reader = BufReader::new(File::open(file).map_err(|e| told(&e))?);
    let mut reader = png::Decoder::new(reader)
        .read_info()
        .map_err(|e| told(&e))?;
    let mut rgb = vec![0; FRAME_BYTES];
    let info = reader.info();
    if (info.width as usize, info.height as usize, info.color_type)
        != (WIDTH, HEIGHT, png::ColorType::Rgb)
    {
        return Err(told(&format!("not an RGB picture of {WIDTH} x {HEIGHT}")));
    }
    reader.next_frame(&mut rgb).map_err(|e| told(&e))?;
    Ok(rgb)
}

/// A score so near to a threshold (relative) tells machines apart, not parts: their scores differ by
/// up to a third of it, because floats are rounded in another order.
const MARGIN: f64 = 0.01;

/// Reads `expected.jsonl`, the output of `partgate score`, and the pictures that it names. Parts
/// within [`MARGIN`] of a threshold are left out.
pub fn read(folder: &Path) -> Result<Vec<Part>, String> {
    let list = folder.join("expected.jsonl");
    let text = fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut parts = Vec::new();
    for line in text.lines() {
        let told = |what: &str| format!("{}: {what}: {line}", list.display());
        let value: Value = serde_json::from_str(line).map_err(|e| told(&e.to_string()))?;
        let number = |key: &str| {
            let number = value[key].as_f64();
            number.ok_or_else(|| told(&format!("no {key}")))
        };
        let name = value["path"]
            .as_str()
            .and_then(|path| Path::new(path).file_name()?.to_str())
            .ok_or_else(|| told("no path"))?;
        let verdict = value["verdict"]
            .as_str()
            .ok_or_else(|| told("no verdict"))?;
        let score = number("score")?;
        let near = |threshold: f64| (score - threshold).abs() < MARGIN * threshold;
        if near(number("threshold")?) || near(number("unknown_threshold")?) {
            println!("part    {name} is left out: {score:.3} is too near to a threshold");
            continue;
        }
        parts.push(Part {
            name: name.to_owned(),
            rgb: picture(&folder.join(name))?,
            verdict: verdict.to_owned(),
            score,
        });
    }
    Ok(parts)
}

/// Draws a 320 x 256 part twice as large, each pixel four times: the camera's size.
pub fn enlarge(from: &Path, to: &Path) -> Result<(), String> {
    let told = |file: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let reader = BufReader::new(File::open(from).map_err(|e| told(from, &e))?);
    let mut reader = png::Decoder::new(reader)
        .read_info()
        .map_err(|e| told(from, &e))?;
    let info = reader.info();
    if (info.width as usize, info.height as usize, info.color_type)
        != (WIDTH / 2, HEIGHT / 2, png::ColorType::Rgb)
    {
        return Err(told(from, &"not a part as `partgate render` draws it"));
    }
    let mut small = vec![0; FRAME_BYTES / 4];
    reader.next_frame(&mut small).map_err(|e| told(from, &e))?;
    let mut large = Vec::with_capacity(FRAME_BYTES);
    for row in small.chunks_exact(WIDTH / 2 * 3) {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|p| [p, p].concat()).collect();
        large.extend_from_slice(&wide);
        large.extend_from_slice(&wide);
    }
    let file = File::create(to).map_err(|e| told(to, &e))?;
    let mut encoder = png::Encoder::new(file, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&large))
        .map_err(|e| told(to, &e))
}

/// Compares the outputs of `partgate score` of two machines for the same pictures: the greatest
/// relative difference of their scores, and where it is.
///
/// # Errors
/// When the outputs are of other pictures, or a verdict differs.
pub fn compare(one: &Path, other: &Path) -> Result<(f64, String, usize), String> {
    let scores = |file: &Path| -> Result<Vec<(String, f64, String)>, String> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        text.lines()
            .map(|line| {
                let told = || format!("{}: not a judged image: {line}", file.display());
                let value: Value = serde_json::from_str(line).map_err(|_| told())?;
                let name = value["path"]
                    .as_str()
                    .and_then(|path| Path::new(path).to_str());
                match (name, value["score"].as_f64(), value["verdict"].as_str()) {
                    (Some(name), Some(score), Some(verdict)) => {
                        Ok((name.to_owned(), score, verdict.to_owned()))
                    }
                    _ => Err(told()),
                }
            })
            .collect()
    };
    let (one, other) = (scores(one)?, scores(other)?);
    if one.is_empty() || one.len() != other.len() {
        return Err(format!("{} pictures and {}", one.len(), other.len()));
    }
    let mut worst = (0.0, String::new(), one.len());
    for ((name, a, said), (same, b, says)) in one.iter().zip(&other) {
        if name != same || said != says {
            return Err(format!("{name}: {a} {said}, but {same}: {b} {says}"));
        }
        let relative = (a - b).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE);
        if relative >= worst.0 {
            worst = (relative, name.clone(), one.len());
        }
    }
    Ok(worst)
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
        let one = file(
            "one",
            "{\"path\":\"a\",\"score\":2.0,\"verdict\":\"OK\"}\n{\"path\":\"b\",\"score\":4.0,\"verdict\":\"NG\"}\n",
        );
        let near = file(
            "near",
            "{\"path\":\"a\",\"score\":2.0,\"verdict\":\"OK\"}\n{\"path\":\"b\",\"score\":4.004,\"verdict\":\"NG\"}\n",
        );
        let turned = file(
            "turned",
            "{\"path\":\"a\",\"score\":2.0,\"verdict\":\"NG\"}\n{\"path\":\"b\",\"score\":4.0,\"verdict\":\"NG\"}\n",
        );
        let unjudged = file(
            "unjudged",
            "{\"path\":\"a\",\"error\":\"x\",\"verdict\":\"UNKNOWN\"}\n",
        );
        let (worst, name, count) = compare(&one, &near).unwrap();
        assert!((worst - 0.001).abs() < 1e-5 && name == "b" && count == 2);
        assert!(compare(&one, &turned).unwrap_err().contains("a: 2 OK"));
        assert!(compare(&one, &unjudged).is_err());
        for path in [one, near, turned, unjudged] {
            fs::remove_file(path).unwrap();
        }
    }
}
