//! The product bundle `NAME.pgp`: everything needed to inspect one kind of part, in one file.

mod background;
mod bank;
mod container;
mod difference;
mod earlier;
mod golden;
mod inputs;
mod light;
mod manifest;
mod member;
mod operating;
mod signature;
mod signing;
mod words;

pub use background::background_section;
pub use bank::BankBytes;
pub use container::{ContainerError, FORMAT, MAX_FILE, SectionBytes, write};
pub use difference::{Difference, difference};
pub use golden::{GoldenOutcome, coarse, compare};
pub use inputs::{Inputs, OtherView};
pub use light::{Light, LightKind, LightMeasure, LightTrial, OtherLight};
pub use manifest::{
    AuditEntry, COARSE_SIDE, Candidate, Choice, DType, DensityEvidence, Golden, GoldenKind,
    Manifest, Member, Method, NeighbourhoodEvidence, Parity, PositionEvidence, RefinementEvidence,
    Section, SectionKind, Training, Validation,
};
pub use member::MemberData;
pub use operating::{BudgetPoint, DamagedScore, Operating, SizeClass};
pub use signature::Signature;
pub use signing::{check, sign};

use crate::backbone::{BackboneSpec, Background, GeometryError, SpecError};
use crate::frame::file::{ImageFileError, decode_frame};
use crate::frame::{Frame, Reading, Said};
use crate::network::{NetworkError, Threads};
use crate::refine::Refiner;
use crate::score::{IgnoreMask, MaskError, PackedBank, PositionMask, ScoreMap, Scorer, Search};
use crate::verdict::ThresholdsError;
use inputs::Expected;
use member::Sections;
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
        /// What was attempted.
        action: &'static str,
        /// The system's error.
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
    /// The bytes are not a complete bundle.
    #[error("{name}: not usable as a bundle")]
    Container {
        /// The file's path, or the name given.
        name: String,
        /// The cause.
        source: ContainerError,
    },
    /// The bundle is complete, but its contents do not fit together.
    #[error("{name}: the bundle's contents do not fit together: {problem}")]
    Contents {
        /// The file's path, or the name given.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The bundle needs a later version.
    #[error("{name}: needs partgate {}.{}.{} or later; this is {}", minimum[0], minimum[1], minimum[2], crate::VERSION)]
    Runtime {
        /// The file's path, or the name given.
        name: String,
        /// The oldest version that may run it.
        minimum: [u16; 3],
    },
}

/// What is wrong with the values of a manifest, without the name of the bundle.
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

/// An opened bundle: completely checked, ready for an inspector.
pub struct Product {
    name: String,
    bytes: Vec<u8>,
    manifest: Manifest,
    signature: Signature,
    members: Vec<MemberData>,
    ignore: Option<IgnoreMask>,
    inputs: Option<Inputs>,
    light: Option<Light>,
    background: Option<Background>,
    operating: Option<Operating>,
}

/// The most members of an ensemble; each takes a whole backbone per part.
pub const MAX_MEMBERS: usize = 3;

