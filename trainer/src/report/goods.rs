//! Cards of good images with the maps of their held-out scores.

use super::gallery::shown;
use crate::dataset::GoodImages;
use crate::error::TrainError;
use crate::fit::outliers::Outlier;
use partgate::product::Product;
use partgate::score::ScoreMap;
use partgate::verdict::Verdict;
use partgate::view::{Badge, Card, NetworkView, Picture, ScoreBar, Tone, overlay};

pub(super) struct Goods<'a> {
    product: &'a Product,
    view: NetworkView,
    map: ScoreMap,
}

impl<'a> Goods<'a> {
    pub(super) fn new(product: &'a Product) -> Result<Self, TrainError> {
        let manifest = product.manifest();
        let size = manifest.input.size();
        Ok(Self {
            product,
            view: NetworkView::new(manifest.input.clone()),
            map: ScoreMap::new(
                manifest.backbone.grid(size),
                size,
                manifest.method.sigma,
                product.ignore().cloned(),
            ),
        })
    }

    pub(super) fn card(&mut self, good: &Outlier, images: &GoodImages) -> Result<Card, TrainError> {
        let path = images.root.join(&good.image);
        let frame = images.read(&path)?;
        let seen = self.view.picture(&frame)?;
        let size = self.view.size();
        let manifest = self.product.manifest();
        let thresholds = &manifest.thresholds;
        let (width, height) = shown(self.product, size, &frame);
        let picture = |rgb: &[u8], what: &str| {
            Picture::jpeg(
                rgb,
                size.width,
                size.height,
                format!("{}, {what}", good.image),
            )
            .map(|p| p.shown_at(width, height))
            .map_err(|e| TrainError::Setting(format!("{}: {e}", path.display())))
        };
        let mut pictures = vec![picture(&seen, "as the network sees it")?];
        if good.cells.len() == manifest.backbone.grid(size).area() {
            self.map.score(&good.cells);
            // An ensemble's thresholds are for maps that are divided by their scales.
            let scale = manifest.member_scales.first().copied().unwrap_or(1.0);
            let map: Vec<f32> = self.map.pixels().iter().map(|v| v / scale).collect();
            let painted = overlay(&seen, &map, size, thresholds);
            pictures.push(picture(&painted, "held-out score map")?);
        }
        let verdict = thresholds.verdict(good.score);
        let tone = match verdict {
            Verdict::Ok => Tone::Good,
            Verdict::Ng => Tone::Bad,
            Verdict::Unknown => Tone::Unsure,
        };
        let ng = thresholds.ng.threshold;
        Ok(Card {
            pictures,
            caption: good.image.clone(),
            note: match &good.alike {
                Some(other) => format!(
                    "only {other} shows the same; without it {:.2} times the median",
                    good.over_median
                ),
                None => format!("held-out score, {:.2} times the median", good.over_median),
            },
            badges: vec![Badge::new(verdict.to_string(), tone)],
            score: Some(ScoreBar {
                score: good.score,
                unknown: thresholds.unknown.threshold,
                ng,
                top: (ng * 1.5).max(f32::MIN_POSITIVE),
                tone,
            }),
        })
    }
}
