//! What a cell ought to be, told from the cells around it: the neighbourhood network of PNI
//! (arXiv 2211.12634, section 3.2) as the trainer exported it.

use crate::network::{KernelReport, Network, NetworkError, Precision, Signature, Threads};
use serde::{Deserialize, Serialize};

/// Name of the network's output, `[1, entries, grid, grid]`.
const OUTPUT: &str = "logits";

/// The network's size; enough to say what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourhoodShape {
    /// Side of the feature grid, cells.
    pub grid: u32,
    /// Length of a feature vector.
    pub dimensions: u32,
    /// Side of the window whose centre is left out, cells, odd.
    pub window: u32,
    /// Channels after the first layer.
    pub bottleneck: u32,
    /// Channels after the ring.
    pub hidden: u32,
    /// Rows of the distribution coreset, D.
    pub entries: u32,
    /// Whether the network also knows the cell's row and column.
    pub place: bool,
    /// Arithmetic of the file.
    pub precision: Precision,
}

impl NeighbourhoodShape {
    /// Weights that are multiplied once a cell.
    pub fn weights(&self) -> u64 {
        let [d, m, h, k, w] = [
            self.dimensions,
            self.bottleneck,
            self.hidden,
            self.entries,
            self.window,
        ]
        .map(u64::from);
        d * m + (w * w - 1) * m * h + h * h + h * k
    }

    /// Multiply-accumulates an image, in units of 10^9.
    pub fn gmac(&self) -> f64 {
        (self.weights() * u64::from(self.grid) * u64::from(self.grid)) as f64 / 1e9
    }

    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let sane = (1..=512).contains(&self.grid)
            && (1..=8192).contains(&self.dimensions)
            && (3..=31).contains(&self.window)
            && !self.window.is_multiple_of(2)
            && (1..=4096).contains(&self.bottleneck)
            && (1..=4096).contains(&self.hidden)
            && (2..=65_536).contains(&self.entries);
        (!sane).then(|| format!("a neighbourhood network of {self:?}"))
    }
}

/// The network ready to run.
pub struct NeighbourhoodNetwork {
    network: Network,
    shape: NeighbourhoodShape,
}

impl NeighbourhoodNetwork {
    /// Loads ONNX `bytes`; the input is `[1, grid, grid, dimensions]`.
    ///
    /// # Errors
    /// [`NetworkError`] when the file is not a network of this shape.
    pub fn load(
        bytes: &[u8],
        shape: NeighbourhoodShape,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let [grid, d, k] = [shape.grid, shape.dimensions, shape.entries].map(|v| v as usize);
        let signature = Signature {
            name: "neighbourhood network".into(),
            input: vec![1, grid, grid, d],
            outputs: vec![(OUTPUT, vec![1, k, grid, grid])],
            precision: shape.precision,
        };
        Ok(Self {
            network: Network::load(bytes, &signature, threads)?,
            shape,
        })
    }

    /// Its size.
    pub fn shape(&self) -> NeighbourhoodShape {
        self.shape
    }

    /// What runs.
    pub fn kernels(&self) -> &KernelReport {
        self.network.kernels()
    }

    /// Looks at `features`, `[cells, dimensions]`, and returns the logits of the rows of D,
    /// `[entries, cells]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    ///
    /// # Panics
    /// When `features` has another length: a programming error.
    pub fn run(&mut self, features: &[f32]) -> Result<&[f32], NetworkError> {
        self.network.fill(|input| {
            input.copy_from_slice(features);
            Ok::<_, NetworkError>(())
        })?;
        self.network.infer()?;
        self.network.output(0)
    }

    /// The logits of the last run.
    ///
    /// # Errors
    /// [`NetworkError::Run`] before the first.
    pub fn logits(&self) -> Result<&[f32], NetworkError> {
        self.network.output(0)
    }
}
