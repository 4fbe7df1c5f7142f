//! Running a plan: the steps in order, each in bands of output rows that threads share. Nothing
//! is allocated.

use super::description::Geometry;
use super::entry::quantised;
use super::kernels::{
    Addition, Block, Blocks, Dense, Kernel, Lines, Other, Saturation, Source, sum_of_bytes,
};
use super::plan::{LeavingForm, Plan, Step, Tensor, Work};
use super::sums::Pixels;
use super::team::Team;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The memory of one run at a time.
pub(crate) struct Buffers {
    tensors: Vec<Blocks>,
    scratch: Vec<Blocks>,
    /// A row of the input, quantised, before its channels are interleaved.
    row: Vec<u8>,
    outputs: Vec<Vec<f32>>,
    /// Time of each step and each exit, when it was asked for.
    times: Vec<Duration>,
}

impl Buffers {
    /// For runs of `plan` by up to `threads` threads.
    pub(crate) fn new(plan: &Plan, threads: usize) -> Self {
        let filled = |&(bytes, fill): &(usize, u8)| Blocks::filled(bytes, fill);
        Self {
            tensors: plan.buffers.iter().map(filled).collect(),
            scratch: vec![Blocks::filled(plan.scratch, 0); threads.max(1)],
            row: vec![0; plan.tensors[0].shape.columns],
            outputs: plan
                .exits
                .iter()
                .map(|e| {
                    let s = e.shape(&plan.tensors);
                    vec![0.0; s.channels * s.rows * s.columns]
                })
                .collect(),
            times: vec![Duration::ZERO; plan.steps.len() + plan.exits.len()],
        }
    }

    /// Exit `index` of the last run, `[channels, rows, columns]`.
    pub(crate) fn output(&self, index: usize) -> &[f32] {
        &self.outputs[index]
    }

    /// What each step, then each exit, of the last timed run took.
    pub(crate) fn times(&self) -> &[Duration] {
        &self.times
    }
}

/// `f` over bands of rows: `output` holds `rows` rows of `row_bytes` bytes, the first of them row
/// `first`.
struct Bands<'f, F> {
    row_bytes: usize,
    f: &'f F,
}

impl<F: Fn(Range<usize>, &mut [u8], &mut [u8]) + Sync> Bands<'_, F> {
    fn run(&self, team: &impl Team, rows: Range<usize>, output: &mut [u8], scratch: &mut [Blocks]) {
        let jobs = scratch.len().min(rows.len());
        if jobs <= 1 {
            if let (Some(own), false) = (scratch.first_mut(), rows.is_empty()) {
                (self.f)(rows, output, own.bytes_mut());
            }
            return;
        }
        let left = jobs / 2;
        let middle = rows.start + rows.len() * left / jobs;
        let (above, below) = output.split_at_mut((middle - rows.start) * self.row_bytes);
        let (ours, theirs) = scratch.split_at_mut(left);
        team.join(
            || self.run(team, rows.start..middle, above, ours),
            || self.run(team, middle..rows.end, below, theirs),
        );
    }
}

impl Plan {
    /// Quantises `values` into the input: `[channels, rows, columns]`, or the channels last if the
    /// network takes it so.
    ///
    /// # Panics
    /// When `values` has another length: a programming error.
    pub(crate) fn quantise(&self, values: &[f32], buffers: &mut Buffers) {
        let tensor = &self.tensors[0];
        let (shape, lines) = (tensor.shape, tensor.lines);
        assert_eq!(
            values.len(),
            shape.channels * shape.rows * shape.columns,
            "network input"
        );
        let bytes = buffers.tensors[tensor.buffer].bytes_mut();
        let (scale, zero) = (tensor.lattice.scale, f32::from(tensor.lattice.zero_point));
        if self.entry.channels_last {
            for (y, row) in values
                .chunks_exact(shape.columns * shape.channels)
                .enumerate()
            {
                let to = &mut bytes[lines.first + y * lines.row_stride..];
                for (pixel, values) in to
                    .chunks_mut(lines.pixel_stride)
                    .zip(row.chunks_exact(shape.channels))
                {
                    self.entry.pixel(values, scale, zero, pixel);
                }
            }
            return;
        }
        let planes = values;
        for (number, row) in planes.chunks_exact(shape.columns).enumerate() {
            let (channel, y) = (number / shape.rows, number % shape.rows);
            for (byte, &value) in buffers.row.iter_mut().zip(row) {
                *byte = quantised(value, scale, zero);
            }
            let to = &mut bytes[lines.first + y * lines.row_stride + channel..];
            for (pixel, &byte) in to.chunks_mut(lines.pixel_stride).zip(&buffers.row) {
                pixel[0] = byte;
            }
        }
    }

