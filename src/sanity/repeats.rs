//! A camera, grabber or driver that delivers an old picture again with a new time stamp. One good
//! picture would pass every part. Because of sensor noise no two pictures are identical.

use super::Finding;
use blake3::Hash;
use heapless::HistoryBuf;

/// A new picture is compared with this many earlier ones: more than a driver's ring of buffers holds.
const REMEMBERED: usize = 16;

/// Compares each inspected picture with earlier ones, byte for byte (by BLAKE3 of the frame as it came
/// from the camera).
#[derive(Debug, Default)]
pub struct Repeats {
    seen: HistoryBuf<Hash, REMEMBERED>,
}

impl Repeats {
    /// A finding if `bytes` are those of an earlier picture.
    pub fn check(&mut self, bytes: &[u8]) -> Option<Finding> {
        let hash = blake3::hash(bytes);
        let ago = self.seen.oldest_ordered().rev().position(|h| *h == hash);
        self.seen.write(hash);
        ago.map(|ago| Finding::Repeated { ago: ago + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_comes_again_is_found_for_as_long_as_it_comes() {
        let mut repeats = Repeats::default();
        let pictures: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 100]).collect();
        for picture in &pictures {
            assert_eq!(repeats.check(picture), None);
        }
        for _ in 0..50 {
            let found = repeats.check(&pictures[39]);
            assert_eq!(found, Some(Finding::Repeated { ago: 1 }));
        }
        // A ring of four old buffers.
        let mut repeats = Repeats::default();
        for round in 0..5 {
            for picture in &pictures[..4] {
                let found = repeats.check(picture);
                assert_eq!(found.is_some(), round > 0, "{found:?}");
            }
        }
    }
}
