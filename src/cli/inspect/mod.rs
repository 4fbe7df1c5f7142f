//! `partgate inspect`: what a bundle holds, for people and for programs.

mod words;

use crate::cli::failure::{Code, Failure};
use crate::cli::open;
use crate::cli::terminal::{Colour, Out};
use clap::Args;
use partgate::SHIPPED_BACKBONES;
use partgate::product::{GoldenKind, Inputs, Light, Manifest, Operating, Product, Signature};
use partgate::verdict::{Bound, BoundMethod};
use serde::Serialize;
use std::path::PathBuf;
use words::{bytes, method, percent, utc};

/// Show what a bundle holds and what its thresholds rest on
///
/// The whole bundle is checked: a damaged one is an error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  partgate inspect part.pgp\n  partgate inspect part.pgp --json | jq .thresholds.ng.threshold\n\nExit codes: 0 done, 4 the bundle cannot be used."
)]
pub(crate) struct Arguments {
    /// The product bundle
    bundle: PathBuf,
}

#[derive(Serialize)]
struct FileFacts {
    path: PathBuf,
    bytes: usize,
    blake3: String,
    format: u32,
    signature: String,
    /// Name of the backbone if it ships with this program; None for another network.
    shipped_backbone: Option<&'static str>,
    backbone_blake3: String,
    bank_rows: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    file: FileFacts,
    /// What the pictures of the fit were like, without their digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Inputs>,
    light: Option<Light>,
    #[serde(flatten)]
    manifest: &'a Manifest,
    #[serde(skip_serializing_if = "Option::is_none")]
    operating: Option<&'a Operating>,
}

/// The signature in a few words.
pub(super) fn signature(product: &Product) -> String {
    match product.signature() {
        Signature::Unsigned => "unsigned".into(),
        Signature::Ed25519 { public_key, .. } => {
            format!("signed by key {public_key}; whether it is trusted, a board's keys decide")
        }
    }
}

