//! What a backbone is: where its taps are and how its input is normalised.

use crate::network::Precision;
use crate::size::Size;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One feature map of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapSpec {
    /// Name of the network's output.
    pub output: String,
    /// Channels of the map.
    pub channels: u32,
    /// Input pixels per cell, both ways.
    pub stride: u32,
}

/// The input side of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Name of the network's input, `[1, 3, height, width]`.
    pub name: String,
    /// Channel order; only `rgb` is supported.
    pub colour: String,
    /// Subtracted from each channel, on the 0..=255 scale.
    pub mean: [f32; 3],
    /// Divides each channel, on the 0..=255 scale.
    pub std: [f32; 3],
    /// Input sides must be a multiple of this.
    pub multiple_of: u32,
}

/// Everything needed to run a backbone besides the ONNX bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackboneSpec {
    /// Name in the catalogue (`models/manifest.json`) or the user's own.
    pub name: String,
    /// Arithmetic of the file.
    pub precision: Precision,
    /// Licence of the weights (SPDX).
    pub licence: String,
    /// Who made them, in the form that their licence asks for.
    pub attribution: String,
    /// Input normalisation.
    pub input: InputSpec,
    /// Exactly two taps, finer stride first.
    pub taps: Vec<TapSpec>,
}

/// Why a description of a backbone cannot be used.
#[derive(Debug, Error)]
pub enum SpecError {
    /// There are not two taps, or they are not in order.
    #[error(
        "backbone `{name}`: needs two taps, the finer stride first and the coarser exactly twice it; found strides {strides:?}"
    )]
    Taps {
        /// The backbone.
        name: String,
        /// Strides found.
        strides: Vec<u32>,
    },
    /// A tap has no channels, or impossibly many.
    #[error("backbone `{name}`: tap `{output}` has {channels} channels (1..=4096 are usable)")]
    Channels {
        /// The backbone.
        name: String,
        /// The tap.
        output: String,
        /// Its channels.
        channels: u32,
    },
    /// The normalisation would divide by zero, or the colour order is not supported.
    #[error(
        "backbone `{name}`: input must be `rgb` with finite mean, std above 0 and a multiple_of that is a multiple of the coarser stride"
    )]
    Input {
        /// The backbone.
        name: String,
    },
}

impl BackboneSpec {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// [`SpecError`] naming the backbone and the value.
    pub fn check(&self) -> Result<(), SpecError> {
        let name = || self.name.clone();
        let strides: Vec<u32> = self.taps.iter().map(|t| t.stride).collect();
        let ordered =
            matches!(strides[..], [fine, coarse] if fine > 0 && fine <= 64 && coarse == 2 * fine);
        if !ordered {
            return Err(SpecError::Taps {
                name: name(),
                strides,
            });
        }
        for tap in &self.taps {
            if tap.channels == 0 || tap.channels > 4096 {
                return Err(SpecError::Channels {
                    name: name(),
                    output: tap.output.clone(),
                    channels: tap.channels,
                });
            }
        }
        let input = &self.input;
        let usable = input.colour == "rgb"
            && input.mean.iter().all(|v| v.is_finite())
            && input.std.iter().all(|v| v.is_finite() && *v > 0.0)
            && input.multiple_of > 0
            && input.multiple_of.is_multiple_of(strides[1]);
        if !usable {
            return Err(SpecError::Input { name: name() });
        }
        Ok(())
    }

    /// Channels of both taps together: the length `d` of a cell's feature vector.
    pub fn dimensions(&self) -> usize {
        self.taps.iter().map(|t| t.channels as usize).sum()
    }

    /// Cells of the feature grid for a network input of `size` pixels.
    pub fn grid(&self, size: Size) -> Size {
        let stride = self.taps.first().map(|t| t.stride as usize);
        size.map(|side| stride.map_or(0, |stride| side / stride))
    }
}
