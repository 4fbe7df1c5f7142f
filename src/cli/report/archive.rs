//! A tar archive (POSIX ustar), which every system can open.

use std::io::{self, Write};

/// Bytes of a block.
const BLOCK: usize = 512;
/// Longest name in a header.
const NAME: usize = 100;

/// An archive that is written from its beginning to its end.
pub(super) struct Archive<W> {
    to: W,
    /// Seconds since 1970 of every entry.
    time: u64,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W, time: u64) -> Self {
        Self { to, time }
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(&header(name, bytes.len(), self.time)?)?;
        self.to.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(BLOCK) - bytes.len();
        self.to.write_all(&[0; BLOCK][..rest])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

fn header(name: &str, size: usize, time: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > NAME {
        return Err(io::Error::other(format!("{name}: the name is too long")));
    }
    let mut out = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        out[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    // Eleven octal digits; larger numbers become the largest.
    let octal = |value: u64| format!("{:011o}\0", value.min(0o77_777_777_777));
    put(124, &octal(size as u64));
    put(136, &octal(time));
    // The checksum counts itself as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = out.iter().map(|&byte| u32::from(byte)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_tar_reads_it() {
        let mut archive = Archive::new(Vec::new(), 1_700_000_000);
        let long = vec![7; 1500];
        archive.file("report/a.txt", b"hello\n").expect("memory");
        archive.file("report/b/c.bin", &long).expect("memory");
        archive.file("empty", b"").expect("memory");
        let name = "x".repeat(101);
        assert!(archive.file(&name, b"").is_err());
        let bytes = archive.finish().expect("memory");
        assert_eq!(bytes.len() % BLOCK, 0);
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("a.tar");
        std::fs::write(&file, bytes).expect("written");
        let Ok(ran) = std::process::Command::new("tar")
            .arg("-xf")
            .arg(&file)
            .arg("-C")
            .arg(folder.path())
            .output()
        else {
            eprintln!("SKIPPED: no tar here");
            return;
        };
        assert!(ran.status.success(), "{ran:?}");
        let read = |name: &str| std::fs::read(folder.path().join(name)).expect("extracted");
        assert_eq!(read("report/a.txt"), b"hello\n");
        assert_eq!(read("report/b/c.bin"), long);
        assert_eq!(read("empty"), b"");
    }
}
