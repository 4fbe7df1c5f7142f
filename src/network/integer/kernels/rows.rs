//! Bands of output rows: a convolution, or a fused block of up to four steps.
//!
//! In a block the expanded tensor, several times as wide as what goes in and comes out, lives in
//! a ring of as many rows as the depthwise kernel is high, and never leaves the cache.

use super::blocks::BLOCK;
use super::depthwise::{self, MOST_TAPS, Taps, read_quads};
use super::isa::{Addition, Isa, LANES, QUAD};
use super::tiles::{self, Columns, Filter, Operand, Pixels};
use std::ops::Range;

/// Where the pixels of a tensor's rows are, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Of what is given: the first pixel of the first row.
    pub(crate) first: usize,
    pub(crate) row_stride: usize,
    pub(crate) pixel_stride: usize,
    pub(crate) columns: usize,
}

impl Lines {
    /// Whether `rows` rows of `groups` groups of sixteen channels lie within `length` bytes.
    fn fit(&self, rows: usize, groups: usize, length: usize) -> bool {
        rows > 0
            && self.columns > 0
            && groups * LANES <= self.pixel_stride
            && self.first + (rows - 1) * self.row_stride + self.columns * self.pixel_stride
                <= length
    }
}

/// Where a convolution's products start: at output row `y` and column 0, `first + y * advance`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) operand: Operand,
    pub(crate) first: usize,
    pub(crate) advance: usize,
}

impl Window {
    fn fits(&self, last_row: usize, columns: usize, length: usize) -> bool {
        let start = self.first + last_row * self.advance;
        self.operand
            .extent(columns.div_ceil(QUAD))
            .is_some_and(|extent| start + extent <= length)
    }
}

/// What rows are added to: the same place of another tensor.
#[derive(Clone, Copy)]
pub(crate) struct Other<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) lines: Lines,
    pub(crate) addition: &'a Addition,
}

/// A convolution that is not depthwise, with an addition behind it or not.
#[derive(Clone, Copy)]
pub(crate) struct Dense<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) window: Window,
    pub(crate) filter: Filter<'a>,
    pub(crate) other: Option<Other<'a>>,
    /// Of the output, from the band's first row.
    pub(crate) output: Lines,
}

/// What fills the rows that a depthwise convolution reads.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Convolution {
        window: Window,
        filter: Filter<'a>,
    },
    /// The input as it is.
    Copy(Lines),
}

/// The rows that a depthwise convolution reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Quads before the first column.
    pub(crate) margin: usize,
    /// Quads a row, with margins.
    pub(crate) quads: usize,
    pub(crate) groups: usize,
    /// What the tensor's zero is: what lies around it.
    pub(crate) fill: u8,
}

impl Wide {
    const fn row_bytes(&self) -> usize {
        self.groups * self.quads * BLOCK
    }
}

/// Depthwise convolution with what makes its input and what is made of its output.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) source: Source<'a>,
    pub(crate) wide: Wide,
    pub(crate) taps: Taps<'a>,
    /// Rows of zeros above the wide rows.
    pub(crate) above: usize,
    /// 1 x 1 convolution behind it; without one its output leaves.
    pub(crate) project: Option<Filter<'a>>,
    pub(crate) other: Option<Other<'a>>,
    /// Of the output, from the band's first row.
    pub(crate) output: Lines,
}

impl Block<'_> {
    /// Bytes of scratch: the ring, a row of zeros, a row of the depthwise output.
    pub(crate) fn scratch(wide: &Wide, side: usize, columns: usize) -> Option<usize> {
        let row = wide.groups.checked_mul(wide.quads)?.checked_mul(BLOCK)?;
        let narrow = wide
            .groups
            .checked_mul(columns.div_ceil(QUAD))?
            .checked_mul(BLOCK)?;
        row.checked_mul(side + 1)?.checked_add(narrow)
    }

    fn output_groups(&self) -> usize {
        self.project.map_or(self.wide.groups, |p| p.groups)
    }

    fn projection(&self) -> Operand {
        let quads = self.output.columns.div_ceil(QUAD);
        Operand {
            segments: self.wide.groups,
            segment_stride: quads * BLOCK,
            depth: LANES / QUAD,
            depth_stride: QUAD * QUAD,
            pixel_stride: QUAD,
            quad_stride: BLOCK,
        }
    }
}

fn other_fits(
    other: Option<&Other<'_>>,
    rows: &Range<usize>,
    groups: usize,
    columns: usize,
) -> bool {
    other.is_none_or(|o| o.lines.columns >= columns && o.lines.fit(rows.end, groups, o.bytes.len()))
}

impl Dense<'_> {
    /// The bounds argument of [`dense`], with `weights` bytes a block of weights.
    pub(super) fn check(&self, weights: usize, rows: &Range<usize>, output: &[u8]) {
        self.filter.check(weights);
        assert!(rows.start < rows.end, "rows");
        assert!(self.filter.steps == self.window.operand.steps(), "steps");
        let columns = self.output.columns;
        assert!(
            self.window.fits(rows.end - 1, columns, self.input.len()),
            "input"
        );
        assert!(
            self.output
                .fit(rows.len(), self.filter.groups, output.len()),
            "output"
        );
        assert!(
            other_fits(self.other.as_ref(), rows, self.filter.groups, columns),
            "addition"
        );
    }
}

