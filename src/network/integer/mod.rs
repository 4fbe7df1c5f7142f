//! Quantised networks in integers: bytes in, bytes between, exact sums, the same bytes on every
//! processor.
//!
//! [`reader`] turns a QDQ file into a [`description`] of lattices and layers; [`plan`] decides for
//! one input shape and one kernel which layers run as one step ([`fuse`]), where every value
//! lives and how weights are packed ([`pack`]); [`run`] follows the plan and allocates nothing;
//! [`kernels`] do the work. What the reader or the plan refuse goes to tract, node by node in the
//! report.

mod description;
mod entry;
mod fuse;
pub(crate) mod kernels;
mod pack;
mod peak;
mod plan;
mod reader;
#[cfg(test)]
mod reader_tests;
mod run;
mod shapes;
mod sums;
mod team;
#[cfg(test)]
mod tests;

pub use entry::Bytes;
pub use kernels::{Kernel, KernelError};
pub use reader::Refusal;

use super::Threads;
use plan::Plan;
use run::Buffers;
use serde::Serialize;
use shapes::Shape;
use std::sync::Arc;
use team::Team;
use tract_onnx::pb;

/// What one fused step costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepCost {
    /// First and last node of the file in it.
    pub nodes: String,
    /// Microseconds of the timed run.
    pub microseconds: f64,
    /// Multiplications of the convolutions in it.
    pub products: u64,
}

/// Multiplications of bytes per second that one thread reaches here at best, with `kernel`:
/// measured for `time`, with all data in the first cache.
pub fn peak_products(kernel: Kernel, time: std::time::Duration) -> f64 {
    peak::peak(kernel, false, time)
}

/// The same of the search's first pass, whose numbers may have fewer bits.
pub fn peak_search_products(kernel: Kernel, time: std::time::Duration) -> f64 {
    peak::peak(kernel, true, time)
}

/// A network that runs in integers, with the memory of one run at a time.
pub(super) struct Integers {
    plan: Arc<Plan>,
    buffers: Buffers,
    threads: Threads,
    /// `[channels, rows, columns]`, or the channels last; filled by the caller. Empty until then.
    input: Vec<f32>,
    /// Whether the plan's input was written as bytes since the floats were.
    as_bytes: bool,
    has_run: bool,
}

impl Team for Threads {
    fn count(&self) -> usize {
        Threads::count(self)
    }

    fn join(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        Threads::join(self, first, second);
    }
}

impl Integers {
    /// Reads `graph` for an input of `shape`, `[1, channels, rows, columns]`, or the channels last if
    /// the graph begins by moving them.
    ///
    /// # Errors
    /// The nodes that do not run in integers.
    pub(super) fn load(
        graph: &pb::GraphProto,
        shape: &[usize],
        outputs: &[&str],
        kernel: Kernel,
        threads: &Threads,
    ) -> Result<Self, Vec<Refusal>> {
        let refused = |node: &str, reason: String| {
            let found = graph.node.iter().find(|n| n.name == node);
            vec![Refusal {
                node: node.into(),
                operator: found.map_or("input", |n| &n.op_type).into(),
                reason,
            }]
        };
        let &[1, a, b, c] = shape else {
            return Err(refused("input", format!("a shape of {shape:?}")));
        };
        let description = reader::read(graph, outputs)?;
        let [channels, rows, columns] = match description.entry.channels_last {
            true => [c, a, b],
            false => [a, b, c],
        };
        let shape = Shape {
            channels,
            rows,
            columns,
        };
        let plan =
            Plan::new(&description, shape, kernel).map_err(|e| refused(&e.node, e.problem))?;
        Ok(Self {
            buffers: Buffers::new(&plan, threads.count()),
            input: Vec::new(),
            plan: Arc::new(plan),
            threads: threads.clone(),
            as_bytes: false,
            has_run: false,
        })
    }

    /// Another one on the same weights.
    pub(super) fn another(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            buffers: Buffers::new(&self.plan, self.threads.count()),
            threads: self.threads.clone(),
            input: Vec::new(),
            as_bytes: false,
            has_run: false,
        }
    }

    /// Shape of output `index`, `[1, channels, rows, columns]`.
    pub(super) fn output_shape(&self, index: usize) -> [usize; 4] {
        let shape = self.plan.exits[index].shape(&self.plan.tensors);
        [1, shape.channels, shape.rows, shape.columns]
    }

    pub(super) fn kernel(&self) -> Kernel {
        self.plan.kernel
    }

    /// Operators in the file that are computed, by name.
    pub(super) fn steps(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.plan.steps.iter().map(|s| s.work.name())
    }

    /// Values that are rounded to bytes, the input among them.
    pub(super) fn rounded(&self) -> usize {
        self.plan.rounded
    }

    pub(super) fn input_mut(&mut self) -> &mut [f32] {
        self.as_bytes = false;
        self.input.resize(self.plan.input_length(), 0.0);
        &mut self.input
    }

    /// What the bytes of a picture mean; `None` where the network does more to its input than to
    /// round it.
    pub(super) fn picture(&self) -> Option<Bytes> {
        let lattice = self.plan.tensors[0].lattice;
        (!self.plan.entry.channels_last).then_some(Bytes {
            scale: lattice.scale,
            zero_point: lattice.zero_point,
        })
    }

    /// Takes the bytes of a picture, `[rows, columns, channels]`.
    pub(super) fn take_bytes(&mut self, pixels: &[u8]) {
        self.plan.take_bytes(pixels, &mut self.buffers);
        self.as_bytes = true;
    }

    /// Runs on the input that was written last.
    pub(super) fn run(&mut self, timed: bool) {
        let Self {
            plan,
            buffers,
            threads,
            input,
            as_bytes,
            ..
        } = self;
        if !*as_bytes {
            input.resize(plan.input_length(), 0.0);
            plan.quantise(input, buffers);
        }
        threads.enter(|| plan.run(input, buffers, threads, timed));
        self.has_run = true;
    }

    /// What each step of the last timed run cost.
    pub(super) fn costs(&self) -> Vec<StepCost> {
        let steps = self.plan.steps.iter();
        let steps = steps.map(|step| (&step.name, step.products));
        let exits = self
            .plan
            .exits
            .iter()
            .map(|exit| (&exit.name, exit.products(&self.plan)));
        steps
            .chain(exits)
            .zip(self.buffers.times())
            .map(|((name, products), time)| StepCost {
                nodes: name.clone(),
                microseconds: time.as_secs_f64() * 1e6,
                products,
            })
            .collect()
    }

    /// Output `index` of the last run.
    pub(super) fn output(&self, index: usize) -> Option<&[f32]> {
        self.has_run.then(|| self.buffers.output(index))
    }
}
