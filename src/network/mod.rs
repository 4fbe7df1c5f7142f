//! ONNX files to something that runs: one named f32 input of a fixed shape, named f32 outputs.
//! The backbone, the neighbourhood network and the refinement network all go through here, so that
//! quantisation means the same thing and what runs is reported for each. Quantised files run in
//! integers where all of their nodes can (`network/integer`); everything else runs in tract, on the
//! CPU, or on a GPU where that is asked for (`network/cuda`).

mod accelerator;
#[cfg(feature = "cuda")]
mod cuda;
mod finite;
mod floats;
pub(crate) mod integer;
mod quantised;
mod threads;

pub use accelerator::{
    Accelerator, AcceleratorError, CpuNode, DeviceReport, Found, Need, Placement,
};
#[cfg(feature = "cuda")]
pub(crate) use cuda::DeviceSearch;
pub(crate) use finite::all_finite;
pub use integer::{
    Bytes, Kernel, KernelError, Refusal, StepCost, peak_products, peak_search_products,
};
pub use quantised::QuantisedError;
pub use threads::Threads;

use floats::{Floats, Typed};
use integer::Integers;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{RunOptions, TypedSimplePlan};

/// The arithmetic that a network file prescribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point throughout.
    F32,
    /// Weights i8 per channel, activations u8, as QuantizeLinear / DequantizeLinear pairs.
    Int8,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        })
    }
}

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

/// Which kernels run the network: nothing here happens without being said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelReport {
    /// Engine and device.
    pub engine: String,
    /// Arithmetic that the file prescribes.
    pub precision: Precision,
    /// Threads that share one image.
    pub threads: usize,
    /// Nodes whose results are integers.
    pub integer_nodes: usize,
    /// Nodes whose results are floats.
    pub float_nodes: usize,
    /// Activations rounded to u8 lattices inside the float graph; 0 for an f32 file.
    pub rounded_activations: usize,
    /// Operator names with their counts after optimisation.
    pub operators: Vec<(String, usize)>,
    /// Nodes of a quantised file because of which it runs in floats.
    pub refused_nodes: Vec<Refusal>,
    /// Where each node runs, if an accelerator runs the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReport>,
}

impl Accelerator {
    /// Whether it can run a network of this arithmetic; errors call the network `name`.
    ///
    /// # Errors
    /// [`NetworkError::NotFloats`] for a quantised network and CUDA.
    pub fn takes(self, name: &str, precision: Precision) -> Result<(), NetworkError> {
        match (self, precision) {
            (Accelerator::Cuda, Precision::Int8) => {
                Err(NetworkError::NotFloats { name: name.into() })
            }
            (Accelerator::Cpu, _) | (_, Precision::F32) => Ok(()),
        }
    }

    /// Everything that it needs from this machine, in the order in which it is tried, up to the
    /// first that is missing. Empty for the CPU. The first call takes seconds where there is a GPU.
    pub fn needs(self) -> Vec<Need> {
        if self == Accelerator::Cpu {
            return Vec::new();
        }
        #[cfg(feature = "cuda")]
        return cuda::needs();
        #[cfg(not(feature = "cuda"))]
        Vec::from([Need {
            what: "CUDA",
            found: Err(AcceleratorError::NotBuilt),
        }])
    }
}

/// What a network promises: names and shapes that the file must keep.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    /// What errors call it, such as "backbone `efficientnet-lite0-int8`".
    pub name: String,
    /// Shape of the one input.
    pub input: Vec<usize>,
    /// Outputs in the order in which [`Network::output`] numbers them.
    pub outputs: Vec<(&'a str, Vec<usize>)>,
    /// Arithmetic that the file must prescribe.
    pub precision: Precision,
}

/// A network ready to run at one input shape.
pub struct Network {
    name: String,
    engine: Engine,
    kernels: KernelReport,
}

