//! Good images to a product.
//!
//! `settings -> plan -> study (features, folds) -> held-out scores -> choice, refinement -> member
//! -> ensemble -> bundle`; each step imports only from steps before it.

mod alike;
pub(crate) mod amend;
pub(crate) mod aspect;
mod available;
pub(crate) mod background;
mod bundle;
mod cache;
pub(crate) mod catalogue;
mod centroids;
pub(crate) mod choice;
mod conditions;
pub(crate) mod copies;
mod coreset;
mod density;
mod description;
mod discriminant;
pub(crate) mod ensemble;
mod features;
pub(crate) mod fitted_bank;
mod fitter;
#[cfg(test)]
mod format_tests;
mod gaussian;
pub(crate) mod glancing;
mod golden;
mod held_out;
mod light;
#[cfg(test)]
mod made_up_products;
pub(crate) mod member;
mod n_pad;
mod needs;
mod neighbourhood;
pub(crate) mod operating;
pub(crate) mod outliers;
mod pairwise;
pub(crate) mod plan;
mod position;
mod principal;
pub(crate) mod reduction;
#[cfg(test)]
mod reference;
mod refined;
mod refinement;
pub(crate) mod region;
pub(crate) mod report;
#[cfg(test)]
mod rule_tests;
pub(crate) mod rules;
mod seconds;
mod sections;
pub(crate) mod settings;
mod shift;
pub(crate) mod size_choice;
pub(crate) mod size_ladder;
pub(crate) mod study;
pub(crate) mod thresholds;
mod training;
pub(crate) mod variation;

pub(crate) use bundle::{Bundle, without_spread};
pub(crate) use cache::CacheSettings;
pub(crate) use features::{FeatureSettings, digest_of};
pub(crate) use needs::{bundle_bytes, check_memory};
pub(crate) use seconds::FitSeconds;

use crate::dataset::GoodImages;
use crate::error::TrainError;
use member::fit_member;
use report::FittedProduct;
use seconds::timed;
use settings::Settings;
use std::time::Instant;
use thresholds::Risk;

/// Fits a product on `images`. The bundle has the same bytes for the same images, settings and
/// version, whatever the number of threads.
pub(crate) fn fit(images: &GoodImages, settings: &Settings) -> Result<FittedProduct, TrainError> {
    let started = Instant::now();
    let mut seconds = FitSeconds::default();
    check_images(images, settings.risk)?;
    let plans = settings.members()?;
    check_memory(&plans, images.paths.len())?;
    let mut members = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        if plans.len() > 1 {
            log::info!(
                "member {} of {}: {} at {} px",
                index + 1,
                plans.len(),
                plan.file.spec.name,
                plan.settings.features.input.size().briefly()
            );
        }
        members.push(fit_member(images, plan, &mut seconds)?);
    }
    let bundle = timed(&mut seconds.bundle, || {
        Bundle::new(images, settings, &members)
    })?;
    seconds.total = started.elapsed().as_secs_f64();
    FittedProduct::new(images, settings, &members, bundle, seconds)
}

/// Refuses fewer images than thresholds need.
fn check_images(images: &GoodImages, risk: Risk) -> Result<(), TrainError> {
    let count = images.paths.len();
    if count >= 2 {
        return Ok(());
    }
    Err(TrainError::Dataset {
        path: images.root.clone(),
        problem: format!(
            "{}: thresholds need held-out images, so at least 2 are needed; 30 make a usable product, {} prove that at most {} % of good parts are rejected",
            match count {
                1 => "1 good image".to_owned(),
                n => format!("{n} good images"),
            },
            thresholds::needed_for_order_statistic(risk.operating.share(), risk.confidence),
            100.0 * risk.operating.share(),
        ),
    })
}
