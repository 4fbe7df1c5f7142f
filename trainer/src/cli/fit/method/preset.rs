//! `--preset`: every setting of a published method at once, for a host.

use super::input::SizeArgument;
use super::{Method, MethodArgs, NetworkName};
use crate::fit::catalogue;
use clap::ValueEnum;
use partgate::size::Size;

/// Published methods by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Preset {
    /// PatchCore (Roth et al., CVPR 2022), the baseline of its code: 256 to 224 pixels, 3 x 3 boxes, 1,024
    /// values, 10 % of the cells in the bank
    Patchcore,
    /// PNI, first version: as pni, with scores over the distribution coreset only
    PniV1,
    /// PNI (Bae et al., ICCV 2023): 512 to 480 pixels, 5 x 5 boxes, 1,024 values, 1 % in the bank, 2,048
    /// rows of D, 10 layers of 2,048, windows of 9 x 9, temperature 2, blur 8
    Pni,
    /// N-pad (Jang et al., CVPRW 2023): distributions of 3 x 3 places, k-means, 100 pixels, shifted copies.
    /// Sizes that the text at hand does not give are this project's (docs/method.md)
    NPad,
}

impl Preset {
    /// The line of the published figures that it stands beside.
    fn published(self) -> &'static str {
        match self {
            Preset::Patchcore => "PatchCore, 10 % (its code's baseline)",
            Preset::PniV1 | Preset::Pni => "PNI without refinement (its ablation)",
            Preset::NPad => "N-pad",
        }
    }

    /// The networks that the published figures are of.
    fn network(self) -> &'static str {
        match self {
            Preset::Patchcore => "a Wide ResNet-50",
            Preset::PniV1 | Preset::Pni => "a Wide ResNet-101",
            Preset::NPad => "wide networks",
        }
    }
}

impl MethodArgs {
    /// The arguments that a preset stands for; these where there is none.
    pub(super) fn with_preset(&self) -> Self {
        let mut args = self.clone();
        let Some(preset) = args.published.preset.take() else {
            return args;
        };
        let square = |side| SizeArgument::Given(Size::square(side));
        // No limits but the share.
        (args.min_bank, args.max_bank) = (1, usize::MAX);
        args.projection = Some(128);
        match preset {
            Preset::Patchcore => {
                args.method = Method::Patchcore;
                args.size = square(256);
                args.crop = Some(Size::square(224));
                args.patch = 3;
                args.sigma = Some(4.0);
                args.bank_ratio = 0.1;
                args.published.average = 1024;
            }
            Preset::Pni | Preset::PniV1 => {
                args.method = match preset {
                    Preset::Pni => Method::Pni,
                    _ => Method::PniV1,
                };
                args.size = square(512);
                args.crop = Some(Size::square(480));
                args.patch = 5;
                args.sigma = Some(8.0);
                args.bank_ratio = 0.01;
                args.published.average = 1024;
                args.entries = Some(2048);
                args.network = NetworkName::Paper;
                (args.network_width, args.network_layers) = (Some(2048), Some(10));
                (args.ring, args.window) = (Some(9), Some(9));
            }
            Preset::NPad => {
                args.method = Method::NPad;
                args.size = square(512);
                args.crop = Some(Size::square(480));
                args.patch = 3;
                args.sigma = Some(8.0);
                (args.bank_ratio, args.max_bank) = (0.01, 1000);
                args.published.channels = 100;
                args.published.of_centroids();
                args.published.top_pixels = 100;
                args.vary = args.vary.or_else(|| "shift=1".parse().ok());
            }
        }
        args
    }

    /// What a reader of figures must know of a preset.
    pub(crate) fn preset_note(&self) -> Option<String> {
        let preset = self.published.preset?;
        let shown = preset.to_possible_value()?;
        let over = if self.backbone == catalogue::DEFAULT {
            format!(
                "; the published figures are of {}, these of {}, so name a --backbone",
                preset.network(),
                self.backbone
            )
        } else {
            format!("; the published figures are of {}", preset.network())
        };
        Some(format!(
            "--preset {} has the settings behind `{}`{over}.",
            shown.get_name(),
            preset.published()
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::fit::MethodArgs;
    use crate::fit::reduction::Reduction;
    use crate::fit::settings::{BankKind, NetworkForm, Settings};
    use clap::Parser;
    use partgate::score::Rule;
    use partgate::size::Size;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        method: MethodArgs,
    }

    fn settings(preset: &str) -> Settings {
        let parsed = Options::parse_from(["fit", "--preset", preset]);
        assert!(parsed.method.preset_note().is_some());
        parsed.method.settings("test").expect("usable settings")
    }

    #[test]
    fn presets_have_the_published_settings() {
        let patchcore = settings("patchcore");
        let input = &patchcore.features.input;
        assert_eq!(
            (input.resize, input.crop),
            (Size::square(256), Size::square(224))
        );
        assert_eq!(patchcore.rule.expect("a rule").rule, Rule::Patchcore);
        assert_eq!((patchcore.features.patch, patchcore.bank_ratio), (3, 0.1));
        assert_eq!(
            (patchcore.sigma, patchcore.projection),
            (Some(4.0), Some(128))
        );
        assert_eq!(patchcore.reduction, Some(Reduction::Average(1024)));
        for (name, rule) in [("pni", Rule::Pni), ("pni-v1", Rule::PniV1)] {
            let pni = settings(name);
            let input = &pni.features.input;
            assert_eq!(
                (input.resize, input.crop),
                (Size::square(512), Size::square(480))
            );
            assert_eq!(pni.rule.expect("a rule").rule, rule);
            assert_eq!(
                (pni.features.patch, pni.bank_ratio, pni.sigma),
                (5, 0.01, Some(8.0))
            );
            let paper = NetworkForm::Paper {
                width: 2048,
                layers: 10,
            };
            assert_eq!((pni.network, pni.entries), (paper, 2048));
            assert_eq!((pni.ring, pni.window), (Some(9), Some(9)));
        }
        let n_pad = settings("n-pad");
        assert_eq!(n_pad.bank, BankKind::Centroids);
        assert_eq!(n_pad.reduction, Some(Reduction::Channels(100)));
        assert!(n_pad.features.variation.is_some());
        let rule = n_pad.rule.expect("a rule");
        assert_eq!((rule.rule, rule.top_pixels), (Rule::NPad, 100));
        assert!(rule.n_pad.is_some());
    }

    #[test]
    fn what_a_preset_sets_is_not_set_twice() {
        for option in [
            ["--method", "patchcore"],
            ["--size", "256"],
            ["--top-pixels", "3"],
        ] {
            let line = ["fit", "--preset", "pni", option[0], option[1]];
            assert!(Options::try_parse_from(line).is_err(), "{option:?}");
        }
        let free = ["fit", "--preset", "pni", "--seed", "3", "--folds", "3"];
        assert!(Options::try_parse_from(free).is_ok());
    }
}
