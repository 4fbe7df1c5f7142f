//! Options of the method, which `fit`, `benchmark` and `ablate` share.

mod input;
mod preset;
mod published;

use crate::cli::risk::RiskArgs;
use crate::dataset::Asked;
use crate::error::TrainError;
use crate::fit::rules::RuleSpec;
use crate::fit::settings::{NetworkForm, OtherMember, Settings};
use crate::fit::variation::Variation;
use crate::fit::{CacheSettings, FeatureSettings, catalogue};
use clap::{Args, ValueEnum};
use input::{Aspect, SizeArgument};
use partgate::backbone::{InputGeometry, Rect};
use partgate::frame::RIGHT_ALIGNED;
use partgate::score::{Border, Rule};
use partgate::size::{Size, SizeError};
use published::PublishedArgs;
use std::path::PathBuf;

/// Scoring rules by their names on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Method {
    /// Any bank row may explain any place: right for textures and loose parts
    Patchcore,
    /// Choose by held-out good images and synthetically damaged copies of them
    Auto,
    /// Only rows seen near the place on good parts: right for fixtured parts
    Position,
    /// Only rows that the neighbourhood network finds likely (published threshold)
    Neighbourhood,
    /// Mean of both above the published threshold
    Pni,
    /// The same with scores over the distribution coreset only (the paper's first version)
    PniV1,
    /// One mask a model and the mean of the two maps
    PniTwoMap,
    /// Thresholds such that few held-out good cells lose the row they really are
    Coverage,
    /// Distance to the mean of the place, in the spread that good parts have there: right for
    /// fixtured parts with 200 good images and more
    Gaussian,
    /// Geometric mean of the distances to that and to the bank
    BankGaussian,
    /// Geometric mean of the distance to the bank and the smallest one to distributions of the places
    /// around (N-pad): a published method for comparison, for a host
    NPad,
    /// How far a cell is from what networks tell by the cells around it, and how distorted it looks
    /// (Glancing at the Patch): a published method for comparison, for a host
    Glancing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NetworkName {
    /// A bottleneck, the ring of cells around, two more layers: for boards
    Edge,
    /// As published, fully connected layers over all features of the cells around: needs a host
    Paper,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BorderName {
    Zero,
    Inside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BankType {
    F32,
    Int8,
}

/// Where features are kept between fits.
#[derive(Args, Clone)]
struct CacheArgs {
    /// Keep the images' feature vectors in this folder. A fit that was interrupted, or is repeated
    /// with another bank, rule or thresholds, takes them from there instead of running the
    /// backbone again; another program version, processor, backbone, --size, --aspect, --crop,
    /// --roi, --patch, --border or a changed image does not. The bundle is the same with and without.
    /// Fits may share the folder, and it may be deleted any time [default: nothing is kept]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Most that the cache may take, MiB; what was not used for longest is dropped first. An image
    /// takes 0.6 MiB at --size 256, in proportion to the pixels of the input, and so for every
    /// member
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..))]
    cache_limit: u64,
}

/// Without the fields: `benchmark` compares runs by this text, and no figure depends on a cache.
impl std::fmt::Debug for CacheArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheArgs")
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Exif {
    /// Pixels as they are stored
    Stored,
    /// Turned as the orientation says
    Apply,
}

/// How picture files are read.
#[derive(Args, Clone, Debug)]
struct PictureArgs {
    /// Bits that count in 16-bit samples, from the right: 10, 12 or 14 for Mono10, Mono12 and
    /// Mono14 in 16-bit files. Kept in the bundle, and checked when it inspects [default: 16, and a
    /// set that cannot be that is refused]
    #[arg(long, value_name = "N", value_parser = parse_bits)]
    bits: Option<u8>,
    /// What to do with an EXIF orientation. Kept in the bundle. Mixed orientations are refused
    /// unless they are applied
    #[arg(long, value_enum, default_value = "stored")]
    exif: Exif,
}

