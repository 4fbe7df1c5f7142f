//! ONNX files to something that runs: one named f32 input of a fixed shape, named f32 outputs. The
//! backbone, the neighbourhood network and the refinement network are all loaded here, so that
//! quantisation is the same for all, and each reports the kernels that run it.

mod quantised;

pub use quantised::QuantisedError;

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::multithread::Executor;
use tract_onnx::tract_core::internal::{RunOptions, TypedSimplePlan, TypedSimpleState};

/// The arithmetic of a network file.
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
        /// The cause.
        source: QuantisedError,
    },
    /// tract cannot read or optimise the file.
    #[error("{name}: cannot be loaded for an input of {shape:?}: {message}")]
    Load {
        /// The network.
        name: String,
        /// Input shape.
        shape: Vec<usize>,
        /// tract's chain of causes.
        message: String,
    },
    /// A promised output is missing or has another shape.
    #[error("{name}: output `{output}`: {problem}")]
    Output {
        /// The network.
        name: String,
        /// The output.
        output: String,
        /// What is wrong.
        problem: String,
    },
    /// The network failed while running.
    #[error("{name}: failed while running: {message}")]
    Run {
        /// The network.
        name: String,
        /// tract's chain of causes.
        message: String,
    },
    /// A thread pool of that size cannot be made.
    #[error("a pool of {threads} threads cannot be made: {message}")]
    Threads {
        /// Requested threads.
        threads: usize,
        /// The system's error.
        message: String,
    },
}

/// The worker threads of one inspector, shared by the networks and the nearest-neighbour search. One
/// thread means the calling thread itself.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    /// A pool of `count` workers; 0 and 1 run everything on the calling thread.
    ///
    /// # Errors
    /// [`NetworkError::Threads`] if the system cannot make the threads.
    pub fn new(count: usize) -> Result<Self, NetworkError> {
        if count <= 1 {
            return Ok(Self::default());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|n| format!("partgate-{n}"))
            .build()
            .map_err(|e| NetworkError::Threads {
                threads: count,
                message: e.to_string(),
            })?;
        Ok(Self {
            pool: Some(Arc::new(pool)),
        })
    }

    /// Number of threads that share the work.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |p| p.current_num_threads())
    }

    pub(crate) fn pool(&self) -> Option<&rayon::ThreadPool> {
        self.pool.as_deref()
    }

    fn executor(&self) -> Executor {
        match &self.pool {
            Some(pool) => Executor::MultiThread(pool.clone()),
            None => Executor::SingleThread,
        }
    }
}

/// The kernels that run a network, so that a slower or less exact one does not stay unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelReport {
    /// Engine and device.
    pub engine: String,
    /// Arithmetic of the file.
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
}

/// Names and shapes that a network file must have.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    /// Its name in errors, such as "backbone `efficientnet-lite0-int8`".
    pub name: String,
    /// Shape of the one input.
    pub input: Vec<usize>,
    /// Outputs in the order in which [`Network::output`] numbers them.
    pub outputs: Vec<(&'a str, Vec<usize>)>,
    /// The required arithmetic.
    pub precision: Precision,
}

