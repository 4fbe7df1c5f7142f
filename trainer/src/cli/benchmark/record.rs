//! What a benchmark keeps of a category, so that an interrupted run goes on where it stopped.

use crate::cli::fit::MethodArgs;
use crate::cli::write_file;
use crate::dataset::{GoodImages, Source, TestImage, TestSet};
use crate::error::TrainError;
use crate::fit::report::FittedProduct;
use crate::fit::{self, digest_of};
use crate::validation::{Inspected, Validation, ValidationReport, validate};
use partgate::product::Product;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything a table or page needs to know of one category.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    /// Over the program, the settings and every image: a record stands for nothing else.
    pub(super) digest: String,
    pub(super) tool_version: String,
    /// BLAKE3 of the bundle that was validated.
    pub(super) bundle: String,
    pub(super) fit_seconds: f64,
    pub(super) report: ValidationReport,
    /// Paths are relative to the category's folder, so that a data set may move.
    #[serde(rename = "judged")]
    pub(super) inspected: Vec<Inspected>,
}

/// The record of a category, and whether an earlier run kept it.
pub(super) struct CategoryRecord {
    pub(super) record: Record,
    pub(super) kept: bool,
}

/// What all categories of a run have in common.
pub(super) struct Run<'a> {
    method: &'a MethodArgs,
    eroded: bool,
    fresh: bool,
    out: &'a Path,
    common: blake3::Hash,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        method: &'a MethodArgs,
        eroded: bool,
        fresh: bool,
        out: &'a Path,
    ) -> Result<Self, TrainError> {
        let plans = method.settings_of_a_size("")?.members()?;
        let mut digest = blake3::Hasher::new();
        digest.update(partgate::VERSION.as_bytes());
        // Development builds share a version number; their bytes tell them apart.
        if let Ok(program) = std::env::current_exe().and_then(std::fs::read) {
            digest.update(blake3::hash(&program).as_bytes());
        }
        digest.update(format!("{method:?}, eroded masks: {eroded}").as_bytes());
        // The name of a user's own backbone says nothing about what is in the file today.
        for plan in &plans {
            digest.update(&serde_json::to_vec(&plan.file.spec)?);
            digest.update(blake3::hash(&plan.file.onnx).as_bytes());
        }
        Ok(Self {
            method,
            eroded,
            fresh,
            out,
            common: digest.finalize(),
        })
    }

    pub(super) fn bundle_path(&self, name: &str) -> PathBuf {
        self.out.join(format!("{name}.pgp"))
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.out.join(format!("{name}.json"))
    }

    /// Fits and validates the category in `folder`, or takes what an earlier run kept.
    pub(super) fn category(
        &self,
        source: &Source,
        name: &str,
    ) -> Result<CategoryRecord, TrainError> {
        let folder = &source.root();
        source.check_divided()?;
        let (goods, _) = source.goods()?;
        let set = source.tests()?;
        let TestSet { images, layout } = set;
        let digest = self.digest(folder, &goods, &images)?;
        if let (false, Some(record)) = (self.fresh, self.kept(name, &digest)) {
            return Ok(CategoryRecord { record, kept: true });
        }
        let mut settings = self.method.settings_of_a_size(name)?;
        // Figures are wanted of such a product too; it is noted.
        settings.force = true;
        let goods = goods.surveyed(self.method.asked(None))?;
        self.method.adapt_input(&mut settings, &goods)?;
        let FittedProduct {
            bytes,
            report: fitted,
        } = fit::fit(&goods, &settings)?;
        let product = Product::from_bytes(bytes.clone(), name)?;
        let Validation {
            mut report,
            mut inspected,
        } = validate(&product, &images, self.eroded)?;
        report.layout = layout;
        for j in &mut inspected {
            j.path = below(folder, &j.path);
            for mask in &mut j.masks {
                *mask = below(folder, mask);
            }
        }
        let record = Record {
            name: name.into(),
            digest,
            tool_version: product.manifest().tool_version.clone(),
            bundle: product.digest().to_hex().to_string(),
            fit_seconds: fitted.seconds.total,
            report,
            inspected,
        };
        // The record is written last: where it is, the bundle that it vouches for is whole.
        let text = serde_json::to_string_pretty(&record)?;
        write_file(&self.bundle_path(name), &bytes)?;
        write_file(&self.record_path(name), text.as_bytes())?;
        // As a later run will read it, so that both print the same last digit.
        Ok(CategoryRecord {
            record: serde_json::from_str(&text)?,
            kept: false,
        })
    }

    /// What an earlier run kept, if it stands for the same program, settings and images, and its
    /// bundle is still there.
    fn kept(&self, name: &str, digest: &str) -> Option<Record> {
        let text = std::fs::read(self.record_path(name)).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        let bundle = std::fs::read(self.bundle_path(name)).ok()?;
        let whole = blake3::hash(&bundle).to_hex().as_str() == record.bundle;
        (record.digest == digest && whole).then_some(record)
    }

    fn digest(
        &self,
        folder: &Path,
        goods: &GoodImages,
        images: &[TestImage],
    ) -> Result<String, TrainError> {
        let mut digest = blake3::Hasher::new();
        digest.update(self.common.as_bytes());
        digest.update(&digest_of(goods)?);
        // A list can change a label and leave the files as they are.
        for image in images {
            digest.update(image.kind.as_bytes());
            digest.update(&[0]);
        }
        for path in images
            .iter()
            .flat_map(|image| std::iter::once(&image.path).chain(&image.masks))
        {
            let bytes = std::fs::read(path).map_err(|source| TrainError::File {
                path: path.clone(),
                action: "reading",
                source,
            })?;
            digest.update(below(folder, path).to_string_lossy().as_bytes());
            digest.update(&[0]);
            digest.update(blake3::hash(&bytes).as_bytes());
        }
        Ok(digest.finalize().to_hex().to_string())
    }
}

fn below(folder: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(folder).unwrap_or(path).to_path_buf()
}
