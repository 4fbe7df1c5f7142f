//! Frames as pictures: as the network sees them, and encoded for files and pages.

use crate::backbone::{GeometryError, InputGeometry, Preprocessor};
use crate::frame::Frame;
use crate::size::Size;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use thiserror::Error;

/// Why a picture could not be encoded.
#[derive(Debug, Error)]
#[error("a {width} x {height} picture cannot be encoded")]
pub struct PictureError {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The encoder's error.
    pub source: image::ImageError,
}

/// An encoded picture, ready for a file or a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Media type, `image/png` or `image/jpeg`.
    pub media: &'static str,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Width at which a page shows it, pixels.
    pub width: usize,
    /// Height at which a page shows it, pixels. Width and height need not have the proportions of
    /// the picture: a square network view is shown in the proportions of its frame.
    pub height: usize,
    /// What it shows, for those who cannot see it.
    pub alt: String,
}

impl Picture {
    /// Encodes without loss, for files that are measured or compared. `rgb` is row-major, 3 bytes
    /// per pixel.
    ///
    /// # Errors
    /// [`PictureError`] if the buffer does not hold `width * height` pixels.
    pub fn png(
        rgb: &[u8],
        width: usize,
        height: usize,
        alt: impl Into<String>,
    ) -> Result<Self, PictureError> {
        let mut bytes = Vec::new();
        encode(PngEncoder::new(&mut bytes), rgb, width, height)?;
        Ok(Self {
            media: "image/png",
            bytes,
            width,
            height,
            alt: alt.into(),
        })
    }

    /// Encodes as JPEG, for pages. It takes a fifth of the size: sensor noise makes lossless
    /// pictures large.
    ///
    /// # Errors
    /// [`PictureError`] if the buffer does not hold `width * height` pixels.
    pub fn jpeg(
        rgb: &[u8],
        width: usize,
        height: usize,
        alt: impl Into<String>,
    ) -> Result<Self, PictureError> {
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, 88);
        encode(encoder, rgb, width, height)?;
        Ok(Self {
            media: "image/jpeg",
            bytes,
            width,
            height,
            alt: alt.into(),
        })
    }

    /// The same picture shown at another size.
    #[must_use]
    pub fn shown_at(mut self, width: usize, height: usize) -> Self {
        (self.width, self.height) = (width, height);
        self
    }
}

fn encode(
    encoder: impl ImageEncoder,
    rgb: &[u8],
    width: usize,
    height: usize,
) -> Result<(), PictureError> {
    let fail = |source| PictureError {
        width,
        height,
        source,
    };
    // The encoders panic on a wrong length; a caller's mistake must not end a line.
    if rgb.len() != width * height * 3 {
        return Err(fail(image::ImageError::Parameter(
            image::error::ParameterError::from_kind(
                image::error::ParameterErrorKind::DimensionMismatch,
            ),
        )));
    }
    encoder
        .write_image(rgb, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(fail)
}

/// Shows frames as the network sees them: region of interest, resize and crop by the code that
/// prepares the network's input, without its normalisation. A score map fits this picture pixel by
/// pixel.
#[derive(Clone, Debug)]
pub struct NetworkView {
    preprocessor: Preprocessor,
    planes: Vec<f32>,
}

impl NetworkView {
    /// For the input geometry of a product.
    pub fn new(geometry: InputGeometry) -> Self {
        let area = geometry.size().area();
        Self {
            preprocessor: Preprocessor::new(geometry, [0.0; 3], [1.0; 3]),
            planes: vec![0.0; 3 * area],
        }
    }

    /// Size of the picture, pixels.
    pub fn size(&self) -> Size {
        self.preprocessor.geometry().size()
    }

    /// The picture, RGB, row-major, `height * width * 3` bytes.
    ///
    /// # Errors
    /// [`GeometryError::RoiOutside`] if the frame is smaller than the fitted region.
    pub fn picture(&mut self, frame: &Frame) -> Result<Vec<u8>, GeometryError> {
        self.preprocessor.run(frame, &mut self.planes)?;
        let plane = self.planes.len() / 3;
        Ok((0..plane)
            .flat_map(|i| [0, 1, 2].map(|c| self.planes[c * plane + i].round() as u8))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::Rect;
    use crate::frame::Pixels;
    use crate::frame::file::decode_frame;
    use std::path::Path;

    #[test]
    fn the_view_is_the_region_that_the_network_sees() {
        let rgb: Vec<u8> = (0..8 * 6).flat_map(|i| [i as u8 * 5, 7, 200]).collect();
        let frame = Frame::new(8, 6, Pixels::Rgb8(rgb.clone())).expect("frame");
        let roi = Rect {
            x: 2,
            y: 1,
            width: 4,
            height: 4,
        };
        let geometry = InputGeometry {
            roi: Some(roi),
            resize: Size::square(4),
            crop: Size::square(2),
        };
        let seen = NetworkView::new(geometry).picture(&frame).expect("view");
        let at = |x: usize, y: usize| &rgb[(y * 8 + x) * 3..][..3];
        assert_eq!(seen, [at(3, 2), at(4, 2), at(3, 3), at(4, 3)].concat());
    }

    #[test]
    fn pictures_decode_again_and_wrong_lengths_are_errors() {
        let rgb: Vec<u8> = (0..5 * 4 * 3).map(|i| i as u8 * 4).collect();
        let png = Picture::png(&rgb, 5, 4, "").expect("png");
        let frame = decode_frame(&png.bytes, Path::new("a.png")).expect("decode");
        assert_eq!(frame.pixels(), &Pixels::Rgb8(rgb.clone()));
        let jpeg = Picture::jpeg(&rgb, 5, 4, "").expect("jpeg");
        let frame = decode_frame(&jpeg.bytes, Path::new("a.jpg")).expect("decode");
        assert_eq!((frame.width(), frame.height()), (5, 4));
        assert!(Picture::png(&rgb, 4, 4, "").is_err());
        assert!(Picture::jpeg(&rgb[1..], 5, 4, "").is_err());
    }
}
