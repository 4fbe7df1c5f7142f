//! What runs the backbone, and what this build and this machine lack for it. It is asked for and
//! never chosen here: a machine without it gets a refusal, not another engine.

use serde::Serialize;
use thiserror::Error;

/// What runs the backbone, and searches the bank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by CUDA, in a build with the feature `cuda`.
    Cuda,
}

/// Where the backbone and the search of the bank run. The other networks always run on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// What runs it.
    pub accelerator: Accelerator,
    /// Whether nodes that the accelerator does not have may run on the CPU; otherwise a network
    /// with such a node is refused.
    pub cpu_nodes: bool,
}

/// Why an accelerator cannot be used here, with the fix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcceleratorError {
    /// The build has not this feature.
    #[error(
        "this build has no CUDA; build it with `--features cuda`, or choose the CPU (`inference.accelerator = \"cpu\"`, `--accelerator cpu`)"
    )]
    NotBuilt,
    /// The machine lacks something, or it does not work.
    #[error("{found}; fix: {fix}")]
    Missing {
        /// What is missing or wrong.
        found: String,
        /// What to do about it.
        fix: String,
    },
}

/// Something that an accelerator needs, as it was found on this machine.
#[derive(Clone, Debug)]
pub struct Need {
    /// What, in a few words.
    pub what: &'static str,
    /// As it is here.
    pub found: Result<Found, AcceleratorError>,
}

/// A need that is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was found.
    pub text: String,
    /// What should be done before a line starts; None: nothing.
    pub advice: Option<&'static str>,
}

/// Where the nodes of a network run that an accelerator runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// The device's name.
    pub name: String,
    /// Nodes that run on it.
    pub nodes: usize,
    /// Copies between its memory and the host's.
    pub copies: usize,
    /// Convolutions that run on it by tract's own kernel and not by cuDNN, because their padding is
    /// not the same on both sides.
    pub generic_convolutions: usize,
    /// Nodes that run on the CPU, in the order of the network. Inputs and constants do not count.
    pub cpu_nodes: Vec<CpuNode>,
}

/// A node that runs on the CPU though an accelerator runs its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CpuNode {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub operator: String,
}

impl std::fmt::Display for CpuNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.operator, self.node)
    }
}

impl std::fmt::Display for DeviceReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} nodes on {}, {} copies between host and device, {} convolutions not by cuDNN, {} nodes on the CPU",
            self.nodes,
            self.name,
            self.copies,
            self.generic_convolutions,
            self.cpu_nodes.len()
        )?;
        if self.cpu_nodes.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", listed(&self.cpu_nodes))
    }
}

/// The nodes with their operators, in one text.
pub(super) fn listed(nodes: &[CpuNode]) -> String {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    nodes.join(", ")
}

impl Accelerator {
    /// Whether this build can use it at all.
    ///
    /// # Errors
    /// [`AcceleratorError::NotBuilt`], which names the feature, if it cannot.
    pub fn built(self) -> Result<(), AcceleratorError> {
        match self {
            Accelerator::Cuda if !cfg!(feature = "cuda") => Err(AcceleratorError::NotBuilt),
            Accelerator::Cpu | Accelerator::Cuda => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_needs_nothing() {
        assert_eq!(Accelerator::default(), Accelerator::Cpu);
        assert_eq!(Accelerator::Cpu.built(), Ok(()));
    }

    #[test]
    fn every_node_on_the_cpu_is_named() {
        let node = |node: &str, operator: &str| CpuNode {
            node: node.into(),
            operator: operator.into(),
        };
        let mut report = DeviceReport {
            name: "Orin".into(),
            nodes: 7,
            copies: 3,
            generic_convolutions: 1,
            cpu_nodes: Vec::new(),
        };
        let all = "7 nodes on Orin, 3 copies between host and device, 1 convolutions not by cuDNN, 0 nodes on the CPU";
        assert_eq!(report.to_string(), all);
        report.cpu_nodes = vec![node("pool", "MaxPool"), node("last", "TopK")];
        let text = report.to_string();
        assert!(
            text.ends_with("2 nodes on the CPU: MaxPool `pool`, TopK `last`"),
            "{text}"
        );
    }

    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        if cfg!(feature = "cuda") {
            assert_eq!(Accelerator::Cuda.built(), Ok(()));
            return;
        }
        let error = Accelerator::Cuda.built().expect_err("refused");
        let text = error.to_string();
        let wanted = "this build has no CUDA; build it with `--features cuda`";
        assert!(text.starts_with(wanted), "{text}");
    }
}
