//! The product bundle `NAME.pgp`: everything needed to inspect one kind of part, in one file.

mod container;
mod difference;
mod golden;
mod manifest;

pub use container::{ContainerError, FORMAT, MAX_FILE, SectionBytes, Signature, write};
pub use difference::{Difference, difference};
pub use golden::{GoldenOutcome, coarse, compare};
pub use manifest::{
    AuditEntry, COARSE_SIDE, DType, Golden, GoldenKind, Manifest, Method, Parity, PositionEvidence,
    Section, SectionKind, Training, Validation,
};

use crate::backbone::{GeometryError, SpecError};
use crate::capture::folder::{FolderError, decode_frame};
use crate::frame::Frame;
use crate::lanes::LANES;
use crate::score::{IgnoreMask, MaskError, PackedBank, PositionMask, Rule};
use crate::verdict::ThresholdsError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a bundle cannot be opened.
#[derive(Debug, Error)]
pub enum ProductError {
    /// The file cannot be read or written.
    #[error("{}: {action} failed", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too large to be a bundle.
    #[error("{}: {size} bytes is over the limit of {MAX_FILE}; is this a bundle?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The bytes are not a whole bundle.
    #[error("{name}: not usable as a bundle")]
    Container {
        /// The file, or what was opened.
        name: String,
        /// Why.
        source: ContainerError,
    },
    /// Whole, but its contents do not fit together.
    #[error("{name}: the bundle's contents do not fit together: {problem}")]
    Contents {
        /// The file, or what was opened.
        name: String,
        /// What is off.
        problem: String,
    },
    /// Needs what this version cannot do.
    #[error("{name}: needs partgate {}.{}.{} or later; this is {}", minimum[0], minimum[1], minimum[2], crate::VERSION)]
    Runtime {
        /// The file, or what was opened.
        name: String,
        /// What it needs.
        minimum: [u16; 3],
    },
}

/// What is wrong with the values of a manifest, before the name of the bundle is put in front.
#[derive(Debug, Error)]
enum Problem {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    #[error(transparent)]
    Thresholds(#[from] ThresholdsError),
    #[error(transparent)]
    Mask(#[from] MaskError),
    #[error("{0}")]
    Other(String),
}

fn other<T>(problem: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Other(problem.into()))
}

/// An opened bundle: checked in full, ready to make a judge from.
pub struct Product {
    name: String,
    bytes: Vec<u8>,
    manifest: Manifest,
    signature: Signature,
    bank: PackedBank,
    mask: Option<PositionMask>,
    ignore: Option<IgnoreMask>,
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect()
}

impl Product {
    /// Opens and checks a bundle file.
    ///
    /// # Errors
    /// [`ProductError`] naming the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, ProductError> {
        let file = |action, source| ProductError::File {
            path: path.to_path_buf(),
            action,
            source,
        };
        let size = std::fs::metadata(path)
            .map_err(|e| file("reading", e))?
            .len();
        if size > MAX_FILE {
            return Err(ProductError::TooLarge {
                path: path.to_path_buf(),
                size,
            });
        }
        let bytes = std::fs::read(path).map_err(|e| file("reading", e))?;
        Self::from_bytes(bytes, &path.display().to_string())
    }

    /// Checks a bundle in memory; `name` is what errors call it.
    ///
    /// # Errors
    /// [`ProductError`].
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, ProductError> {
        let (manifest, signature) =
            container::read(&bytes).map_err(|source| ProductError::Container {
                name: name.into(),
                source,
            })?;
        if manifest.minimum_runtime > crate::version_numbers() {
            return Err(ProductError::Runtime {
                name: name.into(),
                minimum: manifest.minimum_runtime,
            });
        }
        Self::assemble(bytes, manifest, signature, name).map_err(|problem| ProductError::Contents {
            name: name.into(),
            problem: problem.to_string(),
        })
    }

