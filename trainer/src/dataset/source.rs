//! A data set as it was named on the command line, and the layout in which it is read.

use super::folders::{Meaning, contents, good_in, meaning_of, name_of, subfolders, train_in};
use super::goods::GoodImages;
use super::labelled::{Shape, TestImage, TestSet, counted};
use super::list::{self, Entry, Part};
use super::magnetic_tile::{MagneticTiles, free_in};
use super::problem;
use super::saturation;
use crate::error::TrainError;
use clap::ValueEnum;
use partgate::frame::file::list;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// How images and labels lie in folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// A folder of good images only
    Goods,
    /// good/ or ok/ beside kinds of defects
    Folders,
    /// train/good, test/KIND, ground_truth/KIND (MVTec AD, MVTec LOCO, BTAD)
    Mvtec,
    /// train/good, test_public/KIND (MVTec AD 2)
    MvtecAd2,
    /// Data/Images, with the split of split_csv/1cls.csv in the folder above (VisA)
    Visa,
    /// MT_Free and MT_KIND, NAME.png is the mask of NAME.jpg (Magnetic-Tile)
    MagneticTile,
    /// A table: path,label,mask,part
    List,
}

impl Layout {
    /// As it is typed.
    fn typed(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |v| v.get_name().to_owned())
    }
}

/// What in a folder speaks for a layout.
struct Sign {
    layout: Layout,
    what: String,
}

