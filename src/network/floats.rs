//! Float networks, as tract reads and runs them on the CPU.

use super::{
    KernelReport, NetworkError, Precision, Signature, Threads, chain, quantised, refused, sides,
};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TractErrorContext, TypedSimplePlan, TypedSimpleState};

/// A float network as tract has read and decluttered it, before it is laid out for an engine.
pub(super) struct Typed {
    pub(super) model: TypedModel,
    /// Where each promised output is among the file's.
    pub(super) slots: Vec<usize>,
    pub(super) rounded_activations: usize,
}

/// A network that tract runs.
pub(super) struct Floats {
    pub(super) input_shape: Vec<usize>,
    pub(super) plan: Arc<TypedSimplePlan>,
    pub(super) state: TypedSimpleState,
    pub(super) input: Arc<Tensor>,
    pub(super) outputs: TVec<TValue>,
    /// Where each promised output is among the file's.
    pub(super) slots: Vec<usize>,
}

impl Typed {
    /// Reads a float network and checks that it keeps `signature`.
    pub(super) fn read(
        reader: &tract_onnx::Onnx,
        mut proto: tract_onnx::pb::ModelProto,
        signature: &Signature<'_>,
    ) -> Result<Self, NetworkError> {
        let name = || signature.name.clone();
        let load = |e: TractError| refused(signature, chain(&e));
        let rounded_activations =
            quantised::fuse_pairs(&mut proto).map_err(|source| NetworkError::Quantised {
                name: name(),
                source,
            })?;
        if (signature.precision == Precision::Int8) != (rounded_activations > 0) {
            return Err(NetworkError::Described {
                name: name(),
                problem: match rounded_activations {
                    0 => "described as int8, but the file has no quantised activations".into(),
                    n => format!("described as f32, but the file has {n} quantised activations"),
                },
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
                    .with_input_fact(0, f32::fact(&signature.input).into())?
                    .into_typed()?
                    .into_decluttered()
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
                .ok_or_else(|| {
                    let names = output_names.join("`, `");
                    fail(format!("the network has no such output, but `{names}`"))
                })?;
            let fact = model.output_fact(slot).map_err(load)?;
            if fact.datum_type != f32::datum_type() {
                return Err(fail("gives no 32-bit floats".into()));
            }
            if fact.shape.as_concrete() != Some(&want[..]) {
                let found = fact.shape.as_concrete().map(sides);
                let found = found.unwrap_or_else(|| "maps of no fixed size".into());
                return Err(fail(format!("gives {found}, described as {}", sides(want))));
            }
            slots.push(slot);
        }
        Ok(Self {
            model,
            slots,
            rounded_activations,
        })
    }
}

impl Floats {
    pub(super) fn another(&self) -> TractResult<Self> {
        Ok(Self {
            input_shape: self.input_shape.clone(),
            plan: self.plan.clone(),
            state: self.plan.spawn()?,
            input: Arc::new(Tensor::clone(&self.input)),
            outputs: tvec!(),
            slots: self.slots.clone(),
        })
    }

    pub(super) fn fill<R>(&mut self, fill: impl FnOnce(&mut [f32]) -> R) -> TractResult<R> {
        // The previous run's state may still hold the input; only then is a new one made.
        if Arc::get_mut(&mut self.input).is_none() {
            self.input = Arc::new(Tensor::zero::<f32>(&self.input_shape)?);
        }
        let tensor = Arc::get_mut(&mut self.input).context("the input is held by a run")?;
        let mut plain = tensor.try_as_plain_ram_mut()?;
        Ok(fill(plain.as_slice_mut::<f32>()?))
    }

    pub(super) fn infer(&mut self) -> TractResult<()> {
        self.outputs.clear();
        let input = TValue::from_const(self.input.clone());
        self.outputs = self.state.run(tvec!(input))?;
        Ok(())
    }

    pub(super) fn output(&self, index: usize) -> TractResult<Option<&[f32]>> {
        let Some(tensor) = self.outputs.get(self.slots[index]) else {
            return Ok(None);
        };
        Ok(Some(tensor.try_as_plain_ram()?.as_slice::<f32>()?))
    }
}

/// What tract runs.
pub(super) fn report(
    model: &TypedModel,
    signature: &Signature<'_>,
    threads: &Threads,
) -> KernelReport {
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
    KernelReport {
        engine: format!("tract {} on the CPU", env!("PARTGATE_TRACT_VERSION")),
        precision: signature.precision,
        threads: threads.count(),
        integer_nodes,
        float_nodes: operator_names.len() - integer_nodes,
        rounded_activations: 0,
        operators: quantised::census(operator_names.iter().map(String::as_str)),
        refused_nodes: Vec::new(),
        device: None,
    }
}