    fn assemble(
        bytes: Vec<u8>,
        manifest: Manifest,
        signature: Signature,
        name: &str,
    ) -> Result<Self, Problem> {
        manifest.backbone.check()?;
        manifest.input.check(manifest.backbone.input.multiple_of)?;
        manifest.thresholds.check()?;
        if let Some(baseline) = &manifest.baseline_thresholds {
            baseline.check()?;
        }
        let method = &manifest.method;
        let side = manifest.input.side();
        if method.patch.is_multiple_of(2) || method.patch > 31 {
            return other(format!(
                "patch side {} is not odd and below 32",
                method.patch
            ));
        }
        if !method.sigma.is_finite() || method.sigma < 0.0 || method.sigma > side as f32 {
            return other(format!("map blur of {} pixels", method.sigma));
        }
        if !matches!(method.rule, Rule::Patchcore | Rule::Position) {
            return other(format!(
                "scoring rule `{}` is not in this version of partgate",
                method.rule
            ));
        }
        let unfinished = [
            SectionKind::Neighbourhood,
            SectionKind::Refinement,
            SectionKind::BankScales,
            SectionKind::MapConstants,
        ];
        for kind in unfinished {
            // Ignoring one would score by another method than the one fitted.
            if manifest.sections.iter().any(|s| s.kind == kind) {
                return other(format!(
                    "section {kind:?} is not in this version of partgate"
                ));
            }
        }
        let sections = Sections {
            bytes: &bytes,
            manifest: &manifest,
        };
        sections.only(SectionKind::Backbone, DType::Bytes)?;
        let (section, data) = sections.only(SectionKind::Bank, DType::F32)?;
        let dimensions = manifest.backbone.dimensions();
        if section.shape.len() != 2
            || section.shape[0] == 0
            || section.shape[1] != dimensions as u64
        {
            return other(format!(
                "bank of shape {:?}; rows of {dimensions} are needed",
                section.shape
            ));
        }
        let values = f32s(data);
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return other(format!("bank row {} holds {}", at / dimensions, values[at]));
        }
        let bank = PackedBank::new(values, dimensions);
        let grid = manifest.backbone.grid(side);
        let mask = match (method.rule, &method.position) {
            (Rule::Position, Some(_)) => {
                let (section, data) = sections.only(SectionKind::PositionMask, DType::U16)?;
                let words: Vec<u16> = data
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|&b| u16::from_le_bytes(b))
                    .collect();
                if section.shape != [(grid * grid) as u64, bank.rows().div_ceil(LANES) as u64] {
                    return other(format!("position mask of shape {:?}", section.shape));
                }
                Some(PositionMask::from_words(grid * grid, bank.rows(), words)?)
            }
            (Rule::Patchcore, None) => None,
            _ => return other("position evidence and scoring rule disagree"),
        };
        let masks = |s: &&Section| s.kind == SectionKind::IgnoreMask;
        if manifest.sections.iter().filter(masks).count() > 1 {
            return other("more than one ignore mask");
        }
        let ignore = match sections.find(SectionKind::IgnoreMask) {
            None => None,
            Some((section, data)) => {
                if section.dtype != DType::Bits || section.shape != [side as u64, side as u64] {
                    return other(format!("ignore mask of shape {:?}", section.shape));
                }
                let pixels: Vec<bool> = (0..side * side)
                    .map(|i| data[i / 8] >> (i % 8) & 1 == 1)
                    .collect();
                if pixels.iter().all(|&ignored| ignored) {
                    return other("the ignore mask covers the whole picture");
                }
                Some(IgnoreMask::new(pixels, side, grid))
            }
        };
        for golden in &manifest.goldens {
            let kind = manifest
                .sections
                .get(golden.section as usize)
                .map(|s| s.kind);
            if kind != Some(SectionKind::GoldenImage)
                || golden.coarse_map.len() != COARSE_SIDE * COARSE_SIDE
                || !golden.score.is_finite()
            {
                return other(format!("golden image `{}` is not complete", golden.name));
            }
        }
        let parity = manifest.parity;
        let bounds = (0.0..=0.5).contains(&parity.score_relative)
            && (0.0..=1.0).contains(&parity.map_correlation);
        if !bounds {
            return other("golden parity bounds would accept anything");
        }
        Ok(Self {
            name: name.into(),
            bytes,
            manifest,
            signature,
            bank,
            mask,
            ignore,
        })
    }

    /// The file, or what was opened.
    pub fn origin(&self) -> &str {
        &self.name
    }

    /// What the bundle says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Who vouches for it.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// BLAKE3 of the whole file: names exactly these bytes.
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// Size of the file.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a picture of `width` x `height` can be the view that the product was fitted on.
    /// Where all training images had one size: the same size when a region of interest is cut
    /// out in pixels, else the same aspect within 1 % (the picture is squeezed to a square, so
    /// another aspect is another view). Sets of many sizes accept any.
    pub fn expects_size(&self, width: usize, height: usize) -> bool {
        let training = &self.manifest.training;
        let [w, h] = training.smallest.map(f64::from);
        if training.smallest != training.largest || w == 0.0 || h == 0.0 {
            return true;
        }
        let (width, height) = (width as f64, height as f64);
        if self.manifest.input.roi.is_some() {
            return (width, height) == (w, h);
        }
        (width * h / (height * w) - 1.0).abs() <= 0.01
    }

    /// ONNX bytes of the backbone.
    pub fn backbone_onnx(&self) -> &[u8] {
        self.sections()
            .find(SectionKind::Backbone)
            .map_or(&[], |(_, data)| data)
    }

    /// The bank.
    pub fn bank(&self) -> &PackedBank {
        &self.bank
    }

    /// The position mask, where the rule has one.
    pub fn mask(&self) -> Option<&PositionMask> {
        self.mask.as_ref()
    }

    /// Pixels that do not count.
    pub fn ignore(&self) -> Option<&IgnoreMask> {
        self.ignore.as_ref()
    }

    /// Decodes a golden image.
    ///
    /// # Errors
    /// [`FolderError`] when the embedded PNG is broken.
    pub fn golden_frame(&self, golden: &Golden) -> Result<Frame, FolderError> {
        let name = PathBuf::from(format!("{} (golden {})", self.name, golden.name));
        let data = self
            .manifest
            .sections
            .get(golden.section as usize)
            .map_or(&[][..], |s| self.sections().data(s));
        decode_frame(data, &name)
    }

    /// The same product with another manifest (new thresholds, say): sections are carried over
    /// byte for byte, and a signature is dropped because it no longer fits.
    ///
    /// # Errors
    /// [`ContainerError`] when the result would be over a limit.
    pub fn rewritten(&self, manifest: Manifest) -> Result<Vec<u8>, ContainerError> {
        let sections: Vec<SectionBytes> = self
            .manifest
            .sections
            .iter()
            .map(|s| SectionBytes {
                kind: s.kind,
                dtype: s.dtype,
                shape: s.shape.clone(),
                bytes: self.sections().data(s).to_vec(),
            })
            .collect();
        write(manifest, &sections, &Signature::Unsigned)
    }

    fn sections(&self) -> Sections<'_> {
        Sections {
            bytes: &self.bytes,
            manifest: &self.manifest,
        }
    }
}

/// Views into a bundle whose section table was checked against its bytes.
struct Sections<'a> {
    bytes: &'a [u8],
    manifest: &'a Manifest,
}

impl<'a> Sections<'a> {
    fn data(&self, section: &Section) -> &'a [u8] {
        &self.bytes[section.offset as usize..][..section.length as usize]
    }

    fn find(&self, kind: SectionKind) -> Option<(&'a Section, &'a [u8])> {
        let section = self.manifest.sections.iter().find(|s| s.kind == kind)?;
        Some((section, self.data(section)))
    }

    fn only(&self, kind: SectionKind, dtype: DType) -> Result<(&'a Section, &'a [u8]), Problem> {
        let count = self
            .manifest
            .sections
            .iter()
            .filter(|s| s.kind == kind)
            .count();
        match self.find(kind) {
            Some((section, data)) if count == 1 && section.dtype == dtype => Ok((section, data)),
            Some((section, _)) if count == 1 => other(format!(
                "section {kind:?} is {:?}; this version reads {dtype:?}",
                section.dtype
            )),
            _ => other(format!("{count} sections {kind:?} where one is needed")),
        }
    }
}
