//! Frames from image files: PNG, JPEG, BMP and TIFF, grey or colour, 8 or 16 bit.

use crate::frame::{Frame, FrameError, MAX_AREA, MAX_SIDE, Picture, Pixels, Reading};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// File name endings that are read, in lower case.
pub(crate) const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];

/// Why an image file or folder cannot be used.
#[derive(Debug, Error)]
pub enum ImageFileError {
    /// The file or folder cannot be read at all.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bytes are not a whole image of a known format.
    #[error(
        "{}: not a readable image (PNG, JPEG, BMP and TIFF are; is the file truncated or misnamed?)",
        path.display()
    )]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        source: image::ImageError,
    },
    /// It ends before its end marker; JPEG decoders fill the rest with grey and report nothing.
    #[error(
        "{}: the image is cut short (no end marker); copy the file again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// Several pictures in one file: only one would be read.
    #[error(
        "{}: holds several pictures (a multi-page TIFF or an animation); only the first would be looked at, so split it",
        path.display()
    )]
    Several {
        /// The file.
        path: PathBuf,
    },
    /// A folder reached through a link inside the folder that was named.
    #[error(
        "{}: a link to a folder, which is not followed; name that folder itself",
        path.display()
    )]
    LinkedFolder {
        /// The link.
        path: PathBuf,
    },
    /// Decoded, but not a usable frame.
    #[error("{}: not usable", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FrameError,
    },
    /// More bits than the depth of the product's pictures.
    #[error(
        "{}: a sample of {largest} does not fit into {bits} bits, the depth that was given (`--bits`) for these pictures",
        path.display()
    )]
    Deeper {
        /// The file.
        path: PathBuf,
        /// Its largest sample.
        largest: u16,
        /// The depth, bits.
        bits: u8,
    },
    /// A folder without a single image.
    #[error(
        "{}: no images in this folder (looked for {})",
        path.display(),
        EXTENSIONS.join(", ")
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Every image file under `folder`, with those in sub-folders, sorted by path so that a run's order
/// never depends on the file system. Hidden files and folders are left out; [`list`] names them.
///
/// # Errors
/// [`ImageFileError::Read`] if a folder cannot be listed. An empty list is not an error here.
pub fn images_under(folder: &Path) -> Result<Vec<PathBuf>, ImageFileError> {
    files_under(folder).map(|(images, _)| images)
}

/// [`images_under`], and the files that have no name of an image: a gate must know what it ignores.
///
/// # Errors
/// As [`images_under`].
pub fn files_under(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ImageFileError> {
    let listed = list(folder)?;
    Ok((listed.images, listed.others))
}

/// What is under a folder.
#[derive(Debug, Default)]
pub struct Listed {
    /// Files with the name of an image, sorted by path, whatever they are (a dead link, a pipe), so
    /// that reading one of them fails visibly.
    pub images: Vec<PathBuf>,
    /// Other files, sorted by path.
    pub others: Vec<PathBuf>,
    /// Files and folders that are hidden or that a system keeps for itself. They are not looked
    /// into.
    pub hidden: Vec<PathBuf>,
}

/// Whether a file or folder of this name is hidden, or kept by a system for itself.
pub fn is_hidden(name: &str) -> bool {
    const SYSTEM: [&str; 8] = [
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "lost+found",
        "system volume information",
        "thumbs.db",
        "desktop.ini",
    ];
    name.starts_with('.') || SYSTEM.contains(&name.to_lowercase().as_str())
}

/// Everything under `folder`, with its sub-folders.
///
/// # Errors
/// [`ImageFileError::Read`] if a folder cannot be listed, [`ImageFileError::LinkedFolder`].
pub fn list(folder: &Path) -> Result<Listed, ImageFileError> {
    let mut listed = Listed::default();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        let read = |source| ImageFileError::Read {
            path: dir.clone(),
            source,
        };
        for entry in std::fs::read_dir(&dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            let path = entry.path();
            let kind = entry.file_type().map_err(read)?;
            if is_hidden(&entry.file_name().to_string_lossy()) {
                listed.hidden.push(path);
            } else if kind.is_dir() {
                open.push(path);
            } else if kind.is_symlink() && path.is_dir() {
                // It can be a loop; and skipping it would skip its images unnoticed.
                return Err(ImageFileError::LinkedFolder { path });
            } else if is_image(&path) {
                listed.images.push(path);
            } else {
                listed.others.push(path);
            }
        }
    }
    listed.images.sort();
    listed.others.sort();
    listed.hidden.sort();
    Ok(listed)
}

