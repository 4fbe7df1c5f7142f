//! Memory in whole cache lines, so that no vector straddles two.

/// Bytes of a block: sixteen lanes of four bytes.
pub(crate) const BLOCK: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; BLOCK]);

/// Bytes that start on a cache line and whose number is a multiple of [`BLOCK`].
#[derive(Clone, Default)]
pub(crate) struct Blocks {
    lines: Vec<Line>,
}

impl Blocks {
    /// At least `bytes` bytes, all `value`.
    pub(crate) fn filled(bytes: usize, value: u8) -> Self {
        Self {
            lines: vec![Line([value; BLOCK]); bytes.div_ceil(BLOCK)],
        }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        let length = self.lines.len() * BLOCK;
        // SAFETY: a `Line` is 64 bytes without padding, and every bit pattern is a `u8`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), length) }
    }

    /// The bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.lines.len() * BLOCK;
        // SAFETY: as in `bytes`; the borrow is exclusive, and every `u8` is valid in a `Line`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), length) }
    }
}
