//! Frames as PNG files.

use crate::error::TrainError;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use partgate::frame::{Frame, Pixels};

/// `frame` as a PNG file of the same pixel format.
///
/// # Errors
/// [`TrainError::Setting`] where the picture cannot be encoded.
pub(crate) fn png(frame: &Frame) -> Result<Vec<u8>, TrainError> {
    let (w, h) = (frame.width() as u32, frame.height() as u32);
    let image: Option<DynamicImage> = match frame.pixels().clone() {
        Pixels::Gray8(v) => GrayImage::from_raw(w, h, v).map(Into::into),
        Pixels::Rgb8(v) => RgbImage::from_raw(w, h, v).map(Into::into),
        Pixels::Gray16(v) => ImageBuffer::<Luma<u16>, _>::from_raw(w, h, v).map(Into::into),
        Pixels::Rgb16(v) => ImageBuffer::<Rgb<u16>, _>::from_raw(w, h, v).map(Into::into),
    };
    let failed = |why: String| TrainError::Setting(format!("a picture cannot be encoded: {why}"));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image
        .ok_or_else(|| failed("it lost pixels".into()))?
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| failed(e.to_string()))?;
    Ok(bytes.into_inner())
}