impl Product {
    /// Opens and checks a bundle file.
    ///
    /// # Errors
    /// [`ProductError`] naming the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, ProductError> {
        Self::from_bytes(Self::read(path)?, &path.display().to_string())
    }

    /// The bytes of a bundle file. Only their number is checked.
    ///
    /// # Errors
    /// [`ProductError::File`], [`ProductError::TooLarge`].
    pub fn read(path: &Path) -> Result<Vec<u8>, ProductError> {
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
        std::fs::read(path).map_err(|e| file("reading", e))
    }

    /// Checks a bundle in memory; errors name it `name`.
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
        manifest.thresholds.check()?;
        if let Some(baseline) = &manifest.baseline_thresholds {
            baseline.check()?;
        }
        let sections = Sections {
            bytes: &bytes,
            manifest: &manifest,
        };
        let members = Self::members_of(&sections)?;
        let inputs = inputs::read(&sections)?;
        let light = light::read(&sections)?;
        let background = background::read(&sections)?;
        let size = manifest.input.size();
        let grid = manifest.backbone.grid(size);
        let masks = |s: &&Section| s.kind == SectionKind::IgnoreMask;
        if manifest.sections.iter().filter(masks).count() > 1 {
            return other("more than one ignore mask");
        }
        if manifest
            .sections
            .iter()
            .filter(masks)
            .any(|s| s.member != 0)
        {
            // The ignore mask is looked for in the first member only; in another it would have no
            // effect.
            return other("the ignore mask belongs to one member; it must be for all");
        }
        let ignore = match sections.find(SectionKind::IgnoreMask, 0) {
            None => None,
            Some((section, data)) => {
                if section.dtype != DType::Bits
                    || section.shape != [size.height as u64, size.width as u64]
                {
                    return other(format!("ignore mask of shape {:?}", section.shape));
                }
                let pixels: Vec<bool> = (0..size.area())
                    .map(|i| data[i / 8] >> (i % 8) & 1 == 1)
                    .collect();
                if pixels.iter().all(|&ignored| ignored) {
                    return other("the ignore mask covers the whole picture");
                }
                Some(IgnoreMask::new(pixels, size, grid))
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
        let operating = Self::operating_of(&sections)?;
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
            members,
            ignore,
            inputs,
            light,
            background,
            operating,
        })
    }

    fn operating_of(sections: &Sections<'_>) -> Result<Option<Operating>, Problem> {
        if sections.find(SectionKind::Operating, 0).is_none() {
            return Ok(None);
        }
        let (_, data) = sections.only(SectionKind::Operating, 0, DType::Bytes)?;
        let operating: Operating = postcard::from_bytes(data)
            .or_else(|error| other(format!("the evidence of the operating points: {error}")))?;
        operating.check()?;
        Ok(Some(operating))
    }

    fn members_of(sections: &Sections<'_>) -> Result<Vec<MemberData>, Problem> {
        let manifest = sections.manifest;
        if manifest.others.len() >= MAX_MEMBERS {
            return other(format!(
                "{} members; at most {MAX_MEMBERS} are run",
                manifest.others.len() + 1
            ));
        }
        for kind in [SectionKind::CellRadii, SectionKind::MapConstants] {
            // Reserved names: ignoring one would score by another method than the fitted one.
            if manifest.sections.iter().any(|s| s.kind == kind) {
                return other(format!(
                    "section `{kind}` is not in this version of partgate"
                ));
            }
        }
        let first = (&manifest.input, &manifest.backbone, &manifest.method);
        let others = manifest.others.iter();
        let all: Vec<_> = std::iter::once(first)
            .chain(others.map(|m| (&m.input, &m.backbone, &m.method)))
            .collect();
        let stray = |s: &&Section| usize::from(s.member) >= all.len();
        if let Some(section) = manifest.sections.iter().find(stray) {
            return other(format!(
                "section `{}` belongs to member {}, which is not there",
                section.kind, section.member
            ));
        }
        let sound = |s: &f32| s.is_finite() && *s > 0.0;
        let scales = if all.len() == 1 { 0 } else { all.len() };
        if manifest.member_scales.len() != scales || !manifest.member_scales.iter().all(sound) {
            return other("the scales of the ensemble's members are not one positive number each");
        }
        let members: Vec<MemberData> = all
            .into_iter()
            .zip(0..)
            .map(|(member, index)| MemberData::assemble(*sections, index, member))
            .collect::<Result<_, _>>()?;
        let top = |member: &MemberData| member.scoring().top_pixels;
        if members.iter().any(|member| top(member) != top(&members[0])) {
            return other("the members' image scores are means over different numbers of pixels");
        }
        Ok(members)
    }

    /// The file's path, or the name given.
    pub fn origin(&self) -> &str {
        &self.name
    }

    /// What the bundle states about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Who signed it.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// BLAKE3 of the whole file: identifies exactly these bytes.
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// The file's format version, at most [`FORMAT`].
    pub fn format(&self) -> u32 {
        container::format(&self.bytes)
    }

    /// Size of the file, bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a picture of `width` x `height` can be the view that the product was fitted on; see
    /// [`Product::check_size`].
    pub fn expects_size(&self, width: usize, height: usize) -> bool {
        self.check_size(width, height).is_ok()
    }

    /// What the pictures of the fit were like; None in a bundle from before that was kept.
    pub fn inputs(&self) -> Option<&Inputs> {
        self.inputs.as_ref()
    }

    /// The light in which it inspects; None in a bundle from before that was kept.
    pub fn light(&self) -> Option<&Light> {
        self.light.as_ref()
    }

    /// What is done to the background of a picture, if anything is.
    pub fn background(&self) -> Option<&Background> {
        self.background.as_ref()
    }

    /// Whether a picture of this content, by [`Inputs::content_of`], was one of the fit's. Never in a
    /// bundle from before [`Inputs`].
    pub fn was_fitted_on(&self, content: &[u8; 32]) -> bool {
        let digest = Inputs::digest(content, &self.manifest.training.digest);
        self.inputs
            .as_ref()
            .is_some_and(|inputs| inputs.digests.contains(&digest))
    }

    /// How its pictures are read.
    pub fn reading(&self) -> Reading {
        self.expected().reading()
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            manifest: &self.manifest,
            inputs: self.inputs.as_ref(),
        }
    }

    /// Checks the size of a picture against those of the fit: the aspect, or the size if a region
    /// is cut out in pixels. A bundle from before [`Inputs`] by [`Manifest::expects_size`].
    ///
    /// # Errors
    /// [`OtherView`].
    pub fn check_size(&self, width: usize, height: usize) -> Result<(), OtherView> {
        self.expected().size(width, height)
    }

    /// Checks a picture, read by [`Product::reading`], against those of the fit: size, EXIF
    /// orientation, depth, light.
    ///
    /// # Errors
    /// [`OtherView`].
    pub fn check_picture(&self, frame: &Frame, said: Said) -> Result<(), OtherView> {
        let light = self.light.as_ref().map(|_| LightMeasure::of(frame));
        self.check_picture_of(frame.width(), frame.height(), said, light)
    }

    /// As [`Product::check_picture`], of a picture of this size in this light.
    ///
    /// # Errors
    /// [`OtherView`].
    pub fn check_picture_of(
        &self,
        width: usize,
        height: usize,
        said: Said,
        light: Option<LightMeasure>,
    ) -> Result<(), OtherView> {
        self.check_size(width, height)?;
        self.expected().said(said, self.reading())?;
        if let (Some(accepted), Some(found)) = (&self.light, light) {
            accepted.check(found)?;
        }
        Ok(())
    }

    /// Highest pixels of the map whose mean is the image score; 1 for its maximum.
    pub fn top_pixels(&self) -> usize {
        self.members[0].scoring().top_pixels as usize
    }

    /// The members: one, or up to [`MAX_MEMBERS`] of an ensemble.
    pub fn members(&self) -> &[MemberData] {
        &self.members
    }

    /// ONNX bytes of the first member's backbone.
    pub fn backbone_onnx(&self) -> &[u8] {
        self.onnx_of(&self.members[0])
    }

    /// ONNX bytes of a member's backbone.
    pub(crate) fn onnx_of(&self, member: &MemberData) -> &[u8] {
        &self.bytes[member.backbone_range()]
    }

    /// Description and ONNX bytes of a member's encoder, if it has one.
    pub(crate) fn encoder_of<'a>(
        &'a self,
        member: &'a MemberData,
    ) -> Option<(&'a BackboneSpec, &'a [u8])> {
        Some((member.encoder()?, &self.bytes[member.encoder_range()?]))
    }

    /// The search for the cell scores under `member`'s rule.
    ///
    /// # Errors
    /// [`NetworkError`] if a network in the bundle cannot be loaded.
    pub fn search(&self, member: &MemberData, threads: &Threads) -> Result<Search, NetworkError> {
        member.search(&self.bytes, self.ignored_by(member).as_ref(), threads)
    }

    /// The score map of `member`, in the first member's size.
    pub fn score_map(&self, member: &MemberData) -> ScoreMap {
        member.score_map(self.ignored_by(member), self.manifest.input.size())
    }

    /// Search and map, for callers without refinement between them.
    ///
    /// # Errors
    /// [`NetworkError`] if a network in the bundle cannot be loaded.
    pub fn scorer(&self, member: &MemberData, threads: &Threads) -> Result<Scorer, NetworkError> {
        Ok(Scorer {
            search: self.search(member, threads)?,
            map: self.score_map(member),
        })
    }

    /// The ignore mask on `member`'s grid.
    fn ignored_by(&self, member: &MemberData) -> Option<IgnoreMask> {
        let (mask, size) = (self.ignore.as_ref()?, self.manifest.input.size());
        Some(IgnoreMask::new(mask.pixels().to_vec(), size, member.grid()))
    }

    /// The refinement network of `member`, if it has one.
    ///
    /// # Errors
    /// [`NetworkError`] if it cannot be loaded.
    pub fn refiner(
        &self,
        member: &MemberData,
        threads: &Threads,
    ) -> Result<Option<Refiner>, NetworkError> {
        member.refiner(&self.bytes, threads)
    }

    /// The file of the first member's refinement network.
    #[cfg(test)]
    pub(crate) fn refinement_file(&self) -> Option<&[u8]> {
        let range = self.members[0].refinement_range()?;
        Some(&self.bytes[range])
    }

    /// The first member's bank.
    pub fn bank(&self) -> &PackedBank {
        self.members[0].bank()
    }

    /// The first member's position mask, if the rule has one.
    pub fn mask(&self) -> Option<&PositionMask> {
        self.members[0].place()
    }

    /// Pixels that do not count.
    pub fn ignore(&self) -> Option<&IgnoreMask> {
        self.ignore.as_ref()
    }

    /// What thresholds for several budgets of false rejects cost and bring; `None` in bundles of
    /// earlier versions.
    pub fn operating(&self) -> Option<&Operating> {
        self.operating.as_ref()
    }

    /// Decodes a golden image.
    ///
    /// # Errors
    /// [`ImageFileError`] if the PNG in the bundle is broken.
    pub fn golden_frame(&self, golden: &Golden) -> Result<Frame, ImageFileError> {
        let name = PathBuf::from(format!("{} (golden {})", self.name, golden.name));
        let data = self
            .manifest
            .sections
            .get(golden.section as usize)
            .map_or(&[][..], |s| self.sections().data(s));
        decode_frame(data, &name)
    }

    /// The bytes of the first member's section of this kind; of several the first.
    pub fn section(&self, kind: SectionKind) -> Option<&[u8]> {
        self.sections().find(kind, 0).map(|(_, data)| data)
    }

    /// The same product with another manifest (for example new thresholds). Sections are copied byte
    /// for byte; the signature is dropped because it does not fit any more.
    ///
    /// # Errors
    /// [`ContainerError`] if the result would be over a limit.
    pub fn rewritten(&self, manifest: Manifest) -> Result<Vec<u8>, ContainerError> {
        write(manifest, &self.section_bytes(), &Signature::Unsigned)
    }

    /// As [`Product::rewritten`], with `changed` in the place of the sections of their kinds, of which
    /// there is at most one each.
    ///
    /// # Errors
    /// [`ContainerError`] if the result would be over a limit.
    pub fn rewritten_with(
        &self,
        manifest: Manifest,
        changed: Vec<SectionBytes>,
    ) -> Result<Vec<u8>, ContainerError> {
        let mut sections = self.section_bytes();
        for new in changed {
            match sections.iter_mut().find(|s| s.kind == new.kind) {
                Some(old) => *old = new,
                // At the end: the manifest's golden images count sections.
                None => sections.push(new),
            }
        }
        write(manifest, &sections, &Signature::Unsigned)
    }

    fn section_bytes(&self) -> Vec<SectionBytes> {
        self.manifest
            .sections
            .iter()
            .map(|s| SectionBytes {
                kind: s.kind,
                member: s.member,
                dtype: s.dtype,
                shape: s.shape.clone(),
                bytes: self.sections().data(s).to_vec(),
            })
            .collect()
    }

    fn sections(&self) -> Sections<'_> {
        Sections {
            bytes: &self.bytes,
            manifest: &self.manifest,
        }
    }
}
