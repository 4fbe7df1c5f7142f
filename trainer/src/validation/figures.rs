//! Figures of a validation, and their names for people.

use serde::{Deserialize, Serialize};

/// Figures of one way of scoring. `None` where the data cannot tell (no masks, one class).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) image_auroc: Option<f64>,
    /// DeLong, 95 %.
    pub(crate) image_auroc_interval: Option<[f64; 2]>,
    pub(crate) pixel_auroc: Option<f64>,
    pub(crate) aupro: Option<f64>,
    /// At the best threshold for this very test set: an oracle's figure.
    pub(crate) image_f1_max: Option<f64>,
    pub(crate) image_f1_max_threshold: Option<f64>,
    pub(crate) pixel_f1_max: Option<f64>,
    pub(crate) false_reject_rate_at_full_recall: Option<f64>,
    /// Goods that are not OK at the product's own thresholds.
    pub(crate) false_reject_rate: Option<f64>,
    /// Clopper-Pearson, 95 %.
    pub(crate) false_reject_interval: Option<[f64; 2]>,
    /// Defectives that are OK at the product's own thresholds.
    pub(crate) escape_rate: Option<f64>,
    /// Clopper-Pearson, 95 %.
    pub(crate) escape_interval: Option<[f64; 2]>,
}

/// A figure with its name for people.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    /// Found with the labels of the very images it is measured on: no line can reach it.
    pub(crate) oracle: bool,
    pub(crate) value: fn(&Figures) -> Option<f64>,
    /// 95 %.
    pub(crate) interval: fn(&Figures) -> Option<[f64; 2]>,
    /// What it is a share of, if it is one of counted images.
    pub(super) counts: Option<Counts>,
}

/// Images that are counted.
#[derive(Clone, Copy)]
pub(super) enum Counts {
    FalseRejects,
    Escapes,
}

impl Measure {
    const fn plain(name: &'static str, value: fn(&Figures) -> Option<f64>) -> Self {
        Self {
            name,
            oracle: false,
            value,
            interval: |_| None,
            counts: None,
        }
    }

    const fn oracle(name: &'static str, value: fn(&Figures) -> Option<f64>) -> Self {
        Self {
            oracle: true,
            ..Self::plain(name, value)
        }
    }

    const fn with(self, interval: fn(&Figures) -> Option<[f64; 2]>) -> Self {
        Self { interval, ..self }
    }

    const fn counting(self, counts: Counts) -> Self {
        Self {
            counts: Some(counts),
            ..self
        }
    }
}

/// Every figure, in the order in which tables show them.
pub(crate) const MEASURES: [Measure; 8] = [
    Measure::plain("false rejects at own threshold", |f| f.false_reject_rate)
        .with(|f| f.false_reject_interval)
        .counting(Counts::FalseRejects),
    Measure::plain("escapes at own threshold", |f| f.escape_rate)
        .with(|f| f.escape_interval)
        .counting(Counts::Escapes),
    Measure::plain("image AUROC", |f| f.image_auroc).with(|f| f.image_auroc_interval),
    Measure::plain("pixel AUROC", |f| f.pixel_auroc),
    Measure::plain("AUPRO (to 30 % FPR)", |f| f.aupro),
    Measure::oracle("image F1-max", |f| f.image_f1_max),
    Measure::oracle("pixel F1-max", |f| f.pixel_f1_max),
    Measure::oracle("false rejects at 100 % recall", |f| {
        f.false_reject_rate_at_full_recall
    }),
];

/// Per cent with two decimals; a dash for what the data cannot tell.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{:.2}", v * 100.0))
}
