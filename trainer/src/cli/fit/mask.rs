//! The ignore mask of `fit`: a picture whose black pixels are not inspected.

use crate::dataset::GoodImages;
use crate::error::TrainError;
use partgate::backbone::{InputGeometry, Rect};
use partgate::frame::Pixels;
use partgate::frame::file::read_frame;
use std::path::Path;

/// Reads the mask `path`, which is drawn over one of the images, and brings it to the network's
/// view by nearest pixel: `[height, width]`, true where nothing is inspected.
///
/// # Errors
/// [`TrainError::Setting`] for a mask of another size than `images`, or one that does not hold the
/// region of interest; [`TrainError::Folder`] for a file that cannot be read.
pub(super) fn ignore_mask(
    path: &Path,
    images: &GoodImages,
    input: &InputGeometry,
) -> Result<Vec<bool>, TrainError> {
    let image = &images.paths[0];
    let (frame, one) = (read_frame(path)?, images.read(image)?);
    let (width, height) = (frame.width(), frame.height());
    if (width, height) != (one.width(), one.height()) {
        return Err(TrainError::Setting(format!(
            "{}: the mask is {width} x {height} pixels but {} is {} x {}; draw it over one of the images",
            path.display(),
            image.display(),
            one.width(),
            one.height()
        )));
    }
    let black: Vec<bool> = match frame.pixels() {
        Pixels::Gray8(v) => v.iter().map(|&s| s == 0).collect(),
        Pixels::Gray16(v) => v.iter().map(|&s| s == 0).collect(),
        Pixels::Rgb8(v) => v.chunks_exact(3).map(|p| p == [0; 3]).collect(),
        Pixels::Rgb16(v) => v.chunks_exact(3).map(|p| p == [0; 3]).collect(),
    };
    let roi = input.roi.unwrap_or(Rect {
        x: 0,
        y: 0,
        width: width as u32,
        height: height as u32,
    });
    if u64::from(roi.x) + u64::from(roi.width) > width as u64
        || u64::from(roi.y) + u64::from(roi.height) > height as u64
    {
        return Err(TrainError::Setting(format!(
            "{}: the region of interest does not lie inside the mask ({width} x {height} pixels)",
            path.display()
        )));
    }
    let (size, resize) = (input.size(), input.resize);
    let (left, top) = input.margin();
    let at = |out: usize, resize: usize, from: u32, length: u32| {
        from as usize + ((out as f64 + 0.5) * f64::from(length) / resize as f64) as usize
    };
    Ok((0..size.area())
        .map(|i| {
            let (row, column) = (top + i / size.width, left + i % size.width);
            let y = at(row, resize.height, roi.y, roi.height).min(height - 1);
            let x = at(column, resize.width, roi.x, roi.width).min(width - 1);
            black[y * width + x]
        })
        .collect())
}
