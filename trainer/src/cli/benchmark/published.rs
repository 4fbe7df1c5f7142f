//! Figures that others published, to stand beside ours. All were measured by those named, with
//! larger backbones, on their own copies of the data; none was measured here.

use crate::report::{Comparison, Published};

const fn line(
    method: &'static str,
    image_auroc: Option<f64>,
    pixel_auroc: Option<f64>,
    aupro: Option<f64>,
) -> Comparison {
    Comparison {
        method,
        image_auroc,
        pixel_auroc,
        aupro,
    }
}

/// A public data set, known by the names of its categories.
pub(super) struct DataSet {
    pub(super) name: &'static str,
    categories: &'static [&'static str],
    figures: &'static [Comparison],
    /// What to keep in mind when comparing.
    pub(super) caution: &'static str,
}

impl DataSet {
    pub(super) fn published(&self) -> Published {
        Published {
            set: self.name,
            figures: self.figures,
        }
    }
}

/// A data set among the categories of a run.
pub(super) struct KnownSet {
    pub(super) set: &'static DataSet,
    /// Whether all of its categories are there.
    pub(super) whole: bool,
}

const MVTEC_AD: DataSet = DataSet {
    name: "MVTec AD",
    categories: &[
        "carpet",
        "grid",
        "leather",
        "tile",
        "wood",
        "bottle",
        "cable",
        "capsule",
        "hazelnut",
        "metal_nut",
        "pill",
        "screw",
        "toothbrush",
        "transistor",
        "zipper",
    ],
    figures: &[
        line(
            "PatchCore (Roth et al., CVPR 2022)",
            Some(0.991),
            Some(0.981),
            Some(0.934),
        ),
        line(
            "PatchCore, 10 % (its code's baseline)",
            Some(0.992),
            Some(0.981),
            Some(0.944),
        ),
        line(
            "PNI (Bae et al., ICCV 2023)",
            Some(0.9956),
            Some(0.9898),
            Some(0.9605),
        ),
        line(
            "PNI, ensemble (Bae et al., ICCV 2023)",
            Some(0.9963),
            Some(0.9906),
            Some(0.9655),
        ),
        line(
            "PNI without refinement, neighbourhood only (its ablation)",
            Some(0.9937),
            Some(0.9866),
            None,
        ),
        line(
            "PNI without refinement, position only (its ablation)",
            Some(0.9948),
            Some(0.9876),
            None,
        ),
        line(
            "PNI without refinement (its ablation)",
            Some(0.9949),
            Some(0.9883),
            None,
        ),
        line("N-pad", Some(0.9937), Some(0.9875), Some(0.951)),
        line(
            "PatchCore, WideResNet-50, re-measured by anomalib",
            Some(0.980),
            Some(0.980),
            None,
        ),
        line(
            "PatchCore, ResNet-18, re-measured by anomalib",
            Some(0.973),
            Some(0.976),
            None,
        ),
    ],
    caution: "means over all 15 categories",
};

const BTAD: DataSet = DataSet {
    name: "BTAD",
    categories: &["01", "02", "03"],
    figures: &[line("PNI (Bae et al., ICCV 2023)", None, Some(0.977), None)],
    caution: "mean over all 3 categories",
};

const MTD: DataSet = DataSet {
    name: "magnetic tile defects",
    categories: &["mtd"],
    figures: &[
        line(
            "PatchCore, 80 % of the goods for training (Roth et al., CVPR 2022)",
            Some(0.979),
            Some(0.849),
            None,
        ),
        line(
            "N-pad, 80 % of the goods for training",
            Some(0.9822),
            Some(0.8543),
            None,
        ),
    ],
    caution: "on the whole set; a folder with fewer good images to fit on gives lower figures",
};

/// The data sets that these categories belong to. A set of one category is known among others, too;
/// `bottle` among others may be anybody's bottle.
pub(super) fn data_sets(names: &[String]) -> Vec<KnownSet> {
    let of = |set: &DataSet, name: &String| {
        let same = |category: &&str| category.eq_ignore_ascii_case(name);
        set.categories.iter().any(same)
    };
    [&MVTEC_AD, &BTAD, &MTD]
        .into_iter()
        .filter_map(|set| {
            let here = names.iter().filter(|name| of(set, name)).count();
            let known = here > 0 && (here == names.len() || set.categories.len() == 1);
            known.then_some(KnownSet {
                set,
                whole: here == set.categories.len(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sets_are_known_by_their_categories() {
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_string()).collect();
            let sets = data_sets(&names);
            sets.into_iter()
                .map(|known| (known.set.name, known.whole))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&["bottle", "screw"]), [("MVTec AD", false)]);
        assert_eq!(found(MVTEC_AD.categories), [("MVTec AD", true)]);
        assert_eq!(found(&["01", "02", "03"]), [("BTAD", true)]);
        assert_eq!(found(&["lid", "MTD"]), [("magnetic tile defects", true)]);
        assert_eq!(found(&["bottle", "lid"]), []);
        assert_eq!(found(&[]), []);
    }
}