/// Settings of the method, shared by `fit` and `benchmark`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MethodArgs {
    /// Which bank rows may explain a place
    #[arg(long, value_enum, default_value = "auto")]
    method: Method,
    /// The region is resized to N x N or to W x H pixels, multiples of 32. `auto` (fit only) compares
    /// 256, 384 and 512 pixels, and the whole picture with the box around the part, on damaged copies
    /// of good images; it takes another than 256 pixels of the whole picture only for a sure gain
    #[arg(long, value_name = "N|WxH|auto", default_value = "256")]
    size: SizeArgument,
    /// Aspect of the input: as --size gives it (a square for one number), or that of the region
    /// (without --roi of the pictures) at about N x N pixels in all
    #[arg(long, value_enum, default_value = "size")]
    aspect: Aspect,
    /// Then the central N x N or W x H pixels are kept [default: all]
    #[arg(long, value_name = "N|WxH")]
    crop: Option<Size>,
    /// A shipped backbone by name (efficientnet-lite0-int8, efficientnet-lite0-f32) or FILE.onnx
    /// with its FILE.onnx.json
    #[arg(long, value_name = "NAME", default_value = catalogue::DEFAULT)]
    backbone: String,
    /// Inspect by one more network or input size as well and average the maps, each in units of its
    /// own good parts: size=N, backbone=NAME or backbone=NAME,size=N; what is not named is taken
    /// from --size and --backbone. Where that is no square, size=N means its aspect at about N x N
    /// pixels in all. May be given twice: a product has three members at most, and a
    /// board needs the time of all of them for every part
    #[arg(long = "member", value_name = "size=N,backbone=NAME", value_parser = parse_member)]
    members: Vec<OtherMember>,
    /// What good parts may do, for products of few good images: varied copies of each join the bank.
    /// Per cent of the side, degrees, per cent of the brightness, each way: shift=2,turn=3,light=10.
    /// Thresholds are of the pictures as they are; the bundle states it [default: no copies]
    #[arg(long, value_name = "shift=P,turn=D,light=P")]
    vary: Option<Variation>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Side of the averaging box over feature cells, odd
    #[arg(long, value_name = "CELLS", default_value_t = 3)]
    patch: usize,
    /// What the averaging box does at the border: count zeros outside, or only cells inside
    #[arg(long, value_enum, default_value = "zero")]
    border: BorderName,
    /// Gaussian blur of the score map, pixels [default: size / 60]
    #[arg(long, value_name = "PIXELS")]
    sigma: Option<f32>,
    /// Bank rows as a share of all training cells
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    bank_ratio: f64,
    /// Fewest bank rows
    #[arg(long, value_name = "ROWS", default_value_t = 512)]
    min_bank: usize,
    /// Most bank rows; the time a board needs per image grows with it
    #[arg(long, value_name = "ROWS", default_value_t = 4000)]
    max_bank: usize,
    /// Store bank rows as floats, or as bytes with a scale per row: a quarter of the file. Rows are
    /// rounded before anything else is fitted, so scores on the board are those of the fit
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    bank_type: BankType,
    /// Reduce features to their N leading principal directions over the good parts before the bank; 0
    /// leaves them
    #[arg(long, value_name = "N", default_value_t = 0)]
    principal: usize,
    /// Choose the bank under a random projection to N dimensions, 0 for none [default: 128 for
    /// features longer than 256]
    #[arg(long, value_name = "N")]
    projection: Option<usize>,
    /// Side of the window in which a sighting counts, cells, odd (position) [default: 9 / 60 of
    /// the grid]
    #[arg(long, value_name = "CELLS")]
    window: Option<usize>,
    /// Sightings that allow a bank row at a place (position) [default: published threshold]
    #[arg(long, value_name = "N")]
    sightings: Option<usize>,
    /// Under coverage: percent of held-out good cells that may lose their row by place; 0 leaves
    /// the place out
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    place_lost: f64,
    /// Under coverage: the same by neighbourhood
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    near_lost: f64,
    /// Measure distances in units of the bank's own spacing to this power; 0 leaves them [default:
    /// 0.5 with auto, else 0]
    #[arg(long, value_name = "POWER")]
    density: Option<f32>,
    /// Refinement network: `on` trains one and lets damaged copies decide its weight (0 leaves it
    /// out) [default: on with auto and 50 good images or more, else off]
    #[arg(long, value_enum)]
    refine: Option<Switch>,
    /// Side of the neighbourhood network's window, cells, odd [default: the sighting window]
    #[arg(long, value_name = "CELLS")]
    ring: Option<usize>,
    /// Rows of the distribution coreset, which place and neighbourhood are told by [default: 512;
    /// 2048 with --network paper]
    #[arg(long, value_name = "ROWS")]
    entries: Option<usize>,
    /// Form of the neighbourhood network, where a rule has one
    #[arg(long, value_enum, default_value = "edge")]
    network: NetworkName,
    /// With --network paper: channels of each layer [default: 2048]
    #[arg(long, value_name = "CHANNELS")]
    network_width: Option<usize>,
    /// With --network paper: layers in all [default: 10]
    #[arg(long, value_name = "N")]
    network_layers: Option<usize>,
    /// Training steps of the neighbourhood network
    #[arg(long, value_name = "N", default_value_t = 400)]
    network_steps: usize,
    /// Folds of the held-out scores behind the thresholds
    #[arg(long, value_name = "N", default_value_t = 5)]
    folds: usize,
    /// Random splits into folds; a held-out score is the mean over them [default: 5 up to 60 images,
    /// 3 up to 300, else 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    partitions: Option<u64>,
    #[command(flatten)]
    published: PublishedArgs,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    risk: RiskArgs,
}