impl Block<'_> {
    /// The bounds argument of [`block`], with `weights` bytes a block of weights.
    pub(super) fn check(&self, weights: usize, rows: &Range<usize>, output: &[u8], scratch: &[u8]) {
        let (wide, taps, columns) = (&self.wide, &self.taps, self.output.columns);
        taps.check(weights);
        assert!(rows.start < rows.end && taps.groups == wide.groups, "rows");
        let groups = self.output_groups();
        assert!(self.output.fit(rows.len(), groups, output.len()), "output");
        assert!(
            other_fits(self.other.as_ref(), rows, groups, columns),
            "addition"
        );
        if let Some(project) = &self.project {
            project.check(weights);
            assert!(project.steps == self.projection().steps(), "projection");
        }
        match &self.source {
            Source::Convolution { window, filter } => {
                filter.check(weights);
                assert!(filter.groups == wide.groups, "expansion");
                assert!(filter.steps == window.operand.steps(), "steps");
                assert!(
                    window.fits(wide.rows - 1, wide.columns, self.input.len()),
                    "input"
                );
            }
            Source::Copy(lines) => {
                assert!(lines.columns >= wide.columns, "input");
                assert!(lines.fit(wide.rows, wide.groups, self.input.len()), "input");
            }
        }
        let quads = columns.div_ceil(QUAD);
        let read = read_quads(taps.side, taps.stride, taps.start, quads);
        assert!(
            wide.quads >= read.max(wide.margin + wide.columns.div_ceil(QUAD)),
            "wide rows"
        );
        let needed = Block::scratch(wide, taps.side, columns);
        assert!(needed.is_some_and(|n| n <= scratch.len()), "scratch");
    }
}

fn sink<'a>(to: *mut u8, output: &Lines, row: usize, other: Option<&Other<'a>>) -> Pixels<'a> {
    let (from, stride) = other.map_or((std::ptr::null(), 0), |o| {
        let at = o.lines.first + row * o.lines.row_stride;
        (o.bytes[at..].as_ptr(), o.lines.pixel_stride)
    });
    Pixels {
        to,
        pixel_stride: output.pixel_stride,
        columns: output.columns,
        other: from,
        other_stride: stride,
        addition: other.map(|o| o.addition),
    }
}

/// Bytes of weights that stay in a core's own cache beside a band's input. The networks of the unit tests
/// are small.
const WEIGHTS_AT_ONCE: usize = if cfg!(test) { 2 * 1024 } else { 128 * 1024 };

/// How many groups of outputs go through all rows of a band before the next: all if their weights stay
/// in the cache, otherwise as many as do, in whole tiles. Where the weights are large, the rows are few.
fn groups_at_once(filter: &Filter<'_>, bytes: usize, tile: usize) -> usize {
    let fit = WEIGHTS_AT_ONCE / (filter.steps * bytes).max(1);
    if filter.groups <= fit {
        return filter.groups;
    }
    (fit / tile * tile).max(tile)
}

/// Output rows `rows` of a convolution.
///
/// # Safety
/// The processor has the set, and [`Dense::check`] passed.
#[inline(always)]
pub(super) unsafe fn dense<I: Isa, const QUADS: usize, const GROUPS: usize>(
    dense: &Dense<'_>,
    rows: Range<usize>,
    output: &mut [u8],
) {
    let quads = dense.output.columns.div_ceil(QUAD);
    let at_once = groups_at_once(&dense.filter, I::WEIGHTS, GROUPS);
    for group in (0..dense.filter.groups).step_by(at_once) {
        let filter = dense.filter.part(group, at_once, I::WEIGHTS);
        for y in rows.clone() {
            // SAFETY: `check` holds for the last row, and with it for those before; a part's groups
            // are among the output's.
            unsafe {
                let row = dense.output.first + (y - rows.start) * dense.output.row_stride;
                let to = output.as_mut_ptr().add(row);
                let sink = sink(to, &dense.output, y, dense.other.as_ref()).from(group);
                let from = dense
                    .input
                    .as_ptr()
                    .add(dense.window.first + y * dense.window.advance);
                tiles::row::<I, QUADS, GROUPS>(from, &dense.window.operand, quads, &filter, &sink);
            }
        }
    }
}

/// Brings the bytes around the wide rows to the tensor's zero.
fn clear_margins(wide: &Wide, rows: &mut [u8]) {
    let end = wide.margin + wide.columns / QUAD;
    for row in rows.chunks_exact_mut(wide.quads * BLOCK) {
        row[..wide.margin * BLOCK].fill(wide.fill);
        row[end * BLOCK..].fill(wide.fill);
    }
}

