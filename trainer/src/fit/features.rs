//! Feature vectors of all training images, by the code that runs on the board.

use super::cache::{Cache, CacheSettings};
use super::catalogue::BackboneFile;
use super::variation::Variation;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::progress::Progress;
use partgate::backbone::{Backbone, Background, InputGeometry, Preprocessor, Threads};
use partgate::frame::Reading;
use partgate::frame::file::{ImageFileError, decode_picture};
use partgate::inspection::{InspectionError, check_finite};
use partgate::score::{Aggregator, Border, LinearMap};
use partgate::seed::Rng;
use partgate::size::Size;
use rayon::prelude::*;
use std::path::Path;

/// Draws of the varied copies, one stream an image.
const VARIATION_STREAM: u64 = 1 << 33;

/// Settings of the features.
#[derive(Clone)]
pub(crate) struct FeatureSettings {
    pub(crate) input: InputGeometry,
    pub(crate) patch: usize,
    pub(crate) border: Border,
    /// What is done to the background of pictures.
    pub(crate) background: Option<Background>,
    /// Cache of features for later fits; it does not change them.
    pub(crate) cache: Option<CacheSettings>,
    /// What varied copies of the images vary by, and the seed of their draws; `None` makes none.
    pub(crate) variation: Option<(Variation, u64)>,
}

impl FeatureSettings {
    /// Varied copies of each of `images` images.
    pub(crate) fn copies(&self, images: usize) -> usize {
        self.variation.map_or(0, |_| Variation::copies(images))
    }
}

/// Computes the features of an image as a board does.
pub(crate) struct Extractor {
    preprocessor: Preprocessor,
    backbone: Backbone,
    aggregator: Aggregator,
    /// The product's map, with the backbone's features before it; `None` where there is none or it
    /// is not known yet.
    mapped: Option<(LinearMap, Vec<f32>)>,
    /// Another network that looks at the same pictures.
    encoder: Option<Box<Extractor>>,
}

impl Extractor {
    pub(crate) fn new(file: &BackboneFile, settings: &FeatureSettings) -> Result<Self, TrainError> {
        let size = settings.input.size();
        let backbone = Backbone::load(&file.onnx, &file.spec, size, &Threads::default())?;
        Ok(Self::around(backbone, settings))
    }

    fn around(backbone: Backbone, settings: &FeatureSettings) -> Self {
        let spec = backbone.spec();
        let channels = [0, 1].map(|i| spec.taps[i].channels as usize);
        let grid = spec.grid(backbone.size());
        Self {
            preprocessor: Preprocessor::new(
                settings.input.clone(),
                spec.input.mean,
                spec.input.std,
            )
            .with_background(settings.background.as_ref()),
            aggregator: Aggregator::new(grid, channels, settings.patch, settings.border),
            backbone,
            mapped: None,
            encoder: None,
        }
    }

    /// The same with `map` after it.
    pub(crate) fn mapped(mut self, map: Option<LinearMap>) -> Self {
        let length = self.aggregator.cells() * self.aggregator.dimensions();
        self.mapped = map.map(|map| (map, vec![0.0; length]));
        self
    }

    /// The same with another network beside it.
    pub(crate) fn with_encoder(self, encoder: Option<Self>) -> Self {
        Self {
            encoder: encoder.map(Box::new),
            ..self
        }
    }

    /// What the network beside it gives for a picture, `[cells, dimensions]`; nothing without one.
    pub(crate) fn encode(
        &mut self,
        frame: &partgate::frame::Frame,
    ) -> Result<Vec<f32>, InspectionError> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(Vec::new());
        };
        let mut out = vec![0.0; encoder.grid().area() * encoder.dimensions()];
        encoder.run(frame, &mut out)?;
        Ok(out)
    }

    pub(crate) fn another(&self, settings: &FeatureSettings) -> Result<Self, TrainError> {
        let map = self.mapped.as_ref().map(|(map, _)| map.clone());
        let encoder = self.encoder.as_ref();
        let encoder = encoder
            .map(|encoder| encoder.another(settings))
            .transpose()?;
        Ok(Self::around(self.backbone.another()?, settings)
            .mapped(map)
            .with_encoder(encoder))
    }

    /// `out` becomes `[cells, dimensions]`.
    pub(crate) fn run(
        &mut self,
        frame: &partgate::frame::Frame,
        out: &mut [f32],
    ) -> Result<(), InspectionError> {
        self.backbone
            .take::<InspectionError>(&mut self.preprocessor, frame)?;
        self.backbone.infer()?;
        let (fine, coarse) = (self.backbone.tap(0)?, self.backbone.tap(1)?);
        match &mut self.mapped {
            None => self.aggregator.run(fine, coarse, out),
            Some((map, features)) => {
                self.aggregator.run(fine, coarse, features);
                map.run(features, out);
            }
        }
        check_finite(out, out.len() / self.aggregator.cells().max(1))
    }

    pub(crate) fn grid(&self) -> Size {
        self.backbone.spec().grid(self.backbone.size())
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.aggregator.dimensions()
    }
}