fn parse_bits(text: &str) -> Result<u8, String> {
    let bits = text.parse().map_err(|e| format!("{e}"))?;
    if bits == 16 || RIGHT_ALIGNED.contains(&bits) {
        return Ok(bits);
    }
    Err("10, 12, 14 or 16 is expected".into())
}

fn parse_member(text: &str) -> Result<OtherMember, String> {
    let mut member = OtherMember::default();
    for part in text.split(',') {
        let twice = |there: bool| match there {
            true => Err(format!("{part}: named twice")),
            false => Ok(()),
        };
        match part.split_once('=').map(|(k, v)| (k.trim(), v.trim())) {
            Some(("size", value)) => {
                twice(member.size.is_some())?;
                let size = value.parse();
                member.size = Some(size.map_err(|e: SizeError| format!("size={value}: {e}"))?);
            }
            Some(("backbone", value)) if !value.is_empty() => {
                twice(member.backbone.is_some())?;
                member.backbone = Some(value.into());
            }
            _ => {
                return Err(format!(
                    "`{part}`: size=N, backbone=NAME or backbone=NAME,size=N is expected"
                ));
            }
        }
    }
    Ok(member)
}

fn refused(text: impl Into<String>) -> Result<(), TrainError> {
    Err(TrainError::Setting(text.into()))
}

impl MethodArgs {
    fn check(&self) -> Result<(), TrainError> {
        if !(2..=1000).contains(&self.folds) {
            return refused(format!(
                "--folds {}: 2 to 1000 (at most one an image is used)",
                self.folds
            ));
        }
        if self.sigma.is_some_and(|s| !(0.0..=256.0).contains(&s)) {
            return refused("--sigma: 0 to 256 pixels");
        }
        self.check_input()?;
        self.check_bank()?;
        self.check_sightings()?;
        self.check_network()?;
        self.check_coverage()?;
        self.check_published()
    }

    fn check_bank(&self) -> Result<(), TrainError> {
        if self.patch.is_multiple_of(2) || self.patch > 31 {
            return refused(format!("--patch {}: an odd number up to 31", self.patch));
        }
        if !(self.bank_ratio > 0.0 && self.bank_ratio <= 1.0) {
            return refused(format!(
                "--bank-ratio {}: above 0, at most 1",
                self.bank_ratio
            ));
        }
        if self.projection.is_some_and(|p| p > 4096) {
            return refused("--projection: at most 4096 dimensions");
        }
        if self.max_bank == 0 {
            return refused("--max-bank 0: a bank needs rows");
        }
        if !(0.0..=2.0).contains(&self.density()) {
            return refused(format!("--density {}: 0 to 2", self.density()));
        }
        if matches!(self.method, Method::Gaussian | Method::Glancing) && self.density() > 0.0 {
            return refused(
                "--density is of the bank's rows, which do not count under --method gaussian and glancing",
            );
        }
        Ok(())
    }