impl Listed {
    /// What is passed over, by kind, in one sentence; None if nothing is.
    pub fn passed_over(&self) -> Option<String> {
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for path in &self.others {
            let kind = match path.extension().and_then(|e| e.to_str()) {
                Some(ending) => format!(".{}", ending.to_lowercase()),
                None => "without an ending".to_owned(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        if !self.hidden.is_empty() {
            kinds.insert("hidden".to_owned(), self.hidden.len());
        }
        let total: usize = kinds.values().sum();
        let words: Vec<String> = kinds.iter().map(|(k, n)| format!("{n} {k}")).collect();
        let (verb, files) = if total == 1 {
            ("is", "file")
        } else {
            ("are", "files")
        };
        (total > 0).then(|| {
            format!(
                "{total} {files} {verb} passed over: {}; PNG, JPEG, BMP and TIFF are read",
                words.join(", ")
            )
        })
    }
}

/// The images that `paths` name: files as given, folders as [`images_under`].
///
/// # Errors
/// [`ImageFileError::Empty`] for a folder without images, [`ImageFileError::Read`] for a path that
/// does not exist. A file is accepted with any ending of its name; decoding decides.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ImageFileError> {
    let mut all = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).map_err(|source| ImageFileError::Read {
            path: path.clone(),
            source,
        })?;
        if meta.is_dir() {
            let found = images_under(path)?;
            if found.is_empty() {
                return Err(ImageFileError::Empty { path: path.clone() });
            }
            all.extend(found);
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

/// Whether a JPEG's scan data runs to its end-of-image marker (ITU-T T.81, B.1.1.3).
///
/// The segments before the first scan are skipped by their lengths, because an embedded thumbnail
/// has an end marker of its own.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == START_OF_SCAN {
            return bytes[at + 4..]
                .windows(2)
                .any(|pair| pair == [0xff, END_OF_IMAGE]);
        }
        if marker == 0xff {
            at += 1; // fill byte
        } else {
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
        }
    }
    false
}

/// Whether a PNG runs to its end chunk, and whether it is animated (PNG specification, 5.3).
fn png_is_whole_and_still(bytes: &[u8]) -> (bool, bool) {
    let (mut at, mut still) = (8, true);
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        still &= &head[4..] != b"acTL";
        if &head[4..] == b"IEND" {
            return (bytes.len() >= at + 12, still);
        }
        at += length + 12;
    }
    (false, still)
}

/// Whether a TIFF has a second image file directory (TIFF 6.0, section 2; BigTIFF alike).
fn tiff_has_more(bytes: &[u8]) -> bool {
    let little = bytes.first() == Some(&b'I');
    let number = |at: usize, length: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let add = |n: usize, &b: &u8| n << 8 | usize::from(b);
        Some(if little {
            field.iter().rev().fold(0, add)
        } else {
            field.iter().fold(0, add)
        })
    };
    let next = match number(2, 2) {
        Some(42) => number(4, 4).and_then(|directory| {
            let entries = number(directory, 2)?;
            number(directory.checked_add(2 + 12 * entries)?, 4)
        }),
        Some(43) => number(8, 8).and_then(|directory| {
            let entries = number(directory, 8)?;
            let end = entries.checked_mul(20)?.checked_add(8)?;
            number(directory.checked_add(end)?, 8)
        }),
        _ => None,
    };
    // A directory that cannot be read is left to the decoder, which refuses it.
    next.is_some_and(|offset| offset != 0)
}

/// Reads and decodes one image file. The content decides the format, not the name. Transparency is
/// dropped; floating-point images are refused. The pixels are taken as they are stored, whatever the
/// EXIF orientation.
///
/// # Errors
/// [`ImageFileError`] naming the file.
pub fn read_frame(path: &Path) -> Result<Frame, ImageFileError> {
    Ok(read_picture(path, Reading::default())?.frame)
}

/// The bytes of an image file.
///
/// # Errors
/// [`ImageFileError::Read`], also for what is no regular file.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ImageFileError> {
    let read = |source| ImageFileError::Read {
        path: path.to_path_buf(),
        source,
    };
    // A pipe or a device can block without end.
    if !std::fs::metadata(path).map_err(read)?.is_file() {
        return Err(read(std::io::Error::other("not a regular file")));
    }
    std::fs::read(path).map_err(read)
}

/// As [`read_frame`], read as `reading` says, with what the file says beside the pixels.
///
/// # Errors
/// [`ImageFileError`] naming the file.
pub fn read_picture(path: &Path, reading: Reading) -> Result<Picture, ImageFileError> {
    decode_picture(&read_bytes(path)?, path, reading)
}

/// Decodes an image in memory; `name` stands for it in errors.
///
/// # Errors
/// [`ImageFileError`] naming the file.
pub fn decode_frame(bytes: &[u8], name: &Path) -> Result<Frame, ImageFileError> {
    Ok(decode_picture(bytes, name, Reading::default())?.frame)
}

