//! Feature vectors of all training images, made by the same code that runs on the board.

use super::catalogue::BackboneFile;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::backbone::{Backbone, InputGeometry, Preprocessor, Threads};
use partgate::capture::folder::{FolderError, decode_frame};
use partgate::inspection::InspectionError;
use partgate::score::{Aggregator, Border};
use rayon::prelude::*;
use std::path::Path;

/// How features are made.
#[derive(Clone)]
pub(crate) struct FeatureSettings {
    pub(crate) input: InputGeometry,
    pub(crate) patch: usize,
    pub(crate) border: Border,
}

/// One pass over an image: what a board computes before the bank comes into play.
pub(crate) struct Extractor {
    preprocessor: Preprocessor,
    backbone: Backbone,
    aggregator: Aggregator,
}

impl Extractor {
    pub(crate) fn new(file: &BackboneFile, settings: &FeatureSettings) -> Result<Self, TrainError> {
        let side = settings.input.side();
        let backbone = Backbone::load(&file.onnx, &file.spec, side, &Threads::default())?;
        Ok(Self::around(backbone, settings))
    }

    fn around(backbone: Backbone, settings: &FeatureSettings) -> Self {
        let spec = backbone.spec();
        let channels = [0, 1].map(|i| spec.taps[i].channels as usize);
        let grid = spec.grid(backbone.side());
        Self {
            preprocessor: Preprocessor::new(
                settings.input.clone(),
                spec.input.mean,
                spec.input.std,
            ),
            aggregator: Aggregator::new(grid, channels, settings.patch, settings.border),
            backbone,
        }
    }

    fn another(&self, settings: &FeatureSettings) -> Result<Self, TrainError> {
        Ok(Self::around(self.backbone.another()?, settings))
    }

    /// `out` becomes `[cells, dimensions]`.
    pub(crate) fn run(
        &mut self,
        frame: &partgate::frame::Frame,
        out: &mut [f32],
    ) -> Result<(), InspectionError> {
        let preprocessor = &mut self.preprocessor;
        self.backbone.run(|input| {
            preprocessor
                .run(frame, input)
                .map_err(InspectionError::from)
        })?;
        let (fine, coarse) = (self.backbone.tap(0)?, self.backbone.tap(1)?);
        self.aggregator.run(fine, coarse, out);
        Ok(())
    }

    pub(crate) fn grid(&self) -> usize {
        self.backbone.spec().grid(self.backbone.side())
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.aggregator.dimensions()
    }
}

/// Feature vectors of a set of images.
pub(crate) struct Features {
    /// `[images, cells, dimensions]`.
    pub(crate) values: Vec<f32>,
    pub(crate) images: usize,
    pub(crate) grid: usize,
    pub(crate) dimensions: usize,
    /// BLAKE3 over names and contents of the images.
    pub(crate) digest: [u8; 32],
    pub(crate) smallest: [u32; 2],
    pub(crate) largest: [u32; 2],
    /// Distinct image sizes.
    pub(crate) sizes: usize,
}

impl Features {
    pub(crate) fn cells(&self) -> usize {
        self.grid * self.grid
    }

    /// Feature vectors of one image, `[cells, dimensions]`.
    pub(crate) fn image(&self, index: usize) -> &[f32] {
        let length = self.cells() * self.dimensions;
        &self.values[index * length..][..length]
    }
}

fn digest_of_image(name: &str, bytes: &[u8]) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    digest.update(name.as_bytes());
    digest.update(&[0]);
    digest.update(blake3::hash(bytes).as_bytes());
    *digest.finalize().as_bytes()
}

/// The training digest that a fit on `images` would record.
pub(crate) fn digest_of(images: &GoodImages) -> Result<[u8; 32], TrainError> {
    let mut digest = blake3::Hasher::new();
    for path in &images.paths {
        let bytes = std::fs::read(path).map_err(|source| FolderError::Read {
            path: path.clone(),
            source,
        })?;
        digest.update(&digest_of_image(&images.relative(path), &bytes));
    }
    Ok(*digest.finalize().as_bytes())
}

struct ImageFacts {
    digest: [u8; 32],
    size: [u32; 2],
}

fn one_image(
    extractor: &mut Extractor,
    path: &Path,
    name: &str,
    out: &mut [f32],
) -> Result<ImageFacts, TrainError> {
    let bytes = std::fs::read(path).map_err(|source| FolderError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let frame = decode_frame(&bytes, path)?;
    extractor
        .run(&frame, out)
        .map_err(|source| TrainError::Image {
            path: path.to_path_buf(),
            source,
        })?;
    Ok(ImageFacts {
        digest: digest_of_image(name, &bytes),
        size: [frame.width() as u32, frame.height() as u32],
    })
}

/// MiB that the system could still give; `None` where it does not say.
fn available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

/// Extracts the features of all images, in parallel on the current thread pool. Refuses before
/// it starts when the memory would not suffice.
pub(crate) fn extract(
    file: &BackboneFile,
    settings: &FeatureSettings,
    images: &GoodImages,
) -> Result<Features, TrainError> {
    let first = Extractor::new(file, settings)?;
    let (grid, dimensions) = (first.grid(), first.dimensions());
    let length = grid * grid * dimensions;
    let count = images.paths.len();
    // Features, plus the coreset's member list and the nearest rows of each cell.
    let needed_mib = (count * (length * 4 + grid * grid * 32)) as u64 / (1 << 20) + 64;
    if let Some(available_mib) = available_mib()
        && needed_mib > available_mib
    {
        return Err(TrainError::Memory {
            what: format!("the features of {count} images"),
            needed_mib,
            available_mib,
        });
    }
    let progress = Progress::new("features", count as u64);
    let mut values = vec![0.0; count * length];
    let share = count.div_ceil(rayon::current_num_threads()).max(1);
    let mut workers = vec![first];
    while workers.len() * share < count {
        let next = workers[0].another(settings)?;
        workers.push(next);
    }
    let facts: Vec<Vec<ImageFacts>> = values
        .par_chunks_mut(length * share)
        .zip(images.paths.par_chunks(share))
        .zip(workers.par_iter_mut())
        .map(|((values, paths), extractor)| {
            let work = values.chunks_exact_mut(length).zip(paths);
            work.map(|(out, path)| {
                let facts = one_image(extractor, path, &images.relative(path), out);
                progress.advance(1);
                facts
            })
            .collect::<Result<Vec<_>, _>>()
        })
        .collect::<Result<_, _>>()?;
    progress.finish();

    let mut digest = blake3::Hasher::new();
    let mut sizes: Vec<[u32; 2]> = Vec::with_capacity(count);
    for fact in facts.iter().flatten() {
        digest.update(&fact.digest);
        sizes.push(fact.size);
    }
    sizes.sort_unstable_by_key(|s| (u64::from(s[0]) * u64::from(s[1]), *s));
    let (smallest, largest) = (
        sizes.first().copied().unwrap_or_default(),
        sizes.last().copied().unwrap_or_default(),
    );
    sizes.dedup();
    Ok(Features {
        values,
        images: count,
        grid,
        dimensions,
        digest: *digest.finalize().as_bytes(),
        smallest,
        largest,
        sizes: sizes.len(),
    })
}
