//! A simulated camera of a recording: image files with the times at which they were taken.
//!
//! The folder has `frames.jsonl`, one entry per frame, in the order in which they came:
//!
//! ```json
//! {"file": "000001.png", "time_ns": 1200000000, "sequence": 17}
//! ```
//!
//! Only the distances between the times matter. The replay's frames have the times at which it
//! runs.

use super::folder_source::{largest, read_into};
use super::pace::wait_until;
use super::source::{CaptureError, FrameSource};
use crate::clock;
use crate::frame::RawFrame;
use crate::time::{Duration, Instant};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

/// Name of the list of frames.
pub const INDEX: &str = "frames.jsonl";

/// Largest list that is read, bytes: about a million frames.
const LARGEST_INDEX: u64 = 1 << 27;

/// One entry of the list.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    file: PathBuf,
    time_ns: u64,
    sequence: u64,
}

/// The list's entry for a frame: its file inside the folder, when it was exposed (nanoseconds of
/// any clock that does not step) and the camera's counter.
pub fn index_line(file: &Path, time_ns: u64, sequence: u64) -> String {
    let line = Line {
        file: file.to_path_buf(),
        time_ns,
        sequence,
    };
    // A path that is not text cannot be listed; the recorder's paths are numbers.
    let text = serde_json::to_string(&line).unwrap_or_default();
    text + "\n"
}

/// A recording, replayed with its own spacing. Gaps in the recorded sequence numbers are gaps
/// again.
pub struct RecordedSource {
    folder: PathBuf,
    again: bool,
    files: Vec<PathBuf>,
    /// Nanoseconds after the first frame, and the recorded counter.
    times: Vec<(u64, u64)>,
    largest: usize,
    next: usize,
    start: Instant,
    /// Added to the counters of this round, so that they increase over all rounds.
    counted: u64,
    last: Option<u64>,
}

impl RecordedSource {
    /// The recording in `folder`, replayed once or, with `again`, without end. After its end no
    /// frame comes.
    pub fn new(folder: &Path, again: bool) -> Self {
        Self {
            folder: folder.to_path_buf(),
            again,
            files: Vec::new(),
            times: Vec::new(),
            largest: 0,
            next: 0,
            start: Instant(0),
            counted: 0,
            last: None,
        }
    }

    /// The image files in the order of the list; empty before the source is open.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn failed(&self, problem: impl Into<String>) -> CaptureError {
        CaptureError::Open {
            source_name: self.folder.join(INDEX).display().to_string(),
            problem: problem.into(),
        }
    }

    fn read_index(&mut self) -> Result<(), CaptureError> {
        let path = self.folder.join(INDEX);
        let failed = |source| CaptureError::File {
            path: path.clone(),
            source,
        };
        let meta = std::fs::metadata(&path).map_err(failed)?;
        if !meta.is_file() || meta.len() > LARGEST_INDEX {
            return Err(self.failed("not a regular file of at most 128 MiB"));
        }
        let file = File::open(&path).map_err(failed)?.take(LARGEST_INDEX);
        let (mut files, mut times) = (Vec::new(), Vec::<(u64, u64)>::new());
        let mut first = None;
        for (number, text) in BufReader::new(file).lines().enumerate() {
            let text = text.map_err(failed)?;
            if text.trim().is_empty() {
                continue;
            }
            let number = number + 1;
            let line: Line = serde_json::from_str(&text).map_err(|error| {
                self.failed(format!(
                    "line {number}: {error}; wanted are file, time_ns, sequence"
                ))
            })?;
            let outside = |part: Component| !matches!(part, Component::Normal(_));
            if line.file.components().any(outside) {
                return Err(self.failed(format!(
                    "line {number}: {} is not a file inside the folder",
                    line.file.display()
                )));
            }
            let time = line.time_ns.checked_sub(*first.get_or_insert(line.time_ns));
            let order = time.filter(|&time| {
                times
                    .last()
                    .is_none_or(|&(t, s)| t <= time && s < line.sequence)
            });
            let Some(time) = order else {
                return Err(self.failed(format!(
                    "line {number}: time or sequence go back; frames are listed as they came"
                )));
            };
            files.push(self.folder.join(line.file));
            times.push((time, line.sequence));
        }
        if files.is_empty() {
            return Err(self.failed("no frames are listed"));
        }
        self.largest = largest(&files)?;
        (self.files, self.times) = (files, times);
        Ok(())
    }

    /// Time of a round: until the last frame, and one mean interval before the next.
    fn round(&self) -> Duration {
        let last = self.times.last().map_or(0, |&(time, _)| time);
        let intervals = (self.times.len() as u64).saturating_sub(1);
        Duration(last + last.checked_div(intervals).unwrap_or(1_000_000_000).max(1))
    }
}

impl FrameSource for RecordedSource {
    fn open(&mut self) -> Result<(), CaptureError> {
        self.read_index()?;
        // A replay that was interrupted starts again at its first frame, with higher numbers.
        self.next = 0;
        self.counted = self.last.map_or(0, |last| last.saturating_add(1));
        self.start = clock::now();
        Ok(())
    }