    fn check_sightings(&self) -> Result<(), TrainError> {
        if self.window.is_some_and(|w| w > 511) || self.sightings.is_some_and(|s| s > 1_000_000) {
            return refused("--window: at most 511 cells; --sightings: at most 1000000");
        }
        if self.window.is_some_and(|w| w.is_multiple_of(2)) {
            return refused("--window: an odd number of cells");
        }
        if self.sightings == Some(0) {
            return refused("--sightings 0 would allow everything; use --method patchcore");
        }
        Ok(())
    }

    fn check_network(&self) -> Result<(), TrainError> {
        if !(2..=65_536).contains(&self.entries()) {
            return refused(format!("--entries {}: 2 to 65536", self.entries()));
        }
        let sized = self.network_width.is_some() || self.network_layers.is_some();
        match self.network() {
            NetworkForm::Edge if sized => {
                return refused(
                    "--network-width, --network-layers: only with --network paper; the edge form has one size",
                );
            }
            NetworkForm::Edge => {}
            NetworkForm::Paper { width, layers } => {
                if !(1..=4096).contains(&width) {
                    return refused(format!("--network-width {width}: 1 to 4096"));
                }
                if !(2..=64).contains(&layers) {
                    return refused(format!("--network-layers {layers}: 2 to 64"));
                }
            }
        }
        if self
            .ring
            .is_some_and(|r| r.is_multiple_of(2) || !(3..=31).contains(&r))
        {
            return refused("--ring: an odd number of cells from 3 to 31");
        }
        if !(1..=100_000).contains(&self.network_steps) {
            return refused(format!(
                "--network-steps {}: 1 to 100000",
                self.network_steps
            ));
        }
        Ok(())
    }

    fn check_coverage(&self) -> Result<(), TrainError> {
        let in_range = |percent: f64| (0.0..=50.0).contains(&percent);
        if !in_range(self.place_lost) || !in_range(self.near_lost) {
            return refused("--place-lost, --near-lost: 0 to 50 per cent");
        }
        if matches!(self.method, Method::Coverage) && self.place_lost + self.near_lost == 0.0 {
            return refused(
                "--method coverage without place and neighbourhood is patchcore; use that",
            );
        }
        Ok(())
    }

    fn network(&self) -> NetworkForm {
        match self.network {
            NetworkName::Edge => NetworkForm::Edge,
            NetworkName::Paper => NetworkForm::Paper {
                width: self.network_width.unwrap_or(2048),
                layers: self.network_layers.unwrap_or(10),
            },
        }
    }

    fn entries(&self) -> usize {
        let usual = match self.network {
            NetworkName::Edge => 512,
            NetworkName::Paper => 2048,
        };
        self.entries.unwrap_or(usual)
    }

    fn density(&self) -> f32 {
        let usual = if matches!(self.method, Method::Auto) {
            0.5
        } else {
            0.0
        };
        self.density.unwrap_or(usual)
    }

    fn rule(&self) -> Option<RuleSpec> {
        let share = |percent: f64| (percent > 0.0).then_some(percent / 100.0);
        let spec = match self.method {
            Method::Auto => return None,
            Method::Patchcore => RuleSpec::of(Rule::Patchcore),
            Method::Position => RuleSpec::of(Rule::Position),
            Method::Neighbourhood => RuleSpec::of(Rule::Neighbourhood),
            Method::Pni => RuleSpec::of(Rule::Pni),
            Method::PniV1 => RuleSpec::of(Rule::PniV1),
            Method::PniTwoMap => RuleSpec::of(Rule::PniTwoMap),
            Method::Gaussian => RuleSpec::of(Rule::Gaussian),
            Method::BankGaussian => RuleSpec::of(Rule::BankGaussian),
            Method::NPad => RuleSpec::of(Rule::NPad),
            Method::Glancing => RuleSpec::of(Rule::Glancing),
            Method::Coverage => RuleSpec::coverage(share(self.place_lost), share(self.near_lost)),
        };
        Some(self.with_published(spec.with_density(self.density())))
    }

