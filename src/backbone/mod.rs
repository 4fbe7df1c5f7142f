//! Image to feature maps: a (quantised) ONNX network, and the report of what ran.
//!
//! Input `[1, 3, side, side]` f32, normalised; output two taps, `[channels, side / stride,
//! side / stride]` each, channel-major.

pub mod preprocess;
mod spec;

pub use crate::network::{
    KernelReport, NetworkError, Placement, Precision, QuantisedError, Threads,
};
pub use preprocess::{GeometryError, InputGeometry, Preprocessor, Rect};
pub use spec::{BackboneSpec, InputSpec, SpecError, TapSpec};

use crate::frame::Frame;
use crate::network::{Network, Signature, StepCost};
use thiserror::Error;

/// Why a backbone cannot be loaded or run.
#[derive(Debug, Error)]
pub enum BackboneError {
    /// The description is not valid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The input side does not fit the network.
    #[error(
        "backbone `{name}`: the input side is {side} pixels; it must be a multiple of {multiple_of}"
    )]
    Side {
        /// The backbone.
        name: String,
        /// Input side.
        side: usize,
        /// The side must be a multiple of this.
        multiple_of: usize,
    },
    /// The network cannot be loaded or run.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A backbone ready to run at one input size.
pub struct Backbone {
    spec: BackboneSpec,
    side: usize,
    network: Network,
    /// The picture as bytes, for a network that takes them.
    bytes: Vec<u8>,
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
        Self::load_placed(bytes, spec, side, threads, Placement::default())
    }

    /// As [`Backbone::load`], where `placement` wants the network.
    ///
    /// # Errors
    /// [`BackboneError`] naming the backbone, node, tap, or what the accelerator lacks.
    pub fn load_placed(
        bytes: &[u8],
        spec: &BackboneSpec,
        side: usize,
        threads: &Threads,
        placement: Placement,
    ) -> Result<Self, BackboneError> {
        spec.check()?;
        let multiple_of = spec.input.multiple_of as usize;
        if side == 0 || !side.is_multiple_of(multiple_of) {
            return Err(BackboneError::Side {
                name: spec.name.clone(),
                side,
                multiple_of,
            });
        }
        let tap = |tap: &TapSpec| {
            let cells = side / tap.stride as usize;
            vec![1, tap.channels as usize, cells, cells]
        };
        let signature = Signature {
            name: format!("backbone `{}`", spec.name),
            input: vec![1, 3, side, side],
            outputs: spec.taps.iter().map(|t| (&*t.output, tap(t))).collect(),
            precision: spec.precision,
        };
        Ok(Self {
            spec: spec.clone(),
            side,
            network: Network::load_placed(bytes, &signature, threads, placement)?,
            bytes: Vec::new(),
        })
    }

    /// Another instance with the same weights, for another thread.
    ///
    /// # Errors
    /// [`NetworkError::Run`] if tract cannot make a state.
    pub fn another(&self) -> Result<Self, BackboneError> {
        Ok(Self {
            spec: self.spec.clone(),
            side: self.side,
            network: self.network.another()?,
            bytes: Vec::new(),
        })
    }

    /// The description it was loaded with.
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    /// Input side in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The kernels that run it.
    pub fn kernels(&self) -> &KernelReport {
        self.network.kernels()
    }

    /// Refuses a backbone that runs in floats.
    ///
    /// # Errors
    /// [`NetworkError::NotIntegers`] with the nodes that are the reason.
    pub fn require_integers(&self) -> Result<(), BackboneError> {
        Ok(self.network.require_integers()?)
    }

    /// Lets `fill` write the input, `[3, side, side]` f32, and runs the network. The maps are in
    /// [`Backbone::tap`] until the next run.
    ///
    /// # Errors
    /// The error of `fill`, or [`NetworkError::Run`].
    pub fn run<E: From<BackboneError>>(
        &mut self,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.fill(fill)?;
        Ok(self.infer()?)
    }

    /// The first half of [`Backbone::run`], separate so that it can be timed.
    ///
    /// # Errors
    /// The error of `fill`, or [`NetworkError::Run`].
    pub fn fill<E: From<BackboneError>>(
        &mut self,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut outcome = Ok(());
        self.network
            .fill(|input| {
                outcome = fill(input);
                Ok::<_, NetworkError>(())
            })
            .map_err(BackboneError::from)?;
        outcome
    }

    /// Takes `frame` as the next input: as bytes where the network takes bytes, which are those that
    /// it would round the numbers to.
    ///
    /// # Errors
    /// [`GeometryError`], or [`NetworkError::Run`].
    pub fn take<E: From<BackboneError> + From<GeometryError>>(
        &mut self,
        preprocessor: &mut Preprocessor,
        frame: &Frame,
    ) -> Result<(), E> {
        let Some(bytes) = self.network.picture() else {
            return self.fill(|input| preprocessor.run(frame, input).map_err(E::from));
        };
        self.bytes.resize(3 * self.side * self.side, 0);
        preprocessor.run_bytes(frame, bytes, &mut self.bytes)?;
        self.network.fill_bytes(&self.bytes);
        Ok(())
    }

    /// The second half of [`Backbone::run`].
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    pub fn infer(&mut self) -> Result<(), BackboneError> {
        Ok(self.network.infer()?)
    }

    /// As [`Backbone::infer`], and what each fused step cost; nothing for a network that runs in
    /// floats.
    ///
    /// # Errors
    /// [`BackboneError`] from the network.
    pub(crate) fn infer_timed(&mut self) -> Result<Vec<StepCost>, BackboneError> {
        Ok(self.network.infer_timed()?)
    }

    /// Tap `index` (0 the finer, 1 the coarser) of the last run, `[channels, cells, cells]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first run.
    pub fn tap(&self, index: usize) -> Result<&[f32], BackboneError> {
        Ok(self.network.output(index)?)
    }
}
