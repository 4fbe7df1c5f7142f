//! Predicts what a cell should be from the cells around it: the neighbourhood network of PNI (arXiv
//! 2211.12634, section 3.2) as the trainer exported it.

use crate::network::{KernelReport, Network, NetworkError, Precision, Signature, Threads};
use crate::size::Size;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most layers of [`NeighbourhoodForm::Paper`].
const MOST_LAYERS: u32 = 64;

/// Name of the network's output, `[1, entries, rows, columns]`.
const OUTPUT: &str = "logits";

/// How the network is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourhoodForm {
    /// A 1 x 1 bottleneck, the ring, two 1 x 1 layers: for boards.
    Edge {
        /// Whether the network also gets the cell's row and column.
        place: bool,
    },
    /// As published: the ring takes whole feature vectors, and layers of the same width follow. For
    /// hosts.
    Paper {
        /// Layers in total: the ring, those between, and the one whose output the logits are.
        layers: u32,
    },
}

/// The stored form. Bytes 0 and 1 mean what they meant before there was a second form: whether the
/// network gets the place. Byte 2 is the paper's form, and the number of its layers follows. In text
/// the edge form keeps the key `place`.
#[derive(Serialize, Deserialize)]
enum StoredForm {
    Edge,
    EdgeWithPlace,
    Paper { layers: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ToldForm {
    Place(bool),
    Paper { paper_layers: u32 },
}

impl Serialize for NeighbourhoodForm {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match (*self, to.is_human_readable()) {
            (Self::Edge { place }, true) => ToldForm::Place(place).serialize(to),
            (Self::Paper { layers }, true) => ToldForm::Paper {
                paper_layers: layers,
            }
            .serialize(to),
            (Self::Edge { place: false }, false) => StoredForm::Edge.serialize(to),
            (Self::Edge { place: true }, false) => StoredForm::EdgeWithPlace.serialize(to),
            (Self::Paper { layers }, false) => StoredForm::Paper { layers }.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for NeighbourhoodForm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Ok(match ToldForm::deserialize(from)? {
                ToldForm::Place(place) => Self::Edge { place },
                ToldForm::Paper { paper_layers } => Self::Paper {
                    layers: paper_layers,
                },
            });
        }
        Ok(match StoredForm::deserialize(from)? {
            StoredForm::Edge => Self::Edge { place: false },
            StoredForm::EdgeWithPlace => Self::Edge { place: true },
            StoredForm::Paper { layers } => Self::Paper { layers },
        })
    }
}

/// The network's size; enough to calculate its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourhoodShape {
    /// The feature grid, cells.
    pub grid: Size,
    /// Length of a feature vector.
    pub dimensions: u32,
    /// Side of the window whose centre is left out, cells, odd.
    pub window: u32,
    /// Channels that the ring takes: those after the bottleneck, or the whole feature vector in the
    /// paper's form.
    pub bottleneck: u32,
    /// Channels after the ring and after the layers behind it.
    pub hidden: u32,
    /// Rows of the distribution coreset, D.
    pub entries: u32,
    /// The form: which layers there are.
    #[serde(rename = "place")]
    pub form: NeighbourhoodForm,
    /// Arithmetic of the file.
    pub precision: Precision,
}

impl NeighbourhoodShape {
    /// Weights that are multiplied once per cell.
    pub fn weights(&self) -> u64 {
        let [d, m, h, k, w] = [
            self.dimensions,
            self.bottleneck,
            self.hidden,
            self.entries,
            self.window,
        ]
        .map(u64::from);
        let ring = (w * w - 1) * m * h;
        match self.form {
            NeighbourhoodForm::Edge { .. } => d * m + ring + h * h + h * k,
            NeighbourhoodForm::Paper { layers } => {
                ring + u64::from(layers.saturating_sub(2)) * h * h + h * k
            }
        }
    }

    /// Multiply-accumulates per image, in units of 10^9.
    pub fn gmac(&self) -> f64 {
        (self.weights() * self.grid.area() as u64) as f64 / 1e9
    }