    /// As [`MethodArgs::settings`], for commands that do not choose a size.
    pub(crate) fn settings_of_a_size(&self, name: &str) -> Result<Settings, TrainError> {
        if self.auto_size() {
            refused("--size auto: only `fit` chooses a size; give one")?;
        }
        self.settings(name)
    }

    /// How the images are to be read, of which `roi` is inspected.
    pub(crate) fn asked(&self, roi: Option<Rect>) -> Asked {
        Asked {
            bits: self.pictures.bits,
            upright: matches!(self.pictures.exif, Exif::Apply),
            roi,
        }
    }

    /// Settings for a product called `name`.
    pub(crate) fn settings(&self, name: &str) -> Result<Settings, TrainError> {
        if let Some(note) = self.preset_note() {
            log::info!("{note}");
        }
        self.with_preset().own_settings(name)
    }

    fn own_settings(&self, name: &str) -> Result<Settings, TrainError> {
        self.check()?;
        Ok(Settings {
            name: name.into(),
            part_number: String::new(),
            revision: 1,
            created_unix: None,
            features: FeatureSettings {
                input: InputGeometry {
                    roi: None,
                    resize: self.size(),
                    crop: self.crop.unwrap_or(self.size()),
                },
                patch: self.patch,
                border: match self.border {
                    BorderName::Zero => Border::Zero,
                    BorderName::Inside => Border::Inside,
                },
                cache: self
                    .cache
                    .cache
                    .clone()
                    .map(|folder| CacheSettings::new(folder, self.cache.cache_limit)),
                background: None,
                variation: self.vary.map(|variation| (variation, self.seed)),
            },
            backbone: self.backbone.clone(),
            others: self.members.clone(),
            map_size: None,
            rule: self.rule(),
            density: self.density(),
            refine: self.refine.map(|switch| matches!(switch, Switch::On)),
            refine_encoder: self.refine_encoder().cloned(),
            ring: self.ring,
            entries: self.entries(),
            network: self.network(),
            network_steps: self.network_steps,
            sigma: self.sigma,
            bank_ratio: self.bank_ratio,
            min_bank: self.min_bank,
            max_bank: self.max_bank,
            bank_in_bytes: self.bank_type == BankType::Int8,
            reduction: self.reduction(),
            bank: self.bank_kind(),
            projection: self.projection,
            window: self.window,
            sightings: self.sightings,
            ignore: None,
            folds: self.folds,
            partitions: self.partitions.map(|n| n as usize),
            risk: self.risk.risk(self.seed)?,
            seed: self.seed,
            goldens: 2,
            left_out: None,
            force: false,
        })
    }
}

/// Settings of `fit` without options, for tests.
#[cfg(test)]
pub(crate) fn default_settings() -> Settings {
    #[derive(clap::Parser)]
    struct WithoutOptions {
        #[command(flatten)]
        method: MethodArgs,
    }
    let parsed: WithoutOptions = clap::Parser::parse_from(["fit"]);
    parsed.method.settings("test").expect("usable defaults")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_by_its_size_its_backbone_or_both() {
        let member = |backbone: Option<&str>, size| OtherMember {
            backbone: backbone.map(String::from),
            size,
        };
        let square = |side| Some(Size::square(side));
        for (text, want) in [
            ("size=320", member(None, square(320))),
            ("size=320x256", member(None, Some(Size::new(320, 256)))),
            ("backbone=a/b.onnx", member(Some("a/b.onnx"), None)),
            (
                "backbone=x=y.onnx,size=64",
                member(Some("x=y.onnx"), square(64)),
            ),
            ("size=64, backbone=lite", member(Some("lite"), square(64))),
        ] {
            let found = parse_member(text).expect(text);
            assert_eq!(found, want);
            // As errors name it, it can be typed again.
            let shown = found.to_string();
            let again = shown.strip_prefix("--member ").expect("the option");
            assert_eq!(parse_member(again).expect("the same"), want);
        }
        for text in [
            "",
            "320",
            "size",
            "size=x",
            "size=3x",
            "size=-3",
            "backbone=",
            "side=3",
            "size=1,size=2",
        ] {
            assert!(parse_member(text).is_err(), "{text}");
        }
    }
}
