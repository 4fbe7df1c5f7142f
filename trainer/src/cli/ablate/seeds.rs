//! `ablate --published`: published methods and their parts against the plain bank over several seeds. One
//! seed is luck: the same method passes 5 to 25 % of the same defects.

use super::{AblateArgs, Ablation, BudgetShares, GLANCING, N_PAD, Row};
use crate::cli::print_json;
use crate::dataset::{GoodImages, TestImage};
use crate::error::TrainError;
use crate::fit::background::BackgroundRequest;
use crate::fit::reduction::Reduction;
use crate::fit::rules::RuleSpec;
use crate::fit::settings::{BankKind, Settings};
use partgate::backbone::InputGeometry;
use partgate::score::{Interpolation, Rule};
use partgate::size::Size;
use serde::Serialize;

/// Budgets of false rejects that the table has columns of.
const BUDGETS: [f64; 2] = [0.01, 0.05];

/// One way to fit, with the rules that share its features and banks.
struct Way {
    /// Before the rule's name; empty for the settings as they are given.
    name: String,
    settings: Settings,
    rules: Vec<RuleSpec>,
}

/// What is compared, the plain bank first.
fn ways(given: &Settings, goods: &GoodImages) -> Vec<Way> {
    let plain = RuleSpec::BASELINE;
    let way = |name: &str, alter: &dyn Fn(&mut Settings), rules: &[RuleSpec]| {
        let mut settings = given.clone();
        alter(&mut settings);
        Way {
            name: name.into(),
            settings,
            rules: rules.to_vec(),
        }
    };
    let means = [(3, 1), (9, 1), (1, 100), (1, 1000)];
    let mut rules = vec![plain];
    rules.extend(means.map(|(rows, pixels)| plain.with_means(rows, pixels)));
    rules.push(RuleSpec {
        interpolation: Interpolation::InverseDistance,
        ..plain
    });
    rules.push(plain.with_density(0.5));
    rules.extend([Rule::Position, Rule::Pni, Rule::PniV1].map(RuleSpec::of));
    let as_given = |_: &mut Settings| {};
    let mut ways = vec![
        way("", &as_given, &rules),
        way("k-means", &|s| s.bank = BankKind::Centroids, &[plain]),
        way(
            "100 channels",
            &|s| s.reduction = Some(Reduction::Channels(100)),
            &[plain],
        ),
        way(
            "64 directions",
            &|s| s.reduction = Some(Reduction::Principal(64)),
            &[plain],
        ),
    ];
    for directions in [64, 96] {
        let alter = |s: &mut Settings| s.reduction = Some(Reduction::Discriminant(directions));
        ways.push(way(
            &format!("{directions} learnt directions"),
            &alter,
            &[plain],
        ));
    }
    // A covariance per cell of all values takes too much.
    let short = |s: &mut Settings| s.reduction = Some(Reduction::Channels(64));
    ways.push(way("64 channels", &short, &[N_PAD]));
    ways.push(way("", &as_given, &[GLANCING]));
    let patchcore = |s: &mut Settings| {
        s.features.input = InputGeometry {
            roi: s.features.input.roi,
            resize: Size::square(256),
            crop: Size::square(224),
        };
        s.sigma = Some(4.0);
        (s.bank_ratio, s.min_bank, s.max_bank) = (0.1, 1, usize::MAX);
        s.projection = Some(128);
    };
    ways.push(way("preset patchcore", &patchcore, &[plain]));
    if let Ok(request) = "learnt".parse::<BackgroundRequest>()
        && let Ok(background) = request.learn(goods)
    {
        let alter = |s: &mut Settings| s.features.background = Some(background.clone());
        ways.push(way("background learnt", &alter, &[plain]));
    }
    for way in &mut ways {
        if let [rule] = way.rules[..] {
            way.settings.rule = Some(rule);
        }
    }
    ways
}