enum Engine {
    Integers(Box<Integers>),
    Tract(Box<Floats>),
    #[cfg(feature = "cuda")]
    Gpu(Box<cuda::Gpu>),
}

fn chain(error: &TractError) -> String {
    // tract's own Debug form adds a backtrace; the causes are what a user can act on.
    error
        .chain()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

impl Network {
    /// Loads ONNX `bytes` and checks that they keep `signature`. A quantised file runs in integers
    /// if all of it can, and in floats otherwise; [`KernelReport::refused_nodes`] says why.
    ///
    /// # Errors
    /// [`NetworkError`] naming the network, node or output.
    pub fn load(
        bytes: &[u8],
        signature: &Signature<'_>,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let (reader, proto) = read(bytes, signature)?;
        let mut refused_nodes = Vec::new();
        if let (Precision::Int8, Some(graph)) = (signature.precision, &proto.graph) {
            let outputs: Vec<&str> = signature.outputs.iter().map(|(name, _)| *name).collect();
            let kernel = Kernel::chosen()?;
            match Integers::load(graph, &signature.input, &outputs, kernel, threads) {
                Ok(integers) => return Self::in_integers(integers, signature, threads),
                Err(nodes) => refused_nodes = nodes,
            }
        }
        Self::in_floats(&reader, proto, signature, threads, refused_nodes)
    }

    /// As [`Network::load`], where `placement` wants the network.
    ///
    /// # Errors
    /// As [`Network::load`]. For an accelerator also [`NetworkError::Accelerator`] if it cannot be
    /// used here, [`NetworkError::NotFloats`] for a quantised file, and [`NetworkError::OnCpu`] if
    /// nodes would run on the CPU and `placement` does not allow it.
    pub fn load_placed(
        bytes: &[u8],
        signature: &Signature<'_>,
        threads: &Threads,
        placement: Placement,
    ) -> Result<Self, NetworkError> {
        placement.accelerator.built()?;
        // What is wrong with the product is told before what is wrong with the machine.
        placement
            .accelerator
            .takes(&signature.name, signature.precision)?;
        match placement.accelerator {
            Accelerator::Cpu => Self::load(bytes, signature, threads),
            #[cfg(feature = "cuda")]
            Accelerator::Cuda => Self::on_gpu(bytes, signature, threads, placement.cpu_nodes),
            #[cfg(not(feature = "cuda"))]
            Accelerator::Cuda => Err(AcceleratorError::NotBuilt.into()),
        }
    }

    /// As [`Network::load`], by tract whatever the file.
    #[cfg(test)]
    pub(crate) fn load_in_floats(
        bytes: &[u8],
        signature: &Signature<'_>,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let (reader, proto) = read(bytes, signature)?;
        Self::in_floats(&reader, proto, signature, threads, Vec::new())
    }

    fn in_integers(
        integers: Integers,
        signature: &Signature<'_>,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        for (index, (output, want)) in signature.outputs.iter().enumerate() {
            let found = integers.output_shape(index);
            if found != want[..] {
                return Err(NetworkError::Output {
                    name: signature.name.clone(),
                    output: (*output).into(),
                    problem: format!("gives {}, described as {}", sides(&found), sides(want)),
                });
            }
        }
        let kernels = KernelReport {
            engine: format!("integers by {} on the CPU", integers.kernel()),
            precision: signature.precision,
            threads: threads.count(),
            integer_nodes: integers.steps().count(),
            float_nodes: 0,
            rounded_activations: integers.rounded(),
            operators: quantised::census(integers.steps()),
            refused_nodes: Vec::new(),
            device: None,
        };
        Ok(Self {
            name: signature.name.clone(),
            engine: Engine::Integers(Box::new(integers)),
            kernels,
        })
    }

    fn in_floats(
        reader: &tract_onnx::Onnx,
        proto: tract_onnx::pb::ModelProto,
        signature: &Signature<'_>,
        threads: &Threads,
        refused_nodes: Vec<Refusal>,
    ) -> Result<Self, NetworkError> {
        let load = |e: TractError| refused(signature, chain(&e));
        let typed = Typed::read(reader, proto, signature)?;
        let mut model = typed.model;
        finite::guard(&mut model).map_err(load)?;
        model.optimize().map_err(load)?;
        let kernels = KernelReport {
            rounded_activations: typed.rounded_activations,
            refused_nodes,
            ..floats::report(&model, signature, threads)
        };
        let options = RunOptions {
            executor: Some(threads.executor()),
            ..RunOptions::default()
        };
        let plan = TypedSimplePlan::new_with_options(model, &options).map_err(load)?;
        let floats = Floats {
            input_shape: signature.input.clone(),
            state: plan.spawn().map_err(load)?,
            input: Arc::new(Tensor::zero::<f32>(&signature.input).map_err(load)?),
            plan,
            outputs: tvec!(),
            slots: typed.slots,
        };
        Ok(Self {
            name: signature.name.clone(),
            engine: Engine::Tract(Box::new(floats)),
            kernels,
        })
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(
        bytes: &[u8],
        signature: &Signature<'_>,
        threads: &Threads,
        cpu_nodes: bool,
    ) -> Result<Self, NetworkError> {
        let load = |e: TractError| refused(signature, chain(&e));
        let (reader, proto) = read(bytes, signature)?;
        let Typed { model, slots, .. } = Typed::read(&reader, proto, signature)?;
        // Before the first call of tract-cuda, which ends the process where something is missing.
        let name = cuda::device()?;
        let options = RunOptions {
            executor: Some(threads.executor()),
            ..RunOptions::default()
        };
        let (gpu, device) = cuda::Gpu::new(model, &signature.input, slots, options)
            .map_err(|e| cuda::not_placed(&signature.name, &chain(&e)))?;
        if !device.cpu_nodes.is_empty() && !cpu_nodes {
            return Err(NetworkError::OnCpu {
                name: signature.name.clone(),
                nodes: device.cpu_nodes,
            });
        }
        let kernels = KernelReport {
            engine: format!("tract {} on the GPU", env!("PARTGATE_TRACT_VERSION")),
            device: Some(DeviceReport { name, ..device }),
            ..floats::report(gpu.model().map_err(load)?, signature, threads)
        };
        Ok(Self {
            name: signature.name.clone(),
            engine: Engine::Gpu(Box::new(gpu)),
            kernels,
        })
    }

    /// Another instance on the same weights, for another thread.
    ///
    /// # Errors
    /// [`NetworkError::Run`] when tract cannot make a state.
    pub fn another(&self) -> Result<Self, NetworkError> {
        let engine = match &self.engine {
            Engine::Integers(integers) => Engine::Integers(Box::new(integers.another())),
            Engine::Tract(floats) => {
                let another = floats.another().map_err(|e| failed(&self.name, &e))?;
                Engine::Tract(Box::new(another))
            }
            #[cfg(feature = "cuda")]
            Engine::Gpu(gpu) => {
                let another = gpu.another().map_err(|e| failed(&self.name, &e))?;
                Engine::Gpu(Box::new(another))
            }
        };
        Ok(Self {
            name: self.name.clone(),
            engine,
            kernels: self.kernels.clone(),
        })
    }

    /// What runs.
    pub fn kernels(&self) -> &KernelReport {
        &self.kernels
    }

    /// Refuses a network that runs in floats.
    ///
    /// # Errors
    /// [`NetworkError::NotIntegers`] with the nodes that are the reason.
    pub fn require_integers(&self) -> Result<(), NetworkError> {
        match self.engine {
            Engine::Integers(_) => Ok(()),
            _ => Err(NetworkError::NotIntegers {
                name: self.name.clone(),
                nodes: self.kernels.refused_nodes.clone(),
            }),
        }
    }

    /// Lets `fill` write the input, row-major f32.
    ///
    /// # Errors
    /// What `fill` returns, or [`NetworkError::Run`].
    pub fn fill<E: From<NetworkError>>(
        &mut self,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.engine {
            Engine::Integers(integers) => fill(integers.input_mut()),
            Engine::Tract(floats) => {
                let name = &self.name;
                floats.fill(fill).map_err(|e| failed(name, &e))?
            }
            #[cfg(feature = "cuda")]
            Engine::Gpu(gpu) => fill(gpu.input_mut()),
        }
    }

    /// What bytes mean to a network that takes a picture as bytes; `None` for every other one.
    pub fn picture(&self) -> Option<Bytes> {
        match &self.engine {
            Engine::Integers(integers) => integers.picture(),
            _ => None,
        }
    }

    /// Takes `[rows, columns, channels]` bytes of [`Network::picture`] instead of what
    /// [`Network::fill`] would write. Nothing is done where there are none.
    ///
    /// # Panics
    /// When `pixels` has another length than the input: a programming error.
    pub(crate) fn fill_bytes(&mut self, pixels: &[u8]) {
        if let Engine::Integers(integers) = &mut self.engine
            && integers.picture().is_some()
        {
            integers.take_bytes(pixels);
        }
    }

    /// Runs on what [`Network::fill`] wrote.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub fn infer(&mut self) -> Result<(), NetworkError> {
        match &mut self.engine {
            Engine::Integers(integers) => {
                integers.run(false);
                Ok(())
            }
            Engine::Tract(floats) => floats.infer().map_err(|e| failed(&self.name, &e)),
            #[cfg(feature = "cuda")]
            Engine::Gpu(gpu) => gpu.infer().map_err(|e| failed(&self.name, &e)),
        }
    }

    /// As [`Network::infer`], and says what each fused step cost; of what tract runs, nothing.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub(crate) fn infer_timed(&mut self) -> Result<Vec<StepCost>, NetworkError> {
        match &mut self.engine {
            Engine::Integers(integers) => {
                integers.run(true);
                Ok(integers.costs())
            }
            _ => self.infer().map(|()| Vec::new()),
        }
    }

    /// Output `index` of the last run, row-major.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first run.
    pub fn output(&self, index: usize) -> Result<&[f32], NetworkError> {
        let output = match &self.engine {
            Engine::Integers(integers) => integers.output(index),
            Engine::Tract(floats) => floats.output(index).map_err(|e| failed(&self.name, &e))?,
            #[cfg(feature = "cuda")]
            Engine::Gpu(gpu) => gpu.output(index),
        };
        output.ok_or_else(|| NetworkError::Run {
            name: self.name.clone(),
            message: "nothing was run yet".into(),
        })
    }
}

fn read(
    bytes: &[u8],
    signature: &Signature<'_>,
) -> Result<(tract_onnx::Onnx, tract_onnx::pb::ModelProto), NetworkError> {
    let reader = quantised::reader();
    let proto = reader
        .proto_model_for_read(&mut std::io::Cursor::new(bytes))
        .map_err(|e| refused(signature, chain(&e)))?;
    if let Some(problem) = proto.graph.as_ref().and_then(finite::unsound_weight) {
        return Err(NetworkError::Unsound {
            name: signature.name.clone(),
            problem,
        });
    }
    Ok((reader, proto))
}

/// `1 x 3 x 256 x 256`.
fn sides(shape: &[usize]) -> String {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    sides.join(" x ")
}

fn refused(signature: &Signature<'_>, message: String) -> NetworkError {
    log::debug!("{}: {message}", signature.name);
    NetworkError::Load {
        name: signature.name.clone(),
        shape: signature.input.clone(),
        message,
    }
}

fn failed(name: &str, error: &TractError) -> NetworkError {
    NetworkError::Run {
        name: name.into(),
        message: chain(error),
    }
}
