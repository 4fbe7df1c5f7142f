//! What can be wrong with a network.

use super::accelerator::{self, AcceleratorError, CpuNode};
use super::integer::{KernelError, Refusal};
use super::quantised::QuantisedError;
use super::sides;
use thiserror::Error;

/// Why a network cannot be loaded or run.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The quantised form is not the supported one.
    #[error("{name}: quantised graph not usable")]
    Quantised {
        /// The network.
        name: String,
        /// Why.
        source: QuantisedError,
    },
    /// tract cannot read or optimise the file.
    #[error(
        "{name}: cannot be used for an input of {}: it is no whole ONNX file, or has an operator that partgate cannot run (log level debug says what stopped it: `-vv`, or RUST_LOG=debug)",
        sides(shape)
    )]
    Load {
        /// The network.
        name: String,
        /// Input shape.
        shape: Vec<usize>,
        /// tract's chain of causes.
        message: String,
    },
    /// It is not what its description says.
    #[error("{name}: {problem}; correct the description")]
    Described {
        /// The network.
        name: String,
        /// What differs.
        problem: String,
    },
    /// A promised output is missing or has another shape.
    #[error("{name}: output `{output}`: {problem}")]
    Output {
        /// The network.
        name: String,
        /// The output.
        output: String,
        /// What is off.
        problem: String,
    },
    /// The network failed while running.
    #[error("{name}: failed while running, so this part has no verdict: {message}")]
    Run {
        /// The network.
        name: String,
        /// tract's chain of causes.
        message: String,
    },
    /// A weight is not a number.
    #[error(
        "{name}: {problem}: the file is damaged, or its training failed; such a network gives the same for every picture. Export it again"
    )]
    Unsound {
        /// The network.
        name: String,
        /// Which weight.
        problem: String,
    },
    /// The kernel that the environment asks for cannot run.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Nodes of a quantised network would run in floats.
    #[error("{name}: does not run in integers: {}", reasons(.nodes))]
    NotIntegers {
        /// The network.
        name: String,
        /// The nodes.
        nodes: Vec<Refusal>,
    },
    /// The accelerator cannot be used here.
    #[error(transparent)]
    Accelerator(#[from] AcceleratorError),
    /// A quantised network cannot run on the accelerator.
    #[error(
        "{name} is quantised (int8), and only f32 networks run on CUDA: fit the product with an f32 backbone (`partgate-train fit --backbone efficientnet-lite0-f32`), or choose the CPU (`inference.accelerator = \"cpu\"`, `--accelerator cpu`), where it runs in integers"
    )]
    NotFloats {
        /// The network.
        name: String,
    },
    /// Nodes of a network for the accelerator would run on the CPU.
    #[error(
        "{name}: {} nodes do not run on the GPU: {}; allow it with `inference.cpu_nodes = true` (`--cpu-nodes`), or use a backbone without these operators", .nodes.len(), accelerator::listed(.nodes)
    )]
    OnCpu {
        /// The network.
        name: String,
        /// The nodes.
        nodes: Vec<CpuNode>,
    },
    /// No thread pool of that size.
    #[error("a pool of {threads} threads cannot be made: {message}")]
    Threads {
        /// Asked for.
        threads: usize,
        /// What the system said.
        message: String,
    },
}

fn reasons(nodes: &[Refusal]) -> String {
    let word = |n: &Refusal| format!("{} `{}`: {}", n.operator, n.node, n.reason);
    match nodes {
        [] => "it is described as f32".into(),
        _ => nodes.iter().map(word).collect::<Vec<_>>().join("; "),
    }
}