    /// Takes `pixels`, `[rows, columns, channels]` bytes of the input's lattice, as the input.
    ///
    /// # Panics
    /// When `pixels` has another length: a programming error.
    pub(crate) fn take_bytes(&self, pixels: &[u8], buffers: &mut Buffers) {
        let tensor = &self.tensors[0];
        let (shape, lines) = (tensor.shape, tensor.lines);
        assert_eq!(
            pixels.len(),
            shape.channels * shape.rows * shape.columns,
            "network input"
        );
        let bytes = buffers.tensors[tensor.buffer].bytes_mut();
        for (y, row) in pixels
            .chunks_exact(shape.columns * shape.channels)
            .enumerate()
        {
            let to = &mut bytes[lines.first + y * lines.row_stride..];
            for (to, from) in to
                .chunks_mut(lines.pixel_stride)
                .zip(row.chunks_exact(shape.channels))
            {
                to[..shape.channels].copy_from_slice(from);
            }
        }
    }

    /// Runs every step on the input that was quantised from `input` (or given as bytes, where no
    /// exit needs more), and brings the exits to f32. `timed` takes the time of each step.
    pub(crate) fn run(&self, input: &[f32], buffers: &mut Buffers, team: &impl Team, timed: bool) {
        for (number, step) in self.steps.iter().enumerate() {
            let began = timed.then(Instant::now);
            self.step(step, buffers, team);
            if let Some(began) = began {
                buffers.times[number] = began.elapsed();
            }
        }
        for number in 0..self.exits.len() {
            let began = timed.then(Instant::now);
            self.leave(number, input, buffers, team);
            if let Some(began) = began {
                buffers.times[self.steps.len() + number] = began.elapsed();
            }
        }
    }

    fn step(&self, step: &Step, buffers: &mut Buffers, team: &impl Team) {
        let to = &self.tensors[step.output];
        // Out of the way while the others are read; nothing is allocated.
        let mut output = std::mem::take(&mut buffers.tensors[to.buffer]);
        let threads = team.count().clamp(1, buffers.scratch.len());
        let (tensors, scratch) = (&buffers.tensors, &mut buffers.scratch[..threads]);
        let from = &self.tensors[step.input];
        let run = Running {
            kernel: self.kernel,
            from,
            to,
            input: tensors[from.buffer].bytes(),
            other: step.other.as_ref().map(|(tensor, addition)| {
                let other = &self.tensors[*tensor];
                Other {
                    bytes: tensors[other.buffer].bytes(),
                    lines: other.lines,
                    addition,
                }
            }),
        };
        let bands = Bands {
            row_bytes: to.lines.row_stride,
            f: &|rows: Range<usize>, output: &mut [u8], scratch: &mut [u8]| {
                run.band(&step.work, rows, output, scratch);
            },
        };
        let above = to.top * to.lines.row_stride;
        bands.run(
            team,
            0..to.shape.rows,
            &mut output.bytes_mut()[above..],
            scratch,
        );
        buffers.tensors[to.buffer] = output;
    }

    fn leave(&self, number: usize, input: &[f32], buffers: &mut Buffers, team: &impl Team) {
        let (exit, out) = (&self.exits[number], &mut buffers.outputs[number]);
        let tensor = &self.tensors[exit.tensor];
        let bytes = buffers.tensors[tensor.buffer].bytes();
        let (scales, zero) = match &exit.form {
            LeavingForm::Sums(sums) => {
                let pixels = Pixels {
                    shape: tensor.shape,
                    lines: tensor.lines,
                    bytes,
                };
                return sums.run(self.kernel, team, pixels, input, out);
            }
            LeavingForm::Bytes { scales, zero_point } => (scales, f32::from(*zero_point)),
        };
        let (shape, lines) = (tensor.shape, tensor.lines);
        let plane = shape.rows * shape.columns;
        for y in 0..shape.rows {
            let row = &bytes[lines.first + y * lines.row_stride..];
            for (c, &scale) in scales.iter().enumerate() {
                let to = &mut out[c * plane + y * shape.columns..][..shape.columns];
                for (to, pixel) in to.iter_mut().zip(row.chunks(lines.pixel_stride)) {
                    *to = (f32::from(pixel[c]) - zero) * scale;
                }
            }
        }
    }
}