/// A network ready to run at one input shape.
pub struct Network {
    name: String,
    input_shape: Vec<usize>,
    plan: Arc<TypedSimplePlan>,
    state: TypedSimpleState,
    input: Arc<Tensor>,
    outputs: TVec<TValue>,
    /// The index of each required output among the file's outputs.
    slots: Vec<usize>,
    kernels: KernelReport,
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
    /// Loads ONNX `bytes` and checks them against `signature`.
    ///
    /// # Errors
    /// [`NetworkError`] naming the network, node or output.
    pub fn load(
        bytes: &[u8],
        signature: &Signature<'_>,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let name = || signature.name.clone();
        let refused = |message: String| NetworkError::Load {
            name: name(),
            shape: signature.input.clone(),
            message,
        };
        let load = |e: TractError| refused(chain(&e));
        let reader = quantised::reader();
        let mut proto = reader
            .proto_model_for_read(&mut std::io::Cursor::new(bytes))
            .map_err(load)?;
        let rounded_activations =
            quantised::fuse_pairs(&mut proto).map_err(|source| NetworkError::Quantised {
                name: name(),
                source,
            })?;
        if (signature.precision == Precision::Int8) != (rounded_activations > 0) {
            return Err(refused(format!(
                "described as {} but the file has {rounded_activations} quantised activations",
                signature.precision
            )));
        }
        let output_names: Vec<String> = proto
            .graph
            .iter()
            .flat_map(|g| g.output.iter().map(|o| o.name.clone()))
            .collect();
        let model = reader
            .parse(&proto, None)
            .and_then(|parsed| {
                parsed
                    .model
                    .with_input_fact(0, f32::fact(&signature.input).into())?
                    .into_optimized()
            })
            .map_err(load)?;

        let mut slots = Vec::with_capacity(signature.outputs.len());
        for (output, want) in &signature.outputs {
            let fail = |problem: String| NetworkError::Output {
                name: name(),
                output: (*output).into(),
                problem,
            };
            let slot = output_names
                .iter()
                .position(|o| o == output)
                .ok_or_else(|| fail(format!("not among the outputs {output_names:?}")))?;
            let fact = model.output_fact(slot).map_err(load)?;
            if fact.shape.as_concrete() != Some(&want[..]) || fact.datum_type != f32::datum_type() {
                return Err(fail(format!("gives {fact:?}, described as f32 {want:?}")));
            }
            slots.push(slot);
        }

        let computing = || {
            model
                .nodes()
                .iter()
                .filter(|n| !matches!(&*n.op().name(), "Const" | "Source"))
        };
        let integer_nodes = computing()
            .filter(|n| n.outputs.iter().any(|o| o.fact.datum_type.is_integer()))
            .count();
        let operator_names: Vec<_> = computing().map(|n| n.op().name().into_owned()).collect();
        let kernels = KernelReport {
            engine: format!("tract {} on the CPU", env!("PARTGATE_TRACT_VERSION")),
            precision: signature.precision,
            threads: threads.count(),
            integer_nodes,
            float_nodes: operator_names.len() - integer_nodes,
            rounded_activations,
            operators: quantised::census(operator_names.iter().map(String::as_str)),
        };
        let options = RunOptions {
            executor: Some(threads.executor()),
            ..RunOptions::default()
        };
        let plan = TypedSimplePlan::new_with_options(model, &options).map_err(load)?;
        let state = plan.spawn().map_err(load)?;
        let input = Tensor::zero::<f32>(&signature.input).map_err(load)?;
        Ok(Self {
            name: name(),
            input_shape: signature.input.clone(),
            plan,
            state,
            input: Arc::new(input),
            outputs: tvec!(),
            slots,
            kernels,
        })
    }

    /// Another instance with the same weights, for another thread.
    ///
    /// # Errors
    /// [`NetworkError::Run`] if tract cannot make a state.
    pub fn another(&self) -> Result<Self, NetworkError> {
        Ok(Self {
            name: self.name.clone(),
            input_shape: self.input_shape.clone(),
            plan: self.plan.clone(),
            state: self.plan.spawn().map_err(|e| self.failed(&e))?,
            input: Arc::new(Tensor::clone(&self.input)),
            outputs: tvec!(),
            slots: self.slots.clone(),
            kernels: self.kernels.clone(),
        })
    }

    fn failed(&self, error: &TractError) -> NetworkError {
        NetworkError::Run {
            name: self.name.clone(),
            message: chain(error),
        }
    }

    /// The kernels that run it.
    pub fn kernels(&self) -> &KernelReport {
        &self.kernels
    }

    /// Lets `fill` write the input, row-major f32.
    ///
    /// # Errors
    /// The error of `fill`, or [`NetworkError::Run`].
    pub fn fill<E: From<NetworkError>>(
        &mut self,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        // The previous run's state may still hold the input; only then a new one is made.
        if Arc::get_mut(&mut self.input).is_none() {
            let fresh = Tensor::zero::<f32>(&self.input_shape).map_err(|e| self.failed(&e))?;
            self.input = Arc::new(fresh);
        }
        let name = &self.name;
        let failed = |e: &TractError| NetworkError::Run {
            name: name.clone(),
            message: chain(e),
        };
        if let Some(tensor) = Arc::get_mut(&mut self.input) {
            let mut plain = tensor.try_as_plain_ram_mut().map_err(|e| failed(&e))?;
            fill(plain.as_slice_mut::<f32>().map_err(|e| failed(&e))?)?;
        }
        Ok(())
    }

    /// Runs on the input that [`Network::fill`] wrote.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub fn infer(&mut self) -> Result<(), NetworkError> {
        self.outputs.clear();
        let input = TValue::from_const(self.input.clone());
        match self.state.run(tvec!(input)) {
            Ok(outputs) => {
                self.outputs = outputs;
                Ok(())
            }
            Err(e) => Err(self.failed(&e)),
        }
    }

    /// Output `index` of the last run, row-major.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first run.
    pub fn output(&self, index: usize) -> Result<&[f32], NetworkError> {
        let tensor = self
            .outputs
            .get(self.slots[index])
            .ok_or_else(|| NetworkError::Run {
                name: self.name.clone(),
                message: "nothing was run yet".into(),
            })?;
        tensor
            .try_as_plain_ram()
            .and_then(|plain| plain.as_slice::<f32>())
            .map_err(|e| self.failed(&e))
    }
}