/// Contents and sizes of a set of images.
pub(crate) struct ImageSet {
    /// BLAKE3 over names and contents.
    pub(crate) digest: [u8; 32],
    /// By area, width and height in pixels.
    pub(crate) smallest: [u32; 2],
    pub(crate) largest: [u32; 2],
    /// Distinct image sizes.
    pub(crate) sizes: usize,
}

impl ImageSet {
    fn of(facts: &[ImageFacts]) -> Self {
        let mut digest = blake3::Hasher::new();
        for fact in facts {
            digest.update(&fact.digest);
        }
        let mut sizes: Vec<[u32; 2]> = facts.iter().map(|fact| fact.size).collect();
        sizes.sort_unstable_by_key(|s| (u64::from(s[0]) * u64::from(s[1]), *s));
        let (smallest, largest) = (
            sizes.first().copied().unwrap_or_default(),
            sizes.last().copied().unwrap_or_default(),
        );
        sizes.dedup();
        Self {
            digest: *digest.finalize().as_bytes(),
            smallest,
            largest,
            sizes: sizes.len(),
        }
    }
}

/// Feature vectors of a set of images.
pub(crate) struct Features {
    /// `[images * (1 + copies), cells, dimensions]`: the images, then the copies of each.
    pub(crate) values: Vec<f32>,
    pub(crate) images: usize,
    /// Varied copies of each image.
    pub(crate) copies: usize,
    pub(crate) grid: Size,
    pub(crate) dimensions: usize,
    pub(crate) set: ImageSet,
    /// Images whose features came from the cache.
    pub(crate) cached: usize,
}

impl Features {
    pub(crate) fn cells(&self) -> usize {
        self.grid.area()
    }

    /// Made-up features, for tests of what is fitted on them.
    #[cfg(test)]
    pub(crate) fn made_up(values: Vec<f32>, images: usize, grid: Size) -> Self {
        Self {
            dimensions: values.len() / (images * grid.area()),
            values,
            images,
            copies: 0,
            grid,
            set: ImageSet {
                digest: [0; 32],
                smallest: [1, 1],
                largest: [1, 1],
                sizes: 1,
            },
            cached: 0,
        }
    }

    /// `images` with their varied copies.
    pub(crate) fn with_copies(&self, images: &[usize]) -> Vec<usize> {
        let copies = |image: usize| {
            let first = self.images + image * self.copies;
            first..first + self.copies
        };
        let of_all = images.iter().flat_map(|&image| copies(image));
        images.iter().copied().chain(of_all).collect()
    }

    /// Feature vectors of one image, `[cells, dimensions]`.
    pub(crate) fn image(&self, index: usize) -> &[f32] {
        let length = self.cells() * self.dimensions;
        &self.values[index * length..][..length]
    }
}

fn digest_of_image(name: &str, content: &blake3::Hash) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    digest.update(name.as_bytes());
    digest.update(&[0]);
    digest.update(content.as_bytes());
    *digest.finalize().as_bytes()
}

/// The training digest that a fit on `images` would record.
pub(crate) fn digest_of(images: &GoodImages) -> Result<[u8; 32], TrainError> {
    let mut digest = blake3::Hasher::new();
    for path in &images.paths {
        let bytes = std::fs::read(path).map_err(|source| ImageFileError::Read {
            path: path.clone(),
            source,
        })?;
        digest.update(&digest_of_image(
            &images.relative(path),
            &blake3::hash(&bytes),
        ));
    }
    Ok(*digest.finalize().as_bytes())
}

/// The processor's instruction sets: the kernels choose by them, and round sums differently.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let sets = text
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"));
    format!("{} {}", std::env::consts::ARCH, sets.unwrap_or_default())
}

/// Digest of all that an image's features depend on besides the image: the program, the processor,
/// the backbone with its description, and the settings.
fn dependencies(
    file: &BackboneFile,
    settings: &FeatureSettings,
    reading: Reading,
) -> Result<blake3::Hash, TrainError> {
    // Development builds share a version number; their bytes tell them apart.
    let program = std::env::current_exe().and_then(std::fs::read);
    let parts = [
        partgate::VERSION.as_bytes(),
        blake3::hash(&program.unwrap_or_default()).as_bytes(),
        processor().as_bytes(),
        blake3::hash(&file.onnx).as_bytes(),
        &serde_json::to_vec(&file.spec)?,
        &serde_json::to_vec(&(
            &settings.input,
            settings.patch,
            settings.border,
            &settings.background,
        ))?,
        format!("{reading:?}").as_bytes(),
    ]
    .map(blake3::hash);
    let mut digest = blake3::Hasher::new();
    for part in &parts {
        digest.update(part.as_bytes());
    }
    Ok(digest.finalize())
}