/// One step with its memory.
struct Running<'a> {
    kernel: Kernel,
    from: &'a Tensor,
    to: &'a Tensor,
    input: &'a [u8],
    other: Option<Other<'a>>,
}

impl Running<'_> {
    fn band(&self, work: &Work, rows: Range<usize>, output: &mut [u8], scratch: &mut [u8]) {
        let lines = self.to.lines;
        let within = Lines {
            first: lines.first - self.to.top * lines.row_stride,
            ..lines
        };
        match work {
            Work::Dense { window, filter } => {
                let dense = Dense {
                    input: self.input,
                    window: *window,
                    filter: filter.filter(),
                    other: self.other,
                    output: within,
                };
                self.kernel.dense(&dense, rows, output);
            }
            Work::Block(step) => {
                let block = Block {
                    input: self.input,
                    source: match &step.expand {
                        Some((window, filter)) => Source::Convolution {
                            window: *window,
                            filter: filter.filter(),
                        },
                        None => Source::Copy(self.from.lines),
                    },
                    wide: step.wide,
                    taps: step.taps.taps(step.side, step.stride, step.start),
                    above: step.above,
                    project: step.project.as_ref().map(|p| p.filter()),
                    other: self.other,
                    output: within,
                };
                self.kernel.block(&block, rows, output, scratch);
            }
            Work::Add(addition) => {
                if let Some(other) = &self.other {
                    self.add(addition, other, &within, rows, output);
                }
            }
            Work::MaxPool {
                geometry,
                low,
                high,
            } => {
                let saturation = Saturation {
                    zero_point: 0,
                    low: *low,
                    high: *high,
                };
                self.max_pool(geometry, saturation, &within, rows, output);
            }
        }
    }

    fn add(
        &self,
        addition: &Addition,
        other: &Other<'_>,
        within: &Lines,
        rows: Range<usize>,
        output: &mut [u8],
    ) {
        let wide = self.to.shape.columns * within.pixel_stride;
        let first = rows.start;
        for y in rows {
            let of =
                |bytes: &'_ [u8], lines: &Lines| lines.first + y * lines.row_stride..bytes.len();
            let left = &self.input[of(self.input, &self.from.lines)][..wide];
            let right = &other.bytes[of(other.bytes, &other.lines)][..wide];
            let to = within.first + (y - first) * within.row_stride;
            let to = &mut output[to..][..wide];
            for ((to, &l), &r) in to.iter_mut().zip(left).zip(right) {
                *to = sum_of_bytes(l, r, addition);
            }
        }
    }

    fn max_pool(
        &self,
        g: &Geometry,
        saturation: Saturation,
        within: &Lines,
        rows: Range<usize>,
        output: &mut [u8],
    ) {
        let (shape, from) = (self.from.shape, self.from.lines);
        let stride = within.pixel_stride;
        let first = rows.start;
        // Only what exists counts: the padding of a maximum is below everything.
        let clipped = |at: usize, step: usize, pad: usize, window: usize, side: usize| {
            let start = at * step;
            start.saturating_sub(pad)..(start + window).saturating_sub(pad).min(side)
        };
        for y in rows {
            let to = within.first + (y - first) * within.row_stride;
            let to = &mut output[to..][..self.to.shape.columns * stride];
            for (x, pixel) in to.chunks_exact_mut(stride).enumerate() {
                pixel.fill(saturation.low);
                for row in clipped(y, g.row_stride, g.pads.top, g.rows, shape.rows) {
                    for column in clipped(x, g.column_stride, g.pads.left, g.columns, shape.columns)
                    {
                        let at = from.first + row * from.row_stride + column * from.pixel_stride;
                        for (to, &byte) in pixel.iter_mut().zip(&self.input[at..]) {
                            *to = (*to).max(byte);
                        }
                    }
                }
                pixel
                    .iter_mut()
                    .for_each(|b| *b = (*b).min(saturation.high));
            }
        }
    }
}