/// The folder `names` lead to below `dir`, in upper or lower case.
fn below(dir: &Path, names: &[&str]) -> Result<Option<PathBuf>, TrainError> {
    let mut at = dir.to_path_buf();
    for name in names {
        let mut all = subfolders(&at)?.into_iter();
        match all.find(|f| name_of(f).to_lowercase() == *name) {
            Some(found) => at = found,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The tables in `dir` that begin like a list of images.
fn lists_in(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let all = list(dir)?.others.into_iter();
    let tables = all.filter(|f| f.parent() == Some(dir) && is_table(f));
    Ok(tables.filter(|f| begins_like_a_list(f)).collect())
}

fn is_table(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.as_deref() == Some("csv")
}

/// Whether the first line of a file names the columns of a list. A few bytes decide, because the file
/// may be anything.
fn begins_like_a_list(path: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map(|f| f.take(4096));
    let read = file.and_then(|mut f| f.read_to_end(&mut head));
    read.is_ok() && list::is_list(&String::from_utf8_lossy(&head))
}

/// What the folders in `dir` say about its layout.
fn signs_of_folders(dir: &Path) -> Result<Vec<Sign>, TrainError> {
    let mut signs = Vec::new();
    let mut sign = |layout, what: String| signs.push(Sign { layout, what });
    let inside = subfolders(dir)?;
    let called = |names: &[&str]| {
        let mut all = inside.iter();
        all.find(|f| names.contains(&name_of(f).to_lowercase().as_str()))
    };
    let (test, public) = (called(&["test", "testing"]), called(&["test_public"]));
    let train = train_in(dir)?;
    if let Some(folder) = test.or(train.as_ref().filter(|_| public.is_none())) {
        sign(Layout::Mvtec, format!("{}/", name_of(folder)));
    }
    if let Some(folder) = public {
        sign(Layout::MvtecAd2, format!("{}/", name_of(folder)));
    }
    if let Some(folder) = free_in(dir)? {
        sign(Layout::MagneticTile, format!("{}/", name_of(&folder)));
    }
    if below(dir, &["data", "images"])?.is_some() {
        sign(Layout::Visa, "Data/Images/".into());
    }
    let is = |meaning| inside.iter().any(|f| meaning_of(f) == meaning);
    if is(Meaning::Good) && (is(Meaning::Bad) || is(Meaning::Other)) && train.is_none() {
        let good: Vec<String> = good_in(dir)?.iter().map(|f| name_of(f) + "/").collect();
        sign(
            Layout::Folders,
            format!("{} beside others", good.join(", ")),
        );
    }
    Ok(signs)
}

/// The same with its lists.
fn signs(dir: &Path) -> Result<Vec<Sign>, TrainError> {
    let mut signs = signs_of_folders(dir)?;
    signs.extend(lists_in(dir)?.iter().map(|table| Sign {
        layout: Layout::List,
        what: name_of(table),
    }));
    Ok(signs)
}

/// A data set on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// A folder; for a list the table.
    at: PathBuf,
    layout: Layout,
    /// Whether the user named the layout.
    forced: bool,
}

impl Source {
    /// Recognises the layout of the data set at `at`, a folder or a list, unless `forced` names it.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] where several layouts are possible; it says what speaks for each.
    pub(crate) fn find(at: &Path, forced: Option<Layout>) -> Result<Self, TrainError> {
        let new = |at: &Path, layout| Self {
            at: at.to_path_buf(),
            layout,
            forced: forced.is_some(),
        };
        if at.is_file() && (is_table(at) || forced == Some(Layout::List)) {
            return match forced {
                None | Some(Layout::List) => Ok(new(at, Layout::List)),
                Some(other) => Err(problem(
                    at,
                    format!(
                        "--layout {}: a folder is expected, and this is a file",
                        other.typed()
                    ),
                )),
            };
        }
        if !at.is_dir() {
            // It is named as what it is where it is listed.
            return Ok(new(at, forced.unwrap_or(Layout::Goods)));
        }
        if forced == Some(Layout::List) {
            return match &lists_in(at)?[..] {
                [one] => Ok(new(one, Layout::List)),
                [] => Err(problem(
                    at,
                    "--layout list: no table here whose first line names the columns path and label",
                )),
                several => Err(problem(at, several_lists(several))),
            };
        }
        if let Some(layout) = forced {
            return Ok(new(at, layout));
        }
        let signs = signs(at)?;
        match &signs[..] {
            [] => Ok(new(at, Layout::Goods)),
            [one] if one.layout == Layout::List => Ok(new(&at.join(&one.what), Layout::List)),
            [one] => Ok(new(at, one.layout)),
            several => Err(problem(at, ambiguous(several))),
        }
    }

    /// The folder to which paths in reports are relative.
    pub(crate) fn root(&self) -> PathBuf {
        match self.layout {
            Layout::List => folder_of(&self.at),
            _ => self.at.clone(),
        }
    }

    /// A name for it.
    pub(crate) fn name(&self) -> String {
        // `.` and `..` are folders too; their names are elsewhere.
        let whole = self.at.canonicalize();
        let path = whole.as_deref().unwrap_or(&self.at);
        let name = match self.layout {
            Layout::List => path.file_stem(),
            _ => path.file_name(),
        };
        name.map_or_else(|| "category".into(), |n| n.to_string_lossy().into_owned())
    }

    /// The good images to fit on, and the layout in a line.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] for a set without good images to fit on, and for one in which something
    /// else would be taken for good.
    pub(crate) fn goods(&self) -> Result<(GoodImages, String), TrainError> {
        let (goods, layout) = match self.layout {
            Layout::Goods | Layout::Mvtec | Layout::MvtecAd2 => {
                let goods = GoodImages::find(&self.at)?;
                let root = goods.root.display().to_string();
                (goods, format!("good images under {root}"))
            }
            Layout::Folders if self.forced => match &good_in(&self.at)?[..] {
                [one] => (
                    GoodImages::find(one)?,
                    format!("the good images of plain folders, {}", one.display()),
                ),
                _ => {
                    let words = format!(
                        "not one folder of good images: here is {}",
                        contents(&self.at)?
                    );
                    return Err(problem(&self.at, words));
                }
            },
            // It refuses the folder, and says which to name instead.
            Layout::Folders => (GoodImages::find(&self.at)?, String::new()),
            Layout::MagneticTile => {
                let tiles = MagneticTiles::find(&self.at)?;
                (GoodImages::of(&self.at, tiles.train), tiles.layout)
            }
            Layout::Visa | Layout::List => {
                let set = self.entries()?;
                let train = set.entries.iter().filter(|e| e.part != Some(Part::Test));
                let (good, bad): (Vec<&Entry>, Vec<&Entry>) =
                    train.partition(|e| !e.image.defective());
                if set.divided && !bad.is_empty() {
                    log::warn!(
                        "{}: {} for training labelled as defective; partgate learns from good images only and leaves them out",
                        self.at.display(),
                        super::folders::images(bad.len())
                    );
                }
                let paths = good.into_iter().map(|e| e.image.path.clone()).collect();
                (GoodImages::of(&set.root, paths), set.layout)
            }
        };
        if goods.paths.is_empty() {
            return Err(problem(&self.at, "no good image to fit on"));
        }
        Ok((goods, layout))
    }

    /// The labelled images to test with.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] for a set in no known layout, without good images, or with labels or
    /// masks that cannot be right.
    pub(crate) fn tests(&self) -> Result<TestSet, TrainError> {
        let set = match self.layout {
            Layout::MagneticTile => {
                let tiles = MagneticTiles::find(&self.at)?;
                TestSet {
                    images: tiles.test,
                    layout: tiles.layout,
                }
            }
            Layout::Visa | Layout::List => {
                let set = self.entries()?;
                let test = set
                    .entries
                    .into_iter()
                    .filter(|e| e.part != Some(Part::Train));
                let images: Vec<TestImage> = test.map(|e| e.image).collect();
                TestSet {
                    layout: format!("{}; {}", set.layout, counted(&images)),
                    images,
                }
            }
            Layout::Goods => TestSet::find(&self.at, None)?,
            Layout::Folders => TestSet::find(&self.at, Some(Shape::Plain))?,
            Layout::MvtecAd2 => TestSet::find(&self.at, Some(Shape::Public))?,
            Layout::Mvtec => {
                let mut set = TestSet::find(&self.at, Some(Shape::Test))?;
                let thresholds = saturation::in_folder(&self.at)?;
                if !thresholds.is_empty() {
                    set.layout += &format!(
                        "; saturation thresholds of {} of defects are read and not used, because AUPRO counts each region as a whole",
                        kinds(thresholds.len())
                    );
                }
                set
            }
        };
        set.checked(&self.at)
    }

    /// Refuses a set that does not say which images are for testing, before anything is fitted.
    ///
    /// # Errors
    /// [`TrainError::Dataset`].
    pub(crate) fn check_divided(&self) -> Result<(), TrainError> {
        let cure = match self.layout {
            Layout::Folders => {
                "plain folders do not say which good images are for testing; put them into train/good and test/good"
            }
            Layout::List if !self.entries()?.divided => {
                "no column `part`, which says which images are for training and which for testing; add it, with train or test in each line"
            }
            _ => return Ok(()),
        };
        Err(problem(&self.at, cure))
    }

    fn entries(&self) -> Result<Listed, TrainError> {
        if self.layout == Layout::Visa {
            return visa(&self.at);
        }
        let root = folder_of(&self.at);
        let entries = list::entries(&self.at, &root)?;
        let divided = entries.iter().any(|e| e.part.is_some());
        let objects: HashSet<&str> = entries.iter().map(|e| e.object.as_str()).collect();
        if objects.len() > 1 {
            return Err(problem(
                &self.at,
                format!(
                    "the column `object` names {} kinds of parts, and a product is for one; keep the lines of one of them, or name its folder",
                    objects.len()
                ),
            ));
        }
        let part = if divided { ",part" } else { "" };
        let name = name_of(&self.at);
        Ok(Listed {
            layout: format!("a list (path,label,mask{part}), {name}"),
            root,
            entries,
            divided,
        })
    }
}

/// The images of a table.
struct Listed {
    entries: Vec<Entry>,
    root: PathBuf,
    /// Whether it says which images are for testing.
    divided: bool,
    layout: String,
}

fn kinds(count: usize) -> String {
    format!("{count} kind{}", if count == 1 { "" } else { "s" })
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn several_lists(lists: &[PathBuf]) -> String {
    let names: Vec<String> = lists.iter().map(|f| name_of(f)).collect();
    format!(
        "several lists of images: {}; name one of them",
        names.join(", ")
    )
}

fn ambiguous(signs: &[Sign]) -> String {
    if signs.iter().all(|s| s.layout == Layout::List) {
        let lists: Vec<PathBuf> = signs.iter().map(|s| PathBuf::from(&s.what)).collect();
        return several_lists(&lists);
    }
    let seen: Vec<String> = signs
        .iter()
        .map(|s| format!("{} ({})", s.what, s.layout.typed()))
        .collect();
    format!(
        "more than one layout is possible: here is {}; say which with --layout",
        seen.join(", ")
    )
}

/// One kind of part of VisA: `dir` holds its images, the folder above the split.
fn visa(dir: &Path) -> Result<Listed, TrainError> {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let root = folder_of(&whole);
    let split = root.join("split_csv").join("1cls.csv");
    if !split.is_file() {
        return Err(problem(
            dir,
            format!(
                "looks like VisA (Data/Images), but {} is not there, which says what is for testing; put it there, or name Data/Images/Normal to fit on all good images",
                split.display()
            ),
        ));
    }
    let object = name_of(&whole);
    let mut entries = list::entries(&split, &root)?;
    let objects: HashSet<String> = entries.iter().map(|e| e.object.clone()).collect();
    entries.retain(|e| e.object == object);
    if entries.is_empty() {
        let mut objects: Vec<String> = objects.into_iter().collect();
        objects.sort();
        return Err(problem(
            &split,
            format!(
                "no line for the object {object}; it names {}",
                objects.join(", ")
            ),
        ));
    }
    let listed: HashSet<&Path> = entries.iter().map(|e| e.image.path.as_path()).collect();
    if let Some(images) = below(&whole, &["data", "images"])? {
        let all = list(&images)?.images;
        let missing = all.iter().filter(|p| !listed.contains(p.as_path())).count();
        if missing > 0 {
            log::warn!(
                "{}: {} not in the split, and not used",
                images.display(),
                super::folders::images(missing)
            );
        }
    }
    Ok(Listed {
        divided: entries.iter().any(|e| e.part.is_some()),
        layout: format!("VisA, {object} in split_csv/1cls.csv"),
        root: whole,
        entries,
    })
}

/// The categories below `root`, or `root` itself if it is one.
///
/// # Errors
/// [`TrainError::Dataset`] if there is none.
pub(crate) fn categories(root: &Path, forced: Option<Layout>) -> Result<Vec<Source>, TrainError> {
    let fits = |source: &Source| -> Result<bool, TrainError> {
        Ok(match source.layout {
            Layout::Goods | Layout::Folders => false,
            Layout::Mvtec | Layout::MvtecAd2 => {
                let train = train_in(&source.at)?;
                train.is_some_and(|t| good_in(&t).is_ok_and(|g| !g.is_empty()))
            }
            // A name that the user gave says nothing about what is there.
            Layout::Visa => below(&source.at, &["data", "images"])?.is_some(),
            Layout::MagneticTile => free_in(&source.at)?.is_some(),
            Layout::List => true,
        })
    };
    if !root.is_dir() {
        return Ok(vec![Source::find(root, forced)?]);
    }
    let whole = Source::find(root, forced)?;
    if fits(&whole)? {
        return Ok(vec![whole]);
    }
    let mut found = Vec::new();
    for folder in subfolders(root)? {
        // A list in a folder below is no category: nothing says that it is one.
        if lists_in(&folder)?.is_empty() || !signs_of_folders(&folder)?.is_empty() {
            let source = Source::find(&folder, forced)?;
            if fits(&source)? {
                found.push(source);
            }
        }
    }
    if found.is_empty() {
        if whole.layout == Layout::Folders {
            whole.check_divided()?;
        }
        return Err(problem(
            root,
            format!(
                "no folder below it has train/good: here is {}; name the root of a data set in MVTec layout, VisA or Magnetic-Tile, or a list",
                contents(root)?
            ),
        ));
    }
    Ok(found)
}