    fn next(&mut self, into: &mut RawFrame, at_most: Duration) -> Result<bool, CaptureError> {
        let deadline = clock::now().after(at_most);
        if self.files.is_empty() {
            return Err(CaptureError::Lost {
                source_name: self.folder.display().to_string(),
                problem: "not open".to_owned(),
            });
        }
        if self.next == self.files.len() && self.again {
            self.next = 0;
            self.start = self.start.after(self.round());
            self.counted = self.last.map_or(0, |last| last.saturating_add(1));
        }
        let (Some(path), Some(&(time, sequence)), Some(&(_, first))) = (
            self.files.get(self.next),
            self.times.get(self.next),
            self.times.first(),
        ) else {
            wait_until(deadline, deadline);
            return Ok(false);
        };
        let time = self.start.after(Duration(time));
        if !wait_until(time, deadline) {
            return Ok(false);
        }
        self.next += 1;
        let sequence = self.counted.saturating_add(sequence - first);
        let expected = self.last.map_or(sequence, |last| last.saturating_add(1));
        into.lost_before = u32::try_from(sequence.saturating_sub(expected)).unwrap_or(u32::MAX);
        (into.time, into.sequence) = (time, sequence);
        self.last = Some(sequence);
        read_into(path, into).map(|()| true)
    }

    fn frame_bytes(&self) -> usize {
        self.largest
    }

    fn describe(&self) -> String {
        let times = if self.again {
            "again and again"
        } else {
            "once"
        };
        format!(
            "{}: {} recorded frames over {:.1} s, {times}",
            self.folder.display(),
            self.files.len(),
            self.times.last().map_or(0, |&(time, _)| time) as f64 / 1e9
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOON: Duration = Duration::from_secs(5);

    fn recording(lines: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["a.png", "b.png", "c.png"] {
            std::fs::write(folder.path().join(name), name).expect("write");
        }
        std::fs::write(folder.path().join(INDEX), lines).expect("write");
        folder
    }

    const THREE: &str = "{\"file\": \"a.png\", \"time_ns\": 5000000000, \"sequence\": 40}\n\
        {\"file\": \"c.png\", \"time_ns\": 5010000000, \"sequence\": 41}\n\n\
        {\"file\": \"b.png\", \"time_ns\": 5025000000, \"sequence\": 44}\n";

    #[test]
    fn spacing_order_and_gaps_are_those_of_the_recording() {
        let folder = recording(THREE);
        let mut source = RecordedSource::new(folder.path(), true);
        source.open().expect("open");
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let mut seen = Vec::new();
        for _ in 0..5 {
            assert!(source.next(&mut raw, SOON).expect("next"));
            assert!(clock::now() >= raw.time);
            let name = String::from_utf8(raw.bytes.clone()).expect("text");
            seen.push((name, raw.time, raw.sequence, raw.lost_before));
        }
        let start = seen[0].1;
        let relative: Vec<_> = seen
            .iter()
            .map(|(name, time, sequence, lost)| {
                (name.as_str(), time.since(start).0, *sequence, *lost)
            })
            .collect();
        assert_eq!(
            relative,
            [
                ("a.png", 0, 0, 0),
                ("c.png", 10_000_000, 1, 0),
                ("b.png", 25_000_000, 4, 2),
                ("a.png", 37_500_000, 5, 0),
                ("c.png", 47_500_000, 6, 0),
            ]
        );
    }

    #[test]
    fn without_again_it_ends_and_the_wait_is_kept() {
        let folder = recording(THREE);
        let mut source = RecordedSource::new(folder.path(), false);
        source.open().expect("open");
        let mut raw = RawFrame::with_capacity(source.frame_bytes());
        let frames = (0..3).filter(|_| source.next(&mut raw, SOON).expect("next"));
        assert_eq!(frames.count(), 3);
        let start = clock::now();
        assert!(
            !source
                .next(&mut raw, Duration::from_millis(20))
                .expect("end")
        );
        assert!(clock::now().since(start) >= Duration::from_millis(20));
        source.open().expect("again");
        assert!(source.next(&mut raw, SOON).expect("next"));
        assert_eq!((raw.bytes.as_slice(), raw.sequence), (&b"a.png"[..], 5));
    }

    #[test]
    fn an_error_in_the_list_names_its_line() {
        let back = THREE.replace("5010000000", "4010000000");
        let twice = THREE.replace("41", "40");
        let outside = THREE.replace("c.png", "../c.png");
        let unknown = THREE.replace("\"sequence\": 41", "\"sequence\": 41, \"x\": 1");
        for (lines, words) in [
            (back.as_str(), "line 2"),
            (&twice, "line 2"),
            (&outside, "inside the folder"),
            (&unknown, "line 2"),
            ("", "no frames"),
        ] {
            let folder = recording(lines);
            let error = RecordedSource::new(folder.path(), false).open();
            let error = error.expect_err("opened").to_string();
            assert!(error.contains(words) && error.contains(INDEX), "{error}");
        }
        let folder = recording(&THREE.replace("b.png", "gone.png"));
        let error = RecordedSource::new(folder.path(), false).open();
        assert!(error.expect_err("opened").to_string().contains("gone.png"));
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(lines in "([a-z{}\":,0-9 .\n]|\"(file|time_ns|sequence)\"){0,200}") {
            let folder = recording(&lines);
            let _ = RecordedSource::new(folder.path(), true).open();
        }
    }
}