/// A line of the table: one way over the seeds.
#[derive(Serialize)]
struct Line {
    name: String,
    seeds: usize,
    image_auroc: Vec<f64>,
    aupro: Vec<f64>,
    /// Of each seed.
    budgets: Vec<Vec<BudgetShares>>,
}

impl Line {
    fn add(&mut self, row: Row) {
        self.seeds += 1;
        self.image_auroc.extend(row.image_auroc);
        self.aupro.extend(row.aupro);
        self.budgets.push(row.budgets);
    }

    fn printed(&self) -> String {
        let at = |budget: f64, share: fn(&BudgetShares) -> f64| {
            let of_seeds = self.budgets.iter().flatten();
            let of_budget = of_seeds.filter(|b| (b.budget - budget).abs() < 1e-9);
            spread(&of_budget.map(share).collect::<Vec<_>>())
        };
        let mut cells = vec![
            self.name.clone(),
            spread(&self.image_auroc),
            spread(&self.aupro),
        ];
        for budget in BUDGETS {
            cells.push(at(budget, |b| b.escapes));
            cells.push(at(budget, |b| b.false_rejects));
        }
        format!("| {} |", cells.join(" | "))
    }
}

/// Mean of shares and, in brackets, the least and the most, per cent.
fn spread(values: &[f64]) -> String {
    if values.is_empty() {
        return "-".into();
    }
    let percent = |v: f64| format!("{:.1}", 100.0 * v);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if percent(least) == percent(most) {
        return percent(mean);
    }
    format!(
        "{} ({} to {})",
        percent(mean),
        percent(least),
        percent(most)
    )
}

pub(super) fn run(
    args: &AblateArgs,
    goods: &GoodImages,
    tests: &[TestImage],
    given: &Settings,
) -> Result<(), TrainError> {
    let mut lines: Vec<Line> = Vec::new();
    for seed in given.seed..given.seed + args.seeds {
        log::info!("seed {seed}");
        let mut seeded = given.clone();
        seeded.seed = seed;
        let mut ablation = Ablation {
            goods,
            tests,
            frames: Vec::new(),
            baseline: None,
            plain: None,
            rows: Vec::new(),
            json: true,
        };
        for way in ways(&seeded, goods) {
            let Way {
                name,
                settings,
                rules,
            } = way;
            let prefix = if name.is_empty() {
                name
            } else {
                format!("{name}, ")
            };
            let named = |rule: RuleSpec| format!("{prefix}{rule}");
            match ablation.study(&settings, &rules, named) {
                // Others can be compared all the same.
                Err(error @ (TrainError::Memory { .. } | TrainError::Setting(_))) => {
                    log::warn!("no line for {prefix}{}: {error}", rules[0]);
                }
                other => other?,
            }
        }
        for row in ablation.rows {
            match lines.iter_mut().find(|line| line.name == row.name) {
                Some(line) => line.add(row),
                None => {
                    let mut line = Line {
                        name: row.name.clone(),
                        seeds: 0,
                        image_auroc: Vec::new(),
                        aupro: Vec::new(),
                        budgets: Vec::new(),
                    };
                    line.add(row);
                    lines.push(line);
                }
            }
        }
    }
    if args.common.json {
        return print_json(&lines);
    }
    println!(
        "{} good images fitted, {} tested, {} seeds\n",
        goods.paths.len(),
        tests.len(),
        args.seeds
    );
    println!(
        "| rule | image AUROC | AUPRO | escapes at 1 % | false rejects at 1 % | escapes at 5 % | false rejects at 5 % |"
    );
    println!("|---|---|---|---|---|---|---|");
    for line in &lines {
        println!("{}", line.printed());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_figure_over_seeds_has_its_mean_and_its_range() {
        assert_eq!(spread(&[0.05, 0.25, 0.075]), "12.5 (5.0 to 25.0)");
        assert_eq!(spread(&[1.0, 1.0]), "100.0");
        assert_eq!(spread(&[]), "-");
    }
}
