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

/// Reads `expected.jsonl`, the output of `partgate score`, and the pictures that it names.
pub fn read(folder: &Path) -> Result<Vec<Part>, String> {
    let list = folder.join("expected.jsonl");
    let text = fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    text.lines()
        .map(|line| {
            let told = |what: &str| format!("{}: {what}: {line}", list.display());
            let value: Value = serde_json::from_str(line).map_err(|e| told(&e.to_string()))?;
            let name = value["path"]
                .as_str()
                .and_then(|path| Path::new(path).file_name()?.to_str())
                .ok_or_else(|| told("no path"))?;
            Ok(Part {
                name: name.to_owned(),
                rgb: picture(&folder.join(name))?,
                verdict: value["verdict"]
                    .as_str()
                    .ok_or_else(|| told("no verdict"))?
                    .to_owned(),
                score: value["score"].as_f64().ok_or_else(|| told("no score"))?,
            })
        })
        .collect()
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