    /// What is wrong with it; None if nothing is.
    pub(crate) fn problem(&self) -> Option<String> {
        let sane = self.grid.shorter() > 0
            && self.grid.longer() <= 512
            && (1..=8192).contains(&self.dimensions)
            && (3..=31).contains(&self.window)
            && !self.window.is_multiple_of(2)
            && match self.form {
                NeighbourhoodForm::Edge { .. } => (1..=4096).contains(&self.bottleneck),
                NeighbourhoodForm::Paper { layers } => {
                    (2..=MOST_LAYERS).contains(&layers) && self.bottleneck == self.dimensions
                }
            }
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
    /// Loads ONNX `bytes`; the input is `[1, rows, columns, dimensions]`.
    ///
    /// # Errors
    /// [`NetworkError`] if the file is not a network of this shape.
    pub fn load(
        bytes: &[u8],
        shape: NeighbourhoodShape,
        threads: &Threads,
    ) -> Result<Self, NetworkError> {
        let [d, k] = [shape.dimensions, shape.entries].map(|v| v as usize);
        let Size { width, height } = shape.grid;
        let signature = Signature {
            name: "neighbourhood network".into(),
            input: vec![1, height, width, d],
            outputs: vec![(OUTPUT, vec![1, k, height, width])],
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

    /// The kernels that run it.
    pub fn kernels(&self) -> &KernelReport {
        self.network.kernels()
    }

    /// Refuses a network that runs in floats.
    ///
    /// # Errors
    /// [`NetworkError::NotIntegers`].
    pub fn require_integers(&self) -> Result<(), NetworkError> {
        self.network.require_integers()
    }

    /// Runs on `features`, `[cells, dimensions]`, and returns the logits of the rows of D, `[entries,
    /// cells]`.
    ///
    /// # Errors
    /// [`NetworkError::Run`].
    ///
    /// # Panics
    /// If `features` has another length: a programming error.
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
    /// [`NetworkError::Run`] before the first run.
    pub fn logits(&self) -> Result<&[f32], NetworkError> {
        self.network.output(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(layers: u32) -> NeighbourhoodShape {
        NeighbourhoodShape {
            grid: Size::square(60),
            dimensions: 1024,
            window: 9,
            bottleneck: 1024,
            hidden: 2048,
            entries: 2048,
            form: NeighbourhoodForm::Paper { layers },
            precision: Precision::F32,
        }
    }

    #[test]
    fn the_papers_form_has_the_papers_size() {
        let shape = published(10);
        assert_eq!(shape.weights(), 205_520_896);
        assert!((shape.gmac() - 739.9).abs() < 0.1, "{}", shape.gmac());
        assert_eq!(shape.problem(), None);
        for layers in [0, 1, 65] {
            assert!(published(layers).problem().is_some(), "{layers} layers");
        }
        let narrowed = NeighbourhoodShape {
            bottleneck: 512,
            ..shape
        };
        assert!(narrowed.problem().is_some());
    }

    /// A bundle from before the second form reads as the first form.
    #[test]
    fn the_form_is_stored_where_the_place_was() {
        for place in [false, true] {
            let form = NeighbourhoodForm::Edge { place };
            let old = postcard::to_stdvec(&place).expect("bytes");
            assert_eq!(postcard::to_stdvec(&form).expect("bytes"), old);
            assert_eq!(
                postcard::from_bytes::<NeighbourhoodForm>(&old).expect("a form"),
                form
            );
            let text = serde_json::to_string(&form).expect("JSON");
            assert_eq!(text, place.to_string());
        }
        let paper = published(300);
        let bytes = postcard::to_stdvec(&paper).expect("bytes");
        assert_eq!(
            postcard::from_bytes::<NeighbourhoodShape>(&bytes).expect("a shape"),
            paper
        );
        let text = serde_json::to_string(&paper).expect("JSON");
        assert!(text.contains(r#""place":{"paper_layers":300}"#), "{text}");
        assert_eq!(
            serde_json::from_str::<NeighbourhoodShape>(&text).expect("a shape"),
            paper
        );
        assert!(postcard::from_bytes::<NeighbourhoodForm>(&[3, 1]).is_err());
    }
}