/// As [`decode_frame`], read as `reading` says, with what the file says beside the pixels.
///
/// # Errors
/// [`ImageFileError`] naming the file.
pub fn decode_picture(
    bytes: &[u8],
    name: &Path,
    reading: Reading,
) -> Result<Picture, ImageFileError> {
    let (mut decoded, orientation) = decode_image(bytes, name)?;
    if reading.upright {
        decoded.apply_orientation(orientation);
    }
    let mut frame = to_frame(decoded, name)?;
    let largest = frame.largest_sample();
    if let Some(largest) = largest.filter(|&largest| largest > reading.largest()) {
        return Err(ImageFileError::Deeper {
            path: name.to_path_buf(),
            largest,
            bits: reading.bits,
        });
    }
    frame.widen(reading.bits);
    Ok(Picture {
        frame,
        orientation: orientation.to_exif(),
        largest,
    })
}

/// As [`read_frame`], with the opacity of each pixel where it is not the same for all.
///
/// # Errors
/// [`ImageFileError`] naming the file.
pub fn read_with_opacity(path: &Path) -> Result<(Frame, Option<Vec<u8>>), ImageFileError> {
    let (decoded, _) = decode_image(&read_bytes(path)?, path)?;
    let opacity: Vec<u8> = if decoded.color().has_alpha() {
        decoded.to_luma_alpha8().pixels().map(|p| p.0[1]).collect()
    } else {
        Vec::new()
    };
    let varies = opacity.iter().any(|o| Some(o) != opacity.first());
    Ok((to_frame(decoded, path)?, varies.then_some(opacity)))
}

/// A whole, single picture as its decoder gives it, and its orientation.
fn decode_image(bytes: &[u8], name: &Path) -> Result<(DynamicImage, Orientation), ImageFileError> {
    let decode_error = |source| ImageFileError::Decode {
        path: name.to_path_buf(),
        source,
    };
    let mut reader = ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| decode_error(image::ImageError::IoError(e)))?;
    let (whole, single) = match reader.format() {
        Some(ImageFormat::Jpeg) => (jpeg_is_whole(bytes), true),
        Some(ImageFormat::Png) => png_is_whole_and_still(bytes),
        Some(ImageFormat::Tiff) => (true, !tiff_has_more(bytes)),
        _ => (true, true),
    };
    let path = name.to_path_buf();
    if !whole {
        return Err(ImageFileError::Truncated { path });
    }
    if !single {
        return Err(ImageFileError::Several { path });
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_AREA as u64 * 8);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(decode_error)?;
    // Metadata that cannot be read says nothing; the pixels are not worse for it.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if decoder.total_bytes() > MAX_AREA as u64 * 8 {
        let limit = image::error::LimitErrorKind::InsufficientMemory;
        let error = image::error::LimitError::from_kind(limit);
        return Err(decode_error(image::ImageError::Limits(error)));
    }
    let decoded = DynamicImage::from_decoder(decoder).map_err(decode_error)?;
    Ok((decoded, orientation))
}

