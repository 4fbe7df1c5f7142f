//! Runs the program on small rendered data sets.

// Each test crate uses its own part of this.
#![allow(dead_code)]

use partgate::simulation::part::{Defect, RenderedPart, Renderer};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run of the program left behind.
pub(crate) struct Ran {
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ran {
    /// Asserts the exit code, and that nothing panicked.
    pub(crate) fn exits(self, code: i32) -> Self {
        let text = format!("stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        self
    }

    /// Asserts that standard error says `what`.
    pub(crate) fn tells(self, what: &str) -> Self {
        assert!(
            self.stderr.contains(what),
            "`{what}` is not in: {}",
            self.stderr
        );
        self
    }

    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.stdout, self.stderr))
    }
}

/// The program, with `arguments`.
pub(crate) fn program<A: AsRef<OsStr>>(arguments: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_partgate-train"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("SOURCE_DATE_EPOCH");
    command
}

/// Runs the program.
pub(crate) fn train<A: AsRef<OsStr>>(arguments: &[A]) -> Ran {
    program(arguments)
        .output()
        .expect("the program runs")
        .into()
}

/// `fit FOLDER -o BUNDLE`, then `more`.
pub(crate) fn fit_with(folder: &Path, bundle: &Path, more: &[&str]) -> Ran {
    let (folder, bundle) = (text(folder), text(bundle));
    let arguments = ["fit", &folder, "-o", &bundle];
    train(&[&arguments, more].concat())
}

/// The same with settings that make it quick.
pub(crate) fn fit(folder: &Path, bundle: &Path, more: &[&str]) -> Ran {
    fit_with(folder, bundle, &quick(more))
}

/// [`QUICK`], then `more`, whose method counts where it names one.
pub(crate) fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = if more.contains(&QUICK[4]) {
        &QUICK[..4]
    } else {
        &QUICK
    };
    [usual, more].concat()
}

/// Settings that keep a fit in the tests below a second: to choose a method takes its time.
pub(crate) const QUICK: [&str; 6] = [
    "--size",
    "128",
    "--min-bank",
    "128",
    "--method",
    "patchcore",
];

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8 path").to_string()
}

/// Writes the picture of `part`.
pub(crate) fn save(part: &RenderedPart, path: &Path) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    let (width, height) = (part.width as u32, part.height as u32);
    image::RgbImage::from_raw(width, height, part.rgb.clone())
        .expect("a whole picture")
        .save(path)
        .expect("write");
}

fn save_mask(part: &RenderedPart, path: &Path) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    let (width, height) = (part.width as u32, part.height as u32);
    let mask = part.mask.clone().expect("a defective part");
    image::GrayImage::from_raw(width, height, mask)
        .expect("a whole mask")
        .save(path)
        .expect("write");
}

/// Good parts `from..from + count` as PNG files.
pub(crate) fn goods(folder: &Path, seed: u64, from: u64, count: u64) {
    let renderer = Renderer::new(seed);
    for i in 0..count {
        let path = folder.join(format!("{i:03}.png"));
        save(&renderer.good(from + i), &path);
    }
}

/// A data set in MVTec layout: `train` good parts to fit on, 4 good ones to test with and 2 of each
/// of `defects`, with masks.
pub(crate) fn data_set(folder: &Path, seed: u64, train: u64, defects: &[Defect]) {
    goods(&folder.join("train/good"), seed, 0, train);
    goods(&folder.join("test/good"), seed, 1_000, 4);
    let renderer = Renderer::new(seed);
    for &defect in defects {
        for i in 0..2 {
            let part = renderer.defective(2_000 + i, defect);
            let (test, truth) = (folder.join("test"), folder.join("ground_truth"));
            let kind = defect.name();
            save(&part, &test.join(kind).join(format!("{i:03}.png")));
            save_mask(&part, &truth.join(kind).join(format!("{i:03}_mask.png")));
        }
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

/// A temporary folder.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("temporary folder"),
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(&path, bytes).expect("write");
        path
    }
}
