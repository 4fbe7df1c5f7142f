use std::collections::HashSet;
use std::path::{Component, Path};

/// Names for what is written per image, without their ending: the path below the given folder with
/// its parts joined, and a number if that name is already used.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    pub(super) fn next(&mut self, image: &Path, root: &Path) -> String {
        let below = match image.strip_prefix(root) {
            Ok(below) if below.components().next().is_some() => below.to_path_buf(),
            _ => image.file_name().map(Into::into).unwrap_or_default(),
        };
        let parts: Vec<String> = below
            .with_extension("")
            .components()
            .filter_map(|c| match c {
                Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        let stem = parts.join("_");
        let mut name = stem.clone();
        let mut count = 1;
        // In lower case, because some file systems treat `A` and `a` as the same.
        while !self.taken.insert(name.to_lowercase()) {
            count += 1;
            name = format!("{stem}-{count}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_folders_apart_and_never_collide() {
        let mut names = Names::default();
        let mut next = |image: &str, root: &str| names.next(Path::new(image), Path::new(root));
        assert_eq!(next("t/good/000.png", "t"), "good_000");
        assert_eq!(next("t/scratch/000.png", "t"), "scratch_000");
        assert_eq!(next("t/good_000.jpg", "t"), "good_000-2");
        assert_eq!(next("elsewhere/000.png", "elsewhere/000.png"), "000");
        assert_eq!(next("other/000.PNG", "other/000.PNG"), "000-2");
        assert_eq!(
            next("../up/GOOD_000.bmp", "../up/GOOD_000.bmp"),
            "GOOD_000-3"
        );
    }
}
