//! Image to feature maps: a (quantised) ONNX network run by tract, and the report of what ran.
//!
//! Input `[1, 3, side, side]` f32, normalised; output two taps, `[channels, side / stride,
//! side / stride]` each, channel-major.

pub mod preprocess;
mod quantised;
mod spec;

pub use preprocess::{GeometryError, InputGeometry, Preprocessor, Rect};
pub use quantised::QuantisedError;
pub use spec::{BackboneSpec, InputSpec, Precision, SpecError, TapSpec};

use serde::Serialize;
use std::sync::Arc;
use thiserror::Error;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::multithread::Executor;
use tract_onnx::tract_core::internal::{RunOptions, TypedSimplePlan, TypedSimpleState};

/// Why a backbone cannot be loaded or run.
#[derive(Debug, Error)]
pub enum BackboneError {
    /// The description is off.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The quantised form is not the supported one.
    #[error("backbone `{name}`: quantised graph not usable")]
    Quantised {
        /// The backbone.
        name: String,
        /// Why.
        source: QuantisedError,
    },
    /// tract cannot read or optimise the file.
    #[error("backbone `{name}`: cannot be loaded at {side} x {side} pixels: {message}")]
    Load {
        /// The backbone.
        name: String,
        /// Input side.
        side: usize,
        /// tract's chain of causes.
        message: String,
    },
    /// An output promised by the description is missing or has another shape.
    #[error("backbone `{name}`: tap `{tap}`: {problem}")]
    Tap {
        /// The backbone.
        name: String,
        /// The tap.
        tap: String,
        /// What is off.
        problem: String,
    },
    /// The network failed while running.
    #[error("backbone `{name}`: failed while running: {message}")]
    Run {
        /// The backbone.
        name: String,
        /// tract's chain of causes.
        message: String,
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

/// The worker threads of one judge: shared by the network and the nearest-neighbour search.
/// One thread means the calling thread itself.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    /// A pool of `count` workers; 0 and 1 run everything on the calling thread.
    ///
    /// # Errors
    /// [`BackboneError::Threads`] when the system gives no threads.
    pub fn new(count: usize) -> Result<Self, BackboneError> {
        if count <= 1 {
            return Ok(Self::default());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|n| format!("partgate-{n}"))
            .build()
            .map_err(|e| BackboneError::Threads {
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
}

/// A network ready to run at one input size. Clone it to run on several threads at once; the
/// weights are shared.
pub struct Backbone {
    spec: BackboneSpec,
    side: usize,
    plan: Arc<TypedSimplePlan>,
    state: TypedSimpleState,
    input: Arc<Tensor>,
    outputs: TVec<TValue>,
    tap_outputs: [usize; 2],
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

impl Backbone {
    /// Loads ONNX `bytes` for inputs of `side` pixels.
    ///
    /// # Errors
    /// [`BackboneError`] naming the backbone, node or tap.
    pub fn load(
        bytes: &[u8],
        spec: &BackboneSpec,
        side: usize,
        threads: &Threads,
    ) -> Result<Self, BackboneError> {
        spec.check()?;
        let name = || spec.name.clone();
        let load = |e: TractError| BackboneError::Load {
            name: name(),
            side,
            message: chain(&e),
        };
        let multiple_of = spec.input.multiple_of as usize;
        if side == 0 || !side.is_multiple_of(multiple_of) {
            return Err(BackboneError::Load {
                name: name(),
                side,
                message: format!("the side must be a multiple of {multiple_of}"),
            });
        }
        let reader = quantised::reader();
        let mut proto = reader
            .proto_model_for_read(&mut std::io::Cursor::new(bytes))
            .map_err(load)?;
        let rounded_activations =
            quantised::fuse_pairs(&mut proto).map_err(|source| BackboneError::Quantised {
                name: name(),
                source,
            })?;
        if (spec.precision == Precision::Int8) != (rounded_activations > 0) {
            return Err(BackboneError::Load {
                name: name(),
                side,
                message: format!(
                    "described as {} but the file has {rounded_activations} quantised activations",
                    spec.precision
                ),
            });
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
                    .with_input_fact(0, f32::fact([1, 3, side, side]).into())?
                    .into_optimized()
            })
            .map_err(load)?;

        let mut tap_outputs = [0; 2];
        for (slot, tap) in tap_outputs.iter_mut().zip(&spec.taps) {
            let fail = |problem: String| BackboneError::Tap {
                name: name(),
                tap: tap.output.clone(),
                problem,
            };
            *slot = output_names
                .iter()
                .position(|o| o == &tap.output)
                .ok_or_else(|| fail(format!("not among the outputs {output_names:?}")))?;
            let cells = side / tap.stride as usize;
            let want = [1, tap.channels as usize, cells, cells];
            let fact = model.output_fact(*slot).map_err(load)?;
            if fact.shape.as_concrete() != Some(&want[..]) || fact.datum_type != f32::datum_type() {
                return Err(fail(format!("gives {fact:?}, described as f32 {want:?}")));
            }
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
            precision: spec.precision,
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
        let input = Tensor::zero::<f32>(&[1, 3, side, side]).map_err(load)?;
        Ok(Self {
            spec: spec.clone(),
            side,
            plan,
            state,
            input: Arc::new(input),
            outputs: tvec!(),
            tap_outputs,
            kernels,
        })
    }

    /// Another instance on the same weights, for another thread.
    ///
    /// # Errors
    /// [`BackboneError::Run`] when tract cannot make a state.
    pub fn another(&self) -> Result<Self, BackboneError> {
        Ok(Self {
            spec: self.spec.clone(),
            side: self.side,
            plan: self.plan.clone(),
            state: self.plan.spawn().map_err(|e| self.failed(&e))?,
            input: Arc::new(Tensor::clone(&self.input)),
            outputs: tvec!(),
            tap_outputs: self.tap_outputs,
            kernels: self.kernels.clone(),
        })
    }

    fn failed(&self, error: &TractError) -> BackboneError {
        BackboneError::Run {
            name: self.spec.name.clone(),
            message: chain(error),
        }
    }

    /// What it was loaded from.
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    /// Input side in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// What runs.
    pub fn kernels(&self) -> &KernelReport {
        &self.kernels
    }

    /// Lets `fill` write the input, `[3, side, side]` f32, and runs the network; the maps are in
    /// [`Backbone::tap`] until the next run.
    ///
    /// # Errors
    /// What `fill` returns, or [`BackboneError::Run`].
    pub fn run<E: From<BackboneError>>(
        &mut self,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.fill(fill)?;
        Ok(self.infer()?)
    }

    /// The first half of [`Backbone::run`], apart so that it can be timed.
    ///
    /// # Errors
    /// What `fill` returns, or [`BackboneError::Run`].
    pub fn fill<E: From<BackboneError>>(
        &mut self,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        // The previous run's state may still hold the input; only then is a new one made.
        if Arc::get_mut(&mut self.input).is_none() {
            let side = self.side;
            let fresh = Tensor::zero::<f32>(&[1, 3, side, side]).map_err(|e| self.failed(&e))?;
            self.input = Arc::new(fresh);
        }
        let name = &self.spec.name;
        let failed = |e: &TractError| BackboneError::Run {
            name: name.clone(),
            message: chain(e),
        };
        if let Some(tensor) = Arc::get_mut(&mut self.input) {
            let mut plain = tensor.try_as_plain_ram_mut().map_err(|e| failed(&e))?;
            fill(plain.as_slice_mut::<f32>().map_err(|e| failed(&e))?)?;
        }
        Ok(())
    }

    /// The second half of [`Backbone::run`].
    ///
    /// # Errors
    /// [`BackboneError::Run`].
    pub fn infer(&mut self) -> Result<(), BackboneError> {
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

    /// Tap `index` (0 the finer, 1 the coarser) of the last run, `[channels, cells, cells]`.
    ///
    /// # Errors
    /// [`BackboneError::Run`] before the first run.
    pub fn tap(&self, index: usize) -> Result<&[f32], BackboneError> {
        let tensor =
            self.outputs
                .get(self.tap_outputs[index])
                .ok_or_else(|| BackboneError::Run {
                    name: self.spec.name.clone(),
                    message: "no image was run yet".into(),
                })?;
        tensor
            .try_as_plain_ram()
            .and_then(|plain| plain.as_slice::<f32>())
            .map_err(|e| self.failed(&e))
    }
}