fn to_frame(decoded: DynamicImage, name: &Path) -> Result<Frame, ImageFileError> {
    let decode_error = |source| ImageFileError::Decode {
        path: name.to_path_buf(),
        source,
    };
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let pixels = match decoded {
        DynamicImage::ImageLuma8(i) => Pixels::Gray8(i.into_raw()),
        DynamicImage::ImageLuma16(i) => Pixels::Gray16(i.into_raw()),
        DynamicImage::ImageRgb8(i) => Pixels::Rgb8(i.into_raw()),
        DynamicImage::ImageRgb16(i) => Pixels::Rgb16(i.into_raw()),
        other @ DynamicImage::ImageLumaA8(_) => Pixels::Gray8(other.into_luma8().into_raw()),
        other @ DynamicImage::ImageLumaA16(_) => Pixels::Gray16(other.into_luma16().into_raw()),
        other @ DynamicImage::ImageRgba16(_) => Pixels::Rgb16(other.into_rgb16().into_raw()),
        other @ DynamicImage::ImageRgba8(_) => Pixels::Rgb8(other.into_rgb8().into_raw()),
        other => {
            return Err(decode_error(image::ImageError::Unsupported(
                image::error::UnsupportedError::from_format_and_kind(
                    image::error::ImageFormatHint::Unknown,
                    image::error::UnsupportedErrorKind::Color(other.color().into()),
                ),
            )));
        }
    };
    Frame::new(width, height, pixels).map_err(|source| ImageFileError::Frame {
        path: name.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, Rgb};

    #[test]
    fn every_format_and_depth_round_trips() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let rgb = ImageBuffer::from_fn(5, 3, |x, y| Rgb([x as u8 * 40, y as u8 * 80, 7u8]));
        for ending in ["png", "bmp", "tiff"] {
            let path = dir.path().join(format!("a.{ending}"));
            rgb.save(&path).expect("write");
            let frame = read_frame(&path).expect("read back");
            assert_eq!((frame.width(), frame.height()), (5, 3));
            assert_eq!(frame.pixels(), &Pixels::Rgb8(rgb.as_raw().clone()));
        }
        let deep = ImageBuffer::from_fn(4, 2, |x, y| Luma([(x * 9000 + y) as u16]));
        let path = dir.path().join("deep.png");
        deep.save(&path).expect("write");
        let frame = read_frame(&path).expect("read back");
        assert_eq!(frame.pixels(), &Pixels::Gray16(deep.as_raw().clone()));
        assert_eq!(images_under(dir.path()).expect("list").len(), 4);
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("part.png");
        ImageBuffer::from_fn(16, 16, |x, y| Luma([(x * y) as u8]))
            .save(&path)
            .expect("write");
        let whole = std::fs::read(&path).expect("read");
        for cut in 0..whole.len() {
            let error = decode_frame(&whole[..cut], &path).expect_err("cut image accepted");
            assert!(error.to_string().contains("part.png"));
        }
    }

    #[test]
    fn a_jpeg_cut_in_its_scan_is_an_error() {
        let mut whole = std::io::Cursor::new(Vec::new());
        ImageBuffer::from_fn(64, 64, |x, y| {
            Rgb([(x * 3) as u8, (y * 3) as u8, (x ^ y) as u8])
        })
        .write_to(&mut whole, ImageFormat::Jpeg)
        .expect("encode");
        let whole = whole.into_inner();
        let name = Path::new("part.jpg");
        assert!(decode_frame(&whole, name).is_ok());
        for cut in 0..whole.len() - 1 {
            assert!(
                decode_frame(&whole[..cut], name).is_err(),
                "cut at {cut} accepted"
            );
        }
    }

    #[test]
    fn folders_without_images_and_missing_paths_are_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let error = expand(&[dir.path().to_path_buf()]).expect_err("empty folder accepted");
        assert!(error.to_string().contains("no images"));
        let gone = dir.path().join("gone");
        let error = expand(std::slice::from_ref(&gone)).expect_err("missing path accepted");
        assert!(error.to_string().contains("gone"));
    }

    #[test]
    fn nothing_that_is_named_like_an_image_is_passed_over() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| dir.path().join(name);
        image::GrayImage::new(4, 4)
            .save(at("a.png"))
            .expect("write");
        std::fs::write(at("notes.txt"), b"x").expect("write");
        std::os::unix::fs::symlink("/nonexistent", at("dead.png")).expect("link");
        let (images, others) = files_under(dir.path()).expect("list");
        assert_eq!(images, [at("a.png"), at("dead.png")]);
        assert_eq!(others, [at("notes.txt")]);
        assert!(read_frame(&at("dead.png")).is_err());
        assert!(read_frame(Path::new("/dev/null")).is_err());
        std::fs::create_dir(at("sub")).expect("folder");
        std::os::unix::fs::symlink(at("sub"), at("linked")).expect("link");
        let error = images_under(dir.path()).expect_err("a linked folder skipped");
        assert!(error.to_string().contains("linked"));
    }

    #[test]
    fn files_with_several_pictures_are_refused() {
        let mut png = std::io::Cursor::new(Vec::new());
        image::GrayImage::new(4, 4)
            .write_to(&mut png, ImageFormat::Png)
            .expect("encode");
        let png = png.into_inner();
        // An animation control chunk after the header; its checksum is not checked.
        let mut animated = png[..33].to_vec();
        animated.extend(*b"\0\0\0\x08acTL\0\0\0\x02\0\0\0\0\0\0\0\0");
        animated.extend(&png[33..]);
        let error = decode_frame(&animated, Path::new("a.png")).expect_err("animation");
        assert!(error.to_string().contains("several pictures"), "{error}");

        let mut tiff = std::io::Cursor::new(Vec::new());
        image::GrayImage::new(4, 4)
            .write_to(&mut tiff, ImageFormat::Tiff)
            .expect("encode");
        let mut tiff = tiff.into_inner();
        assert!(decode_frame(&tiff, Path::new("a.tif")).is_ok());
        let directory = u32::from_le_bytes([tiff[4], tiff[5], tiff[6], tiff[7]]) as usize;
        let entries = usize::from(u16::from_le_bytes([tiff[directory], tiff[directory + 1]]));
        tiff[directory + 2 + 12 * entries] = 8;
        let error = decode_frame(&tiff, Path::new("a.tif")).expect_err("second page");
        assert!(error.to_string().contains("several pictures"), "{error}");
    }
}
