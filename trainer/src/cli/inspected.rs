//! Pictures that a product inspects, with what other commands take from that.

use crate::error::TrainError;
use crate::progress::Progress;
use partgate::backbone::Threads;
use partgate::frame::file::read_picture;
use partgate::inspection::Inspector;
use partgate::product::{Inputs, LightMeasure, Product};
use rayon::prelude::*;
use std::path::PathBuf;

/// What a product makes of a picture.
pub(super) struct Inspected {
    pub(super) score: f32,
    pub(super) light: LightMeasure,
    /// Digest of the picture as it is read.
    pub(super) content: [u8; 32],
    /// Width and height, pixels.
    pub(super) size: [u32; 2],
    /// The first member's features, `[cells, dimensions]`; empty where nobody asked for them.
    pub(super) features: Vec<f32>,
}

/// Inspects the pictures at `paths`, read as the product reads. `what` names them to the user.
pub(super) fn inspected(
    product: &Product,
    paths: &[PathBuf],
    what: &str,
    with_features: bool,
) -> Result<Vec<Inspected>, TrainError> {
    let progress = Progress::new(what, paths.len() as u64);
    let share = paths.len().div_ceil(rayon::current_num_threads()).max(1);
    let found: Vec<Vec<Inspected>> = paths
        .par_chunks(share)
        .map(|paths| {
            let mut inspector = Inspector::new(product, &Threads::default())?;
            let mut found = Vec::with_capacity(paths.len());
            for path in paths {
                let frame = read_picture(path, product.reading())?.frame;
                let inspection = inspector
                    .inspect(&frame)
                    .map_err(|source| TrainError::Image {
                        path: path.clone(),
                        source,
                    })?;
                found.push(Inspected {
                    score: inspection.score,
                    light: LightMeasure::of(&frame),
                    content: Inputs::content_of(&frame),
                    size: [frame.width() as u32, frame.height() as u32],
                    features: if with_features {
                        inspector.features().to_vec()
                    } else {
                        Vec::new()
                    },
                });
                progress.advance(1);
            }
            Ok::<_, TrainError>(found)
        })
        .collect::<Result<_, _>>()?;
    progress.finish();
    Ok(found.into_iter().flatten().collect())
}
