//! What is written per image into folders: overlays, and the maps themselves.

use super::super::failure::Failure;
use super::super::output_folder::{self, OutputError};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use partgate::frame::Frame;
use partgate::size::Size;
use partgate::verdict::Thresholds;
use partgate::view::{Ground, Picture, over_picture};
use std::path::{Path, PathBuf};

/// Pixels of the longer side of an overlay, at most: as much as a screen shows.
const LONGEST: usize = 1600;

/// The value of the NG threshold in a map of 16-bit PNG.
const PNG_THRESHOLD: f64 = 10_000.0;

/// The format of `--maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MapFormat {
    /// NumPy's format, 32-bit floats: the scores themselves
    Npy,
    /// 16-bit grey PNG: the NG threshold is 10000, and what is above 6.55 times the threshold is
    /// 65535
    Png,
}

/// A folder into which files of the images are written.
pub(super) struct Folder<'a>(&'a Path);

impl<'a> Folder<'a> {
    /// Makes the folder if it is missing. `option` names it on the command line.
    pub(super) fn new<'i>(
        path: &'a Path,
        option: &'static str,
        inputs: impl Iterator<Item = &'i Path>,
    ) -> Result<Self, Failure> {
        output_folder::make(path)?;
        if let Ok(target) = path.canonicalize() {
            let inside = |image: &Path| {
                let image = image.canonicalize().ok();
                image.is_some_and(|i| i.parent() == Some(&target))
            };
            let mut inputs = inputs;
            if inputs.any(inside) {
                let path = path.to_path_buf();
                return Err(Failure::input(OutputError::HoldsInputs { path, option }));
            }
        }
        Ok(Self(path))
    }

    /// Writes the overlay of a picture.
    pub(super) fn overlay(
        &self,
        name: &str,
        frame: &Frame,
        map: (&[f32], Size),
        ground: &Ground,
        thresholds: &Thresholds,
    ) -> Result<PathBuf, Failure> {
        let (painted, shown) =
            over_picture(frame, LONGEST, map, ground, thresholds).map_err(Failure::input)?;
        let picture =
            Picture::png(&painted, shown.width, shown.height, "").map_err(Failure::unexpected)?;
        let path = self.0.join(format!("{name}.png"));
        output_folder::write(&path, &picture.bytes)?;
        Ok(path)
    }

    /// Writes a map. Returns the file, and what one unit of score is in it.
    pub(super) fn map(
        &self,
        name: &str,
        format: MapFormat,
        (map, size): (&[f32], Size),
        thresholds: &Thresholds,
    ) -> Result<(PathBuf, f64), Failure> {
        let (ending, bytes, scale) = match format {
            MapFormat::Npy => ("npy", npy(map, size), 1.0),
            MapFormat::Png => {
                let ng = f64::from(thresholds.ng.threshold);
                // With a threshold of 0 any scale is as good.
                let scale = if ng > 0.0 { PNG_THRESHOLD / ng } else { 1.0 };
                ("png", png(map, size, scale)?, scale)
            }
        };
        let path = self.0.join(format!("{name}.{ending}"));
        output_folder::write(&path, &bytes)?;
        Ok((path, scale))
    }
}

/// NumPy's format, version 1.0: magic, version, length of the head, head, values row by row.
fn npy(map: &[f32], size: Size) -> Vec<u8> {
    let shape = format!("({}, {})", size.height, size.width);
    let mut head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length take 10 bytes; the values begin at a multiple of 64.
    let padded = (10 + head.len() + 1).next_multiple_of(64) - 10;
    head.push_str(&" ".repeat(padded - head.len() - 1));
    head.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    bytes.extend(map.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

fn png(map: &[f32], size: Size, scale: f64) -> Result<Vec<u8>, Failure> {
    // A conversion to an integer keeps to its range, and makes 0 of NaN: a map with one is UNKNOWN
    // and its file must show it.
    let level = |v: f32| {
        let level = (f64::from(v) * scale).round();
        if v.is_nan() { u16::MAX } else { level as u16 }
    };
    let samples: Vec<u8> = map.iter().flat_map(|&v| level(v).to_ne_bytes()).collect();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(
            &samples,
            size.width as u32,
            size.height as u32,
            ExtendedColorType::L16,
        )
        .map_err(Failure::unexpected)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numpy_finds_its_head_and_the_values() {
        let bytes = npy(&[0.5, 1.0, 2.0, 3.0, 4.0, 5.0], Size::new(3, 2));
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((10 + length) % 64, 0);
        let head = std::str::from_utf8(&bytes[10..10 + length]).expect("text");
        assert!(head.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"));
        assert!(head.ends_with('\n'));
        assert_eq!(bytes.len(), 10 + length + 24);
        assert_eq!(&bytes[10 + length..][..4], &0.5f32.to_le_bytes());
    }

    #[test]
    fn a_map_in_png_is_on_the_scale_that_is_stated() {
        let map = [0.0, 1.5, 3.0, 300.0, f32::NAN, -1.0];
        let bytes = png(&map, Size::new(3, 2), PNG_THRESHOLD / 3.0).expect("png");
        let picture = image::load_from_memory(&bytes).expect("a picture");
        let samples = picture.into_luma16().into_raw();
        assert_eq!(samples, [0, 5000, 10_000, 65_535, 65_535, 0]);
    }
}