/// The last quad's columns that do not exist.
fn clear_tail(wide: &Wide, row: &mut [u8]) {
    let columns = wide.columns % QUAD;
    if columns == 0 {
        return;
    }
    let quad = wide.margin + wide.columns / QUAD;
    for group in row.chunks_exact_mut(wide.quads * BLOCK) {
        for lane in group[quad * BLOCK..][..BLOCK].chunks_exact_mut(QUAD) {
            lane[columns..].fill(wide.fill);
        }
    }
}

/// Output rows `rows` of a block.
///
/// # Safety
/// The processor has the set, and [`Block::check`] passed.
#[inline(always)]
pub(super) unsafe fn block<
    I: Isa,
    const QUADS: usize,
    const GROUPS: usize,
    const TAP_QUADS: usize,
>(
    block: &Block<'_>,
    rows: Range<usize>,
    output: &mut [u8],
    scratch: &mut [u8],
) {
    let (wide, taps) = (&block.wide, &block.taps);
    let row_bytes = wide.row_bytes();
    let (ring, rest) = scratch.split_at_mut(taps.side * row_bytes);
    let (zeros, narrow) = rest.split_at_mut(row_bytes);
    clear_margins(wide, ring);
    let above = |y: usize, tap: usize| (y * taps.stride + tap).checked_sub(block.above);
    let outside = |row: Option<usize>| row.is_none_or(|r| r >= wide.rows);
    if outside(above(rows.start, 0)) || outside(above(rows.end - 1, taps.side - 1)) {
        zeros.fill(wide.fill);
    }
    let quads = block.output.columns.div_ceil(QUAD);
    let projection = block.projection();
    let first = rows.start;
    let mut next = above(first, 0).unwrap_or(0);
    for y in rows {
        let end = (y * taps.stride + taps.side)
            .saturating_sub(block.above)
            .min(wide.rows);
        while next < end {
            let slot = &mut ring[next % taps.side * row_bytes..][..row_bytes];
            // SAFETY: `next` is a wide row, and the slot holds one.
            unsafe { source::<I, QUADS, GROUPS>(block, next, slot.as_mut_ptr()) };
            clear_tail(wide, slot);
            next += 1;
        }
        let mut from = [zeros.as_ptr(); MOST_TAPS];
        for (tap, from) in from.iter_mut().enumerate().take(taps.side) {
            if let Some(row) = above(y, tap).filter(|&r| r < wide.rows) {
                *from = ring[row % taps.side * row_bytes..].as_ptr();
            }
        }
        // SAFETY: the ring holds the rows that the taps look at, `narrow` a row of their outputs,
        // and `check` holds for the last row of the output, and with it for those before.
        unsafe {
            depthwise::row::<I, TAP_QUADS>(
                &from,
                wide.quads * BLOCK,
                quads,
                taps,
                narrow.as_mut_ptr(),
            );
            let to = output
                .as_mut_ptr()
                .add(block.output.first + (y - first) * block.output.row_stride);
            let sink = sink(to, &block.output, y, block.other.as_ref());
            match &block.project {
                Some(filter) => {
                    tiles::row::<I, QUADS, GROUPS>(
                        narrow.as_ptr(),
                        &projection,
                        quads,
                        filter,
                        &sink,
                    );
                }
                None => leave::<I>(narrow.as_ptr(), wide.groups, quads, &sink),
            }
        }
    }
}

/// # Safety
/// As for [`block`]; `row` is a wide row, and `to` has a row's bytes.
#[inline(always)]
unsafe fn source<I: Isa, const QUADS: usize, const GROUPS: usize>(
    block: &Block<'_>,
    row: usize,
    to: *mut u8,
) {
    let wide = &block.wide;
    let quads = wide.columns.div_ceil(QUAD);
    // SAFETY: `Block::check` holds for the last row and column, and with it for all.
    unsafe {
        let sink = Columns {
            to: to.add(wide.margin * BLOCK),
            group_stride: wide.quads * BLOCK,
        };
        match &block.source {
            Source::Convolution { window, filter } => {
                let from = block
                    .input
                    .as_ptr()
                    .add(window.first + row * window.advance);
                tiles::row::<I, QUADS, GROUPS>(from, &window.operand, quads, filter, &sink);
            }
            Source::Copy(lines) => {
                let from = block
                    .input
                    .as_ptr()
                    .add(lines.first + row * lines.row_stride);
                for group in 0..wide.groups {
                    for quad in 0..quads {
                        let at = |x: usize| {
                            let column = (quad * QUAD + x).min(wide.columns - 1);
                            from.add(column * lines.pixel_stride + group * LANES)
                        };
                        let packed = I::from_pixels([at(0), at(1), at(2), at(3)]);
                        tiles::Sink::put::<I>(&sink, group, quad, packed);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As for [`block`]; `from` has `groups` times `quads` blocks.
#[inline(always)]
unsafe fn leave<I: Isa>(from: *const u8, groups: usize, quads: usize, sink: &Pixels<'_>) {
    for group in 0..groups {
        for quad in 0..quads {
            // SAFETY: within what the caller has.
            unsafe {
                let packed = I::from_channels(from.add((group * quads + quad) * BLOCK));
                tiles::Sink::put::<I>(sink, group, quad, packed);
            }
        }
    }
}
