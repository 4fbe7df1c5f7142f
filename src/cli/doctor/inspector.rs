//! Checks the product on this machine: it opens, gives the trainer's results, and is fast enough
//! for the gate.

use super::finding::{Finding, Findings};
use crate::cli::failure::causes;
use crate::cli::places;
use crate::cli::progress::Progress;
use partgate::config::{CameraSource, LineConfig, ProductPlace};
use partgate::frame::Frame;
use partgate::inspection::Inspector;
use partgate::network::{Accelerator, KernelReport, Threads};
use partgate::product::Product;
use partgate::station::sanity;
use std::error::Error;
use std::time::Duration;

/// Runs before the measured ones.
const WARM_UP: u32 = 3;

fn one_line(error: &(dyn Error + 'static)) -> String {
    causes(error).join(": ")
}

/// Opens the configured product.
fn open(config: &LineConfig, findings: &mut Findings) -> Option<Product> {
    match config.product.open() {
        Ok(product) => Some(product),
        Err(error) => {
            findings.push(Finding::failed(
                "product",
                one_line(&error),
                match &config.product {
                    ProductPlace::File(file) => format!(
                        "copy the bundle to {} again, or set `product`",
                        file.display()
                    ),
                    ProductPlace::Store(_) => "`partgate install FILE`".into(),
                },
            ));
            None
        }
    }
}

/// Loads the product as the line does, and says what runs it.
fn load(config: &LineConfig, product: &Product, findings: &mut Findings) -> Option<Inspector> {
    let check = "product loads";
    let threads = match Threads::new(config.inference.threads_here()) {
        Ok(threads) => threads,
        Err(error) => {
            let fix = "fewer inference.threads, or a higher limit of threads for this user";
            findings.push(Finding::failed(check, one_line(&error), fix));
            return None;
        }
    };
    match Inspector::placed(product, &threads, config.inference.placement()) {
        Ok(inspector) => {
            findings.push(kernels(&inspector, config));
            Some(inspector)
        }
        // What is missing has its finding already.
        Err(error) if error.is_accelerator() => {
            findings.push(Finding::not_checked(
                check,
                "its backbone cannot run here: see the GPU's checks",
            ));
            None
        }
        Err(error) => {
            let fix = match config.inference.accelerator {
                Accelerator::Cpu => "fit the product again with this version's partgate-train",
                Accelerator::Cuda => {
                    "fit the product with a backbone that runs on the GPU, or set inference.accelerator = \"cpu\""
                }
            };
            findings.push(Finding::failed(check, one_line(&error), fix));
            None
        }
    }
}

/// Loads the configured product and inspects its golden images once.
pub(super) fn warm(config: &LineConfig, findings: &mut Findings) {
    if let Some(product) = open(config, findings)
        && let Some(mut inspector) = load(config, &product, findings)
    {
        findings.push(agreement(&mut inspector, &product));
    }
}

/// Whether each of several products is installed.
fn each_product(config: &LineConfig, findings: &mut Findings) {
    let Some(products) = config.products().filter(|products| products.several()) else {
        return;
    };
    let check = "products";
    let current = products.current();
    let runs = current
        .as_ref()
        .ok()
        .and_then(|current| current.name.as_deref());
    for name in products.names() {
        let number = products.number_of(name).unwrap_or(0);
        let found = format!("{number}: {name}");
        let running = if runs == Some(name) {
            ", which runs"
        } else {
            ""
        };
        findings.push(match products.whole(name) {
            Ok(identity) => Finding::ok(
                check,
                format!("{found}, revision {}{running}", identity.revision),
            ),
            Err(error) => Finding::warning(
                check,
                format!("{found}{running}: {}", one_line(&error)),
                "`partgate install FILE --line CONFIG`, before somebody asks for it",
            ),
        });
    }
    match products.unserved() {
        Ok(true) => findings.push(Finding::warning(
            check,
            "something else was asked for than what runs, so that no part passes",
            "`partgate choose NAME --line CONFIG`, or ask at the recipe inputs",
        )),
        Ok(false) => {}
        Err(error) => findings.push(Finding::failed(
            check,
            one_line(&error),
            "`partgate choose NAME --line CONFIG`",
        )),
    }
}

/// Opens the configured product, inspects its golden images, and measures `runs` inspections.
pub(super) fn check(config: &LineConfig, runs: u32, findings: &mut Findings) {
    each_product(config, findings);
    let Some(product) = open(config, findings) else {
        return;
    };
    findings.push(opened(config, &product));
    findings.extend(size(config, &product));
    findings.push(pictures(config, &product));
    let Some(mut inspector) = load(config, &product, findings) else {
        return;
    };
    if config.inference.require_integers {
        findings.push(integers(&inspector));
    }
    findings.push(agreement(&mut inspector, &product));
    let golden = product.manifest().goldens.first();
    match golden.map(|golden| product.golden_frame(golden)) {
        None => findings.push(Finding::not_checked(
            "inspection time",
            "the bundle has no golden image to measure with",
        )),
        Some(Err(error)) => findings.push(Finding::failed(
            "inspection time",
            one_line(&error),
            "fit the product again: its golden images are broken",
        )),
        Some(Ok(frame)) => match measure(&mut inspector, &frame, runs) {
            Ok(times) => findings.push(speed(config, &times)),
            Err(why) => findings.push(Finding::failed(
                "inspection time",
                why,
                "`partgate selftest` shows more",
            )),
        },
    }
}

fn opened(config: &LineConfig, product: &Product) -> Finding {
    let check = "product";
    let manifest = product.manifest();
    let found = format!(
        "{}: {}, revision {}, {} golden images",
        product.origin(),
        manifest.name,
        manifest.revision,
        manifest.goldens.len()
    );
    match config.judge(product.signature()) {
        Err(refusal) => Finding::failed(check, found, one_line(&*refusal)),
        Ok(origin) if origin.is_proven() => Finding::ok(check, format!("{found}, {origin}")),
        Ok(origin) => Finding::warning(
            check,
            format!("{found}, {origin}"),
            "its origin is not proven; sign it with a production key (`partgate-train sign`)",
        ),
    }
}

fn size(config: &LineConfig, product: &Product) -> Option<Finding> {
    let CameraSource::V4l2(camera) = &config.camera.source else {
        return None;
    };
    let check = "picture size";
    let (width, height) = (camera.width as usize, camera.height as usize);
    let found = format!("{width} x {height}");
    Some(match product.check_size(width, height) {
        Ok(()) => Finding::ok(check, format!("{found}, as the product expects")),
        Err(problem) => Finding::failed(
            check,
            problem.to_string(),
            "set camera.width and camera.height to the size of the pictures that the product was fitted on",
        ),
    })
}

/// Whether the product's own good parts pass the picture checks.
fn pictures(config: &LineConfig, product: &Product) -> Finding {
    let check = "picture checks";
    match sanity(config, product) {
        Ok(None) => Finding::not_checked(check, "[sanity] sets no limit"),
        Ok(Some(_)) => Finding::ok(check, "the golden good images keep every limit"),
        Err(error) => Finding::failed(
            check,
            one_line(&error),
            "choose the limit by pictures of good parts (docs/config.md), or leave it out",
        ),
    }
}

fn kernels(inspector: &Inspector, config: &LineConfig) -> Finding {
    let kernels = inspector.kernels();
    let word = |report: &KernelReport| {
        format!(
            "{}, {} nodes in integers, {} in float, {} threads",
            report.engine, report.integer_nodes, report.float_nodes, report.threads
        )
    };
    let mut found = format!(
        "{}; nearest neighbours on {}",
        word(&kernels.backbone),
        kernels.nearest
    );
    for place in places(&kernels) {
        found += &format!("; {place}");
    }
    let board = &config.board.accelerator;
    if board != "cpu" && config.inference.accelerator == Accelerator::Cpu {
        found += &format!("; the board's {board} is not used: inference.accelerator is \"cpu\"");
    }
    Finding::ok("kernels", found)
}

fn integers(inspector: &Inspector) -> Finding {
    let check = "integers";
    match inspector.require_integers() {
        Ok(()) => Finding::ok(check, "every network runs in integers"),
        Err(error) => Finding::failed(
            check,
            one_line(&error),
            "fit the product with an int8 backbone, or set inference.require_integers = false",
        ),
    }
}

fn agreement(inspector: &mut Inspector, product: &Product) -> Finding {
    let check = "self-test";
    let fix = "this machine does not inspect as the trainer did: do not run; `partgate selftest` has the figures";
    match inspector.selftest(product) {
        Err(error) => Finding::failed(check, one_line(&error), fix),
        Ok(goldens) if goldens.is_empty() => Finding::failed(
            check,
            "the bundle has no golden images, so nothing can be compared",
            "fit it again with partgate-train",
        ),
        Ok(goldens) => {
            let away: Vec<&str> = goldens
                .iter()
                .filter(|golden| !golden.agrees)
                .map(|golden| &*golden.name)
                .collect();
            if away.is_empty() {
                Finding::ok(check, format!("all {} golden images agree", goldens.len()))
            } else {
                let found = format!(
                    "{} of {} disagree: {}",
                    away.len(),
                    goldens.len(),
                    away.join(", ")
                );
                Finding::failed(check, found, fix)
            }
        }
    }
}

/// Times of `runs` inspections, shortest first.
fn measure(inspector: &mut Inspector, frame: &Frame, runs: u32) -> Result<Vec<Duration>, String> {
    let mut times = Vec::new();
    let mut progress = Progress::new("measuring", (runs + WARM_UP) as usize);
    for run in 0..runs + WARM_UP {
        let inspection = inspector.inspect(frame).map_err(|e| one_line(&e))?;
        progress.step();
        if run >= WARM_UP {
            times.push(inspection.total());
        }
    }
    times.sort_unstable();
    Ok(times)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Compares the sorted `times` with the time that the gate leaves.
fn speed(config: &LineConfig, times: &[Duration]) -> Finding {
    let check = "inspection time";
    let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
        return Finding::not_checked(check, "nothing was measured");
    };
    let rate = 60_000.0 / ms(*longest).max(1e-3);
    let mut found = format!(
        "median {:.1} ms, longest {:.1} ms of {} runs: at most {rate:.0} parts per minute",
        ms(*median),
        ms(*longest),
        times.len()
    );
    if cfg!(debug_assertions) {
        found += " (a build with debug checks: the release build is quicker)";
    }
    if *longest > config.inference.timeout {
        return Finding::failed(
            check,
            format!(
                "{found}; inference.timeout_ms = {:.0}",
                ms(config.inference.timeout)
            ),
            "every such part is a fault: a quicker machine, more threads, or a smaller product (`partgate bench`)",
        );
    }
    let Some(budget) = config.inspection_budget() else {
        return Finding::ok(
            check,
            format!(
                "{found}; the gate is in encoder counts, so the belt's speed decides whether that is enough"
            ),
        );
    };
    found += &format!("; the gate leaves {:.1} ms", ms(budget));
    let pitch = config.trigger.min_pitch;
    if *median > budget {
        Finding::failed(
            check,
            found,
            "most verdicts would be late and their parts rejected: a larger gate.after_ms, a quicker machine, or a smaller product",
        )
    } else if *longest > budget.mul_f64(0.8) {
        Finding::warning(
            check,
            found,
            "some verdicts will be late and their parts rejected: leave a fifth of the time as reserve",
        )
    } else if *median > pitch {
        Finding::warning(
            check,
            format!(
                "{found}; parts may follow each other every {:.1} ms",
                ms(pitch)
            ),
            "parts at the closest pitch wait for the inspector until READY is switched off: fewer threads do not help, a quicker machine or a wider trigger.min_pitch_ms does",
        )
    } else {
        Finding::ok(check, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use std::path::Path;

    #[test]
    fn times_are_inspected_against_the_gate() {
        // 310 ms from the latest frame to the gate, parts every 100 ms, time-out 1000 ms.
        let text = partgate::config::EXAMPLE;
        let config = LineConfig::parse(text, Path::new("line.toml")).expect("valid");
        let state = |times: &[u64]| {
            let times: Vec<Duration> = times.iter().map(|t| Duration::from_millis(*t)).collect();
            speed(&config, &times).state
        };
        assert_eq!(state(&[20, 30, 90]), State::Ok);
        assert_eq!(state(&[110, 120, 130]), State::Warning);
        assert_eq!(state(&[20, 30, 250]), State::Warning);
        assert_eq!(state(&[20, 320, 330]), State::Failed);
        assert_eq!(state(&[20, 30, 1001]), State::Failed);
        assert_eq!(state(&[]), State::NotChecked);
        let finding = speed(&config, &[Duration::from_millis(30)]);
        assert!(
            finding.found.contains("at most 2000 parts per minute"),
            "{}",
            finding.found
        );
        assert!(
            finding.found.contains("leaves 310.0 ms"),
            "{}",
            finding.found
        );
    }
}
