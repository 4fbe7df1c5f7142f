//! Checks of device nodes: are they there, and can this user use them?

use super::finding::Finding;
use rustix::fs::{Access, access};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Checks that `path` is a character device that this user can read and write.
pub(super) fn node(check: &str, path: &Path, group: &str) -> Result<(), Box<Finding>> {
    let shown = path.display();
    let failed = |found: String, fix: String| Err(Box::new(Finding::failed(check, found, fix)));
    match std::fs::metadata(path) {
        Err(error) => failed(
            format!("{shown}: {error}"),
            "is it plugged in, and its driver loaded? `dmesg | tail` after plugging in".into(),
        ),
        Ok(about) if !about.file_type().is_char_device() => failed(
            format!("{shown} is not a device"),
            format!("what is it? `ls -l {shown}`"),
        ),
        Ok(_) => match access(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Ok(()),
            Err(error) => failed(
                format!("{shown} cannot be used: {error}"),
                format!("is the user in group `{group}`? board/udev has the rules"),
            ),
        },
    }
}
