//! Image to feature maps: a (quantised) ONNX network, and the report of what ran.
//!
//! Input `[1, 3, height, width]` f32, normalised; output two taps, `[channels, height / stride,
//! width / stride]` each, channel-major.

mod background;
pub mod preprocess;
mod spec;

pub use crate::network::{
    KernelReport, NetworkError, Placement, Precision, QuantisedError, Threads,
};
pub use background::{
    Background, BackgroundFilter, BackgroundRemover, Foreground, MOST_COLOURS, MOST_RADIUS,
};
pub use preprocess::{GeometryError, InputGeometry, Preprocessor, Rect};
pub use spec::{BackboneSpec, InputSpec, SpecError, TapSpec};

use crate::frame::Frame;
use crate::network::{Network, Signature, StepCost};
use crate::size::Size;
use thiserror::Error;

/// Why a backbone cannot be loaded or run.
#[derive(Debug, Error)]
pub enum BackboneError {
    /// The description is not valid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The input size does not fit the network.
    #[error(
        "backbone `{name}`: the input is {size} pixels; both sides must be a multiple of {multiple_of}"
    )]
    Size {
        /// The backbone.
        name: String,
        /// Input size.
        size: Size,
        /// Both sides must be a multiple of this.
        multiple_of: usize,
    },
    /// The network cannot be loaded or run.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A backbone ready to run at one input size.
pub struct Backbone {
    spec: BackboneSpec,
    size: Size,
    network: Network,
    /// The picture as bytes, for a network that takes them.
    bytes: Vec<u8>,
}

impl Backbone {
    /// Loads ONNX `bytes` for inputs of `size` pixels.
    ///
    /// # Errors
    /// [`BackboneError`] naming the backbone, node or tap.
    pub fn load(
        bytes: &[u8],
        spec: &BackboneSpec,
        size: Size,
        threads: &Threads,
    ) -> Result<Self, BackboneError> {
        Self::load_placed(bytes, spec, size, threads, Placement::default())
    }

    /// As [`Backbone::load`], where `placement` wants the network.
    ///
    /// # Errors
    /// [`BackboneError`] naming the backbone, node, tap, or what the accelerator lacks.
    pub fn load_placed(
        bytes: &[u8],
        spec: &BackboneSpec,
        size: Size,
        threads: &Threads,
        placement: Placement,
    ) -> Result<Self, BackboneError> {
        spec.check()?;
        let multiple_of = spec.input.multiple_of as usize;
        let usable = |side: usize| side > 0 && side.is_multiple_of(multiple_of);
        if !usable(size.width) || !usable(size.height) {
            return Err(BackboneError::Size {
                name: spec.name.clone(),
                size,
                multiple_of,
            });
        }
        let tap = |tap: &TapSpec| {
            let cells = size.map(|side| side / tap.stride as usize);
            vec![1, tap.channels as usize, cells.height, cells.width]
        };
        let signature = Signature {
            name: format!("backbone `{}`", spec.name),
            input: vec![1, 3, size.height, size.width],
            outputs: spec.taps.iter().map(|t| (&*t.output, tap(t))).collect(),
            precision: spec.precision,
        };
        Ok(Self {
            spec: spec.clone(),
            size,
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
            size: self.size,
            network: self.network.another()?,
            bytes: Vec::new(),
        })
    }

    /// The description it was loaded with.
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    /// Input size in pixels.
    pub fn size(&self) -> Size {
        self.size
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

    /// Lets `fill` write the input, `[3, height, width]` f32, and runs the network. The maps are in
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
        self.bytes.resize(3 * self.size.area(), 0);
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

    /// Tap `index` (0 the finer, 1 the coarser) of the last run, `[channels, height / stride,
    /// width / stride]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first run.
    pub fn tap(&self, index: usize) -> Result<&[f32], BackboneError> {
        Ok(self.network.output(index)?)
    }
}