fn facts(product: &Product, path: PathBuf) -> FileFacts {
    let backbone = blake3::hash(product.backbone_onnx()).to_hex();
    let shipped = SHIPPED_BACKBONES
        .iter()
        .find(|(_, digest)| *digest == backbone.as_str());
    FileFacts {
        path,
        bytes: product.size(),
        blake3: product.digest().to_hex().to_string(),
        format: product.format(),
        signature: signature(product),
        shipped_backbone: shipped.map(|(name, _)| *name),
        backbone_blake3: backbone.to_string(),
        bank_rows: product.bank().rows(),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Code, Failure> {
    let product = open(&arguments.bundle)?;
    let file = facts(&product, arguments.bundle.clone());
    let manifest = product.manifest();
    if out.json() {
        let inputs = product.inputs().map(|inputs| Inputs {
            digests: Vec::new(),
            ..inputs.clone()
        });
        let operating = product.operating();
        out.json_page(&Report {
            file,
            inputs,
            manifest,
            operating,
            light: product.light().cloned(),
        })?;
    } else {
        Text { out }.print(&product, &file)?;
    }
    Ok(Code::Done)
}

/// The text output.
struct Text<'a> {
    out: &'a mut Out,
}

impl Text<'_> {
    fn heading(&mut self, text: &str) -> Result<(), Failure> {
        let painted = self.out.paint(text, Colour::Bold);
        self.out.line(format_args!("\n{painted}"))
    }

    fn row(&mut self, label: &str, value: impl std::fmt::Display) -> Result<(), Failure> {
        self.out.line(format_args!("  {label:14}  {value}"))
    }

    fn print(&mut self, product: &Product, file: &FileFacts) -> Result<(), Failure> {
        let m = product.manifest();
        let title = format!("{}, revision {}", m.name, m.revision);
        self.out.line(self.out.paint(title, Colour::Bold))?;
        let part_number = match m.part_number.as_str() {
            "" => "(none)",
            given => given,
        };
        self.row("part number", part_number)?;
        self.row("file", file.path.display())?;
        let size = format!("{} (format {})", bytes(file.bytes as u64), file.format);
        self.row("size", size)?;
        self.row("blake3", &file.blake3)?;
        let signature = match product.signature() {
            Signature::Unsigned => self.out.paint(
                "UNSIGNED: the origin of this bundle is not proven",
                Colour::Unsure,
            ),
            Signature::Ed25519 { .. } => file.signature.clone(),
        };
        self.row("signature", signature)?;
        self.row("made by", format_args!("partgate {}", m.tool_version))?;
        if let Some(unix) = m.created_unix {
            self.row("made at", utc(unix))?;
        }
        let [major, minor, patch] = m.minimum_runtime;
        self.row(
            "needs",
            format_args!("partgate {major}.{minor}.{patch} or later"),
        )?;
        if !m.boards.is_empty() {
            self.row("proven on", m.boards.join(", "))?;
        }
        self.input_and_network(product, file)?;
        self.method(product)?;
        self.thresholds(m)?;
        self.operating(product)?;
        self.training(m)?;
        self.inputs(product)?;
        self.contents(product)
    }

    fn input_and_network(&mut self, product: &Product, file: &FileFacts) -> Result<(), Failure> {
        let m = product.manifest();
        self.heading("Input")?;
        match m.input.roi {
            Some(r) => self.row(
                "region",
                format_args!("{} x {} pixels at ({}, {})", r.width, r.height, r.x, r.y),
            )?,
            None => self.row("region", "the whole frame")?,
        }
        let crop = if m.input.crop == m.input.resize {
            "no crop".to_string()
        } else {
            format!("then the central {}", m.input.crop)
        };
        self.row("resize", format_args!("to {}, {crop}", m.input.resize))?;
        if let Some(ignore) = product.ignore() {
            let pixels = ignore.pixels();
            let share = pixels.iter().filter(|&&p| p).count() as f64 / pixels.len() as f64;
            self.row("ignored", format_args!("{} of the picture", percent(share)))?;
        }

        self.heading("Backbone")?;
        let b = &m.backbone;
        self.row("name", format_args!("{} ({})", b.name, b.precision))?;
        let origin = match file.shipped_backbone {
            Some(name) => format!("yes, {name}"),
            None => "no, the maker's own network".to_string(),
        };
        self.row("shipped", origin)?;
        self.row("licence", &b.licence)?;
        self.row("attribution", &b.attribution)?;
        let taps: Vec<String> = b
            .taps
            .iter()
            .map(|t| {
                format!(
                    "{} ({} channels, stride {})",
                    t.output, t.channels, t.stride
                )
            })
            .collect();
        self.row("taps", taps.join(", "))
    }

    fn method(&mut self, product: &Product) -> Result<(), Failure> {
        let m = product.manifest();
        self.heading("Method")?;
        self.row("rule", m.method.rule)?;
        self.row(
            "bank",
            format_args!(
                "{} rows of {} values, {} of {} training cells ({} asked)",
                product.bank().rows(),
                product.bank().dimensions(),
                percent(product.bank().rows() as f64 / m.training.cells.max(1) as f64),
                m.training.cells,
                percent(m.method.bank_ratio)
            ),
        )?;
        if let Some(background) = product.background() {
            self.row("background", background.in_words())?;
        }
        if let Some(map) = product.members()[0].feature_map() {
            self.row(
                "features",
                format_args!("{} values from {} by a linear map", map.to(), map.from()),
            )?;
        }
        if let Some(encoder) = product.members()[0].encoder_in_words() {
            self.row("encoder", encoder)?;
        }
        let scoring = product.members()[0].scoring().in_words();
        for (name, sentence) in m.method.in_words().into_iter().chain(scoring) {
            self.row(name, sentence)?;
        }
        self.row(
            "map",
            format_args!(
                "{0} x {0} averaging, blur of {1} pixels",
                m.method.patch, m.method.sigma
            ),
        )?;
        self.members(product)
    }

    /// Further members of an ensemble, and how their maps are joined. Most products have none.
    fn members(&mut self, product: &Product) -> Result<(), Failure> {
        let m = product.manifest();
        let others = product.members().iter().zip(&m.member_scales).skip(1);
        for (member, scale) in others {
            self.heading("Further member")?;
            let (backbone, input, method) = (member.backbone(), member.input(), member.method());
            self.row(
                "with",
                format_args!(
                    "{} ({}) at {} pixels, rule {}",
                    backbone.name,
                    backbone.precision,
                    input.size().briefly(),
                    method.rule
                ),
            )?;
            self.row("licence", &backbone.licence)?;
            self.row("attribution", &backbone.attribution)?;
            self.row(
                "bank",
                format_args!(
                    "{} rows of {} values",
                    member.bank().rows(),
                    member.bank().dimensions()
                ),
            )?;
            if let Some(encoder) = member.encoder_in_words() {
                self.row("encoder", encoder)?;
            }
            let scoring = member.scoring().in_words();
            for (name, sentence) in method.in_words().into_iter().chain(scoring) {
                self.row(name, sentence)?;
            }
            self.row("map", format_args!("divided by {scale}"))?;
        }
        if let Some(scale) = m.member_scales.first() {
            self.heading("Ensemble")?;
            self.row(
                "map",
                format_args!(
                    "the mean of {} maps, the first one's divided by {scale}",
                    m.member_scales.len()
                ),
            )?;
        }
        Ok(())
    }

    fn bound(&mut self, word: &str, bound: &Bound) -> Result<(), Failure> {
        self.row(word, format_args!("above {}", bound.threshold))?;
        self.row(
            "",
            format_args!("from {} held-out good images by {}", bound.n, method(bound)),
        )?;
        if bound.method != BoundMethod::Manual {
            self.row(
                "",
                format_args!(
                    "at {} confidence at most {} of good parts are above it ({} was asked for; {} without any assumption)",
                    percent(bound.confidence),
                    percent(bound.stated_rate),
                    percent(bound.rate),
                    percent(bound.distribution_free_rate)
                ),
            )?;
        }
        if !bound.note.is_empty() {
            self.row("", &bound.note)?;
        }
        Ok(())
    }

    fn thresholds(&mut self, m: &Manifest) -> Result<(), Failure> {
        self.heading("Thresholds")?;
        self.bound("NG", &m.thresholds.ng)?;
        self.bound("UNKNOWN", &m.thresholds.unknown)?;
        for entry in &m.audit {
            let when = entry
                .unix
                .map_or(String::new(), |t| format!("{}: ", utc(t)));
            self.row("changed", format_args!("{when}{}", entry.action))?;
        }
        Ok(())
    }

    fn inputs(&mut self, product: &Product) -> Result<(), Failure> {
        let Some(inputs) = product.inputs() else {
            return self.row("pictures", "nothing is kept of them; fitted before that");
        };
        let bits = match inputs.bits {
            16 => String::new(),
            bits => format!(", {bits} bits at the right of 16"),
        };
        let exif = match (inputs.upright, inputs.orientation) {
            (true, _) => ", turned as EXIF says".into(),
            (false, 1) => String::new(),
            (false, orientation) => format!(", EXIF orientation {orientation}, not turned"),
        };
        self.row(
            "pictures",
            format_args!("accepted like {}{bits}{exif}", inputs.sizes()),
        )?;
        self.row(
            "known",
            format_args!("digests of {} pictures", inputs.digests.len()),
        )?;
        for line in product.light().iter().flat_map(|light| light.in_words()) {
            self.row("light", line)?;
        }
        Ok(())
    }

    fn operating(&mut self, product: &Product) -> Result<(), Failure> {
        let Some(operating) = product.operating() else {
            return Ok(());
        };
        self.heading("Operating points")?;
        let taken = product.manifest().thresholds.unknown.threshold;
        for line in operating.lines(taken) {
            self.out.line(format_args!("  {line}"))?;
        }
        self.out.line(format_args!("  {}", operating.legend()))
    }

    fn training(&mut self, m: &Manifest) -> Result<(), Failure> {
        self.heading("Training")?;
        let t = &m.training;
        let size = |[w, h]: [u32; 2]| format!("{w} x {h}");
        let sizes = if t.smallest == t.largest {
            size(t.smallest)
        } else {
            format!("{} to {}", size(t.smallest), size(t.largest))
        };
        self.row("images", format_args!("{} good, {sizes} pixels", t.images))?;
        self.row("digest", blake3::Hash::from_bytes(t.digest).to_hex())?;
        self.row("seed", t.seed)?;
        let [low, mid, high] = t.held_out;
        self.row(
            "held out",
            format_args!(
                "scores {low:.3} to {high:.3}, median {mid:.3}, {} folds",
                t.folds
            ),
        )?;
        if let Some(v) = &m.validation {
            let figures = [
                ("image AUROC", v.image_auroc),
                ("pixel AUROC", v.pixel_auroc),
                ("AUPRO", v.aupro),
                ("false rejects", v.false_reject_rate),
                ("escapes", v.escape_rate),
            ];
            let text: Vec<String> = figures
                .iter()
                .filter_map(|(name, value)| value.map(|v| format!("{name} {v:.4}")))
                .collect();
            self.row(
                "validation",
                format_args!(
                    "{} good and {} defective images: {}",
                    v.images[0],
                    v.images[1],
                    text.join(", ")
                ),
            )?;
        }
        Ok(())
    }

    fn contents(&mut self, product: &Product) -> Result<(), Failure> {
        let m = product.manifest();
        self.heading("Golden images")?;
        if m.goldens.is_empty() {
            self.out.line(
                "  none: `selftest` cannot show that a machine inspects as the trainer did",
            )?;
        }
        for g in &m.goldens {
            let kind = match g.kind {
                GoldenKind::Good => "good",
                GoldenKind::Damaged => "damaged",
            };
            self.row(
                kind,
                format_args!("{}: score {:.3}, {}", g.name, g.score, g.verdict),
            )?;
        }
        self.heading("Sections")?;
        for s in &m.sections {
            let shape: Vec<String> = s.shape.iter().map(u64::to_string).collect();
            let digest = blake3::Hash::from_bytes(s.blake3).to_hex();
            let line = format!(
                "{:>10}  {:5} {:14} {}",
                bytes(s.length),
                format!("{:?}", s.dtype).to_lowercase(),
                shape.join(" x "),
                digest.get(..16).unwrap_or_default()
            );
            let label = match s.member {
                0 => s.kind.to_string(),
                further => format!("{} {}", s.kind, u32::from(further) + 1),
            };
            self.row(&label, line)?;
        }
        Ok(())
    }
}