struct ImageFacts {
    digest: [u8; 32],
    size: [u32; 2],
}

fn one_image(
    extractor: &mut Extractor,
    cache: Option<&Cache>,
    path: &Path,
    name: &str,
    reading: Reading,
    out: &mut [f32],
) -> Result<ImageFacts, TrainError> {
    let bytes = std::fs::read(path).map_err(|source| ImageFileError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let content = blake3::hash(&bytes);
    let digest = digest_of_image(name, &content);
    if let Some(size) = cache.and_then(|cache| cache.get(&content, out)) {
        return Ok(ImageFacts { digest, size });
    }
    let frame = decode_picture(&bytes, path, reading)?.frame;
    extractor
        .run(&frame, out)
        .map_err(|source| TrainError::Image {
            path: path.to_path_buf(),
            source,
        })?;
    let size = [frame.width() as u32, frame.height() as u32];
    if let Some(cache) = cache {
        cache.put(&content, size, out);
    }
    Ok(ImageFacts { digest, size })
}

/// Extracts the features of all images, in parallel on the current thread pool, or takes them from
/// the cache.
pub(crate) fn extract(
    file: &BackboneFile,
    settings: &FeatureSettings,
    images: &GoodImages,
) -> Result<Features, TrainError> {
    let first = Extractor::new(file, settings)?;
    let (grid, dimensions) = (first.grid(), first.dimensions());
    let length = grid.area() * dimensions;
    let count = images.paths.len();
    let cache = match &settings.cache {
        Some(cache) => Cache::open(cache, dependencies(file, settings, images.reading)?, length),
        None => None,
    };
    let progress = Progress::new("features", count as u64);
    let copies = settings.copies(count);
    let mut values = vec![0.0; count * (1 + copies) * length];
    let (originals, varied) = values.split_at_mut(count * length);
    let share = count.div_ceil(rayon::current_num_threads()).max(1);
    let mut workers = vec![first];
    while workers.len() * share < count {
        let next = workers[0].another(settings)?;
        workers.push(next);
    }
    let facts: Vec<Vec<ImageFacts>> = originals
        .par_chunks_mut(length * share)
        .zip(images.paths.par_chunks(share))
        .zip(workers.par_iter_mut())
        .map(|((values, paths), extractor)| {
            let work = values.chunks_exact_mut(length).zip(paths);
            work.map(|(out, path)| {
                let name = images.relative(path);
                let facts = one_image(extractor, cache.as_ref(), path, &name, images.reading, out);
                progress.advance(1);
                facts
            })
            .collect::<Result<Vec<_>, _>>()
        })
        .collect::<Result<_, _>>()?;
    progress.finish();
    let cached = cache.as_ref().map_or(0, Cache::hits);
    if cache.is_some() {
        log::info!("features of {cached} of {count} images came from the cache");
    }

    if let Some(variation) = settings.variation {
        extract_copies(&mut workers, images, variation, copies, varied)?;
    }
    let facts: Vec<ImageFacts> = facts.into_iter().flatten().collect();
    Ok(Features {
        values,
        images: count,
        copies,
        grid,
        dimensions,
        set: ImageSet::of(&facts),
        cached,
    })
}

/// Features of `copies` varied copies of each image, `[images, copies, cells, dimensions]`.
fn extract_copies(
    workers: &mut [Extractor],
    images: &GoodImages,
    (variation, seed): (Variation, u64),
    copies: usize,
    out: &mut [f32],
) -> Result<(), TrainError> {
    let count = images.paths.len();
    let length = out.len() / count;
    let share = count.div_ceil(workers.len()).max(1);
    let progress = Progress::new("varied copies", count as u64);
    out.par_chunks_mut(length * share)
        .zip(images.paths.par_chunks(share))
        .zip(workers.par_iter_mut())
        .enumerate()
        .try_for_each(|(worker, ((out, paths), extractor))| {
            for (index, (out, path)) in out.chunks_exact_mut(length).zip(paths).enumerate() {
                let image = (worker * share + index) as u64;
                let mut rng = Rng::stream(seed, VARIATION_STREAM + image);
                let frame = images.read(path)?;
                for out in out.chunks_exact_mut(length / copies) {
                    let copy = variation.copy(&frame, &mut rng);
                    let copy = copy.map_err(|source| ImageFileError::Frame {
                        path: path.clone(),
                        source,
                    })?;
                    extractor
                        .run(&copy, out)
                        .map_err(|source| TrainError::Image {
                            path: path.clone(),
                            source,
                        })?;
                }
                progress.advance(1);
            }
            Ok::<_, TrainError>(())
        })?;
    progress.finish();
    Ok(())
}
