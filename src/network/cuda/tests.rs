//! The node report, on networks that tract-cuda transforms here without a GPU: its transform asks a
//! device only to take the constants.

use super::*;
use crate::network::{Precision, Signature, Typed, read};
use std::ffi::c_void;
use tract_cuda::CudaTransform;
use tract_gpu::device::{DeviceBuffer, DeviceContext, set_context};
use tract_gpu::rewrite_rules::rewire_syncs::rewire_syncs;
use tract_gpu::tensor::{DeviceTensor, OwnedDeviceTensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::model::translator::Translate;
use tract_onnx::tract_core::ops::cnn::conv::rewrite_kernel_conv_in_oihw;
use tract_onnx::tract_core::ops::cnn::rewrite_conv_with_n_axis;
use tract_onnx::tract_core::ops::einsum::prefix_matmul::{
    PrefixMatMul, rewrite_einsum_to_prefix_matmul,
};

/// A device that only keeps constants.
#[derive(Clone, Debug)]
struct Shelf;

/// A constant on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept(Arc<Tensor>);

impl DeviceBuffer for Kept {
    fn ptr(&self) -> *const c_void {
        std::ptr::null()
    }
}

impl OwnedDeviceTensor for Kept {
    fn datum_type(&self) -> DatumType {
        self.0.datum_type()
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn strides(&self) -> &[isize] {
        self.0.strides()
    }

    fn reshaped(&self, shape: TVec<usize>) -> TractResult<DeviceTensor> {
        let tensor = (*self.0).clone().into_shape(&shape)?;
        Ok(DeviceTensor::Owned(Box::new(Kept(tensor.into()))))
    }

    fn restrided(&self, _strides: TVec<isize>) -> TractResult<DeviceTensor> {
        bail!("nothing runs here")
    }

    fn exotic_fact(&self) -> Option<&dyn ExoticFact> {
        None
    }

    fn get_bytes_slice(&self, _offset: usize, _len: usize) -> Vec<u8> {
        Vec::new()
    }

    fn device_buffer(&self) -> &dyn DeviceBuffer {
        self
    }

    fn to_host(&self) -> TractResult<Arc<Tensor>> {
        Ok(self.0.clone())
    }
}

impl DeviceContext for Shelf {
    fn tensor_to_device(&self, tensor: TValue) -> TractResult<Box<dyn OwnedDeviceTensor>> {
        Ok(Box::new(Kept(tensor.into_arc_tensor())))
    }

    fn uninitialized_device_tensor(
        &self,
        shape: &[usize],
        dt: DatumType,
    ) -> TractResult<Box<dyn OwnedDeviceTensor>> {
        // Constants are reshaped while nodes are placed. Where a node runs does not depend on values.
        Ok(Box::new(Kept(
            Tensor::zero_dt(dt, shape)?.into_arc_tensor(),
        )))
    }

    fn uninitialized_device_exotic_tensor(
        &self,
        _fact: Box<dyn ExoticFact>,
    ) -> TractResult<Box<dyn OwnedDeviceTensor>> {
        bail!("nothing runs here")
    }

    fn synchronize(&self) -> TractResult<()> {
        Ok(())
    }

    fn copy_nd(
        &self,
        _input: &DeviceTensor,
        _input_offset: usize,
        _input_strides: &[isize],
        _output: &DeviceTensor,
        _output_offset: usize,
        _output_shape: &[usize],
        _output_strides: &[isize],
    ) -> TractResult<()> {
        Ok(())
    }
}

/// A product that is to come out transposed becomes that of the transposed factors, the other way round.
/// tract-cuda does the same, by a rule that it does not make public.
fn untransposed(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    _: &str,
    op: &PrefixMatMul,
) -> TractResult<Option<TypedModelPatch>> {
    if !op.transpose_c {
        return Ok(None);
    }
    let product = PrefixMatMul {
        transpose_a: !op.transpose_b,
        transpose_b: !op.transpose_a,
        transpose_c: false,
        ..*op
    };
    let factors = [node.inputs[1], node.inputs[0]];
    TypedModelPatch::replace_single_op(model, node, &factors, product).map(Some)
}

/// The part of `CudaTransform::transform` that decides where a node runs. The whole of it opens the
/// GPU first.
fn transformed(mut model: TypedModel) -> TypedModel {
    // Whoever is second finds the same device.
    let _ = set_context(Box::new(Shelf));
    rewrite_einsum_to_prefix_matmul(&mut model, false).expect("einsum");
    Rewriter::default()
        .with_rule_for("untransposed", untransposed)
        .with_rule_for("rewrite_kernel_conv_in_oihw", rewrite_kernel_conv_in_oihw)
        .with_rule_for("rewrite_conv_with_n_axis", rewrite_conv_with_n_axis)
        .rewrite(&(), &mut model)
        .expect("rules");
    let mut model = CudaTransform.translate_model(&model).expect("translation");
    rewire_syncs(&mut model).expect("copies");
    model
}

#[test]
fn the_shipped_f32_backbone_runs_on_the_gpu_as_a_whole() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/models/efficientnet-lite0-f32.onnx"
    );
    let bytes = std::fs::read(file).expect("models");
    let side = 256;
    let signature = Signature {
        name: "backbone".into(),
        input: vec![1, 3, side, side],
        outputs: vec![
            ("tap8", vec![1, 40, side / 8, side / 8]),
            ("tap16", vec![1, 112, side / 16, side / 16]),
        ],
        precision: Precision::F32,
    };
    let (reader, proto) = read(&bytes, &signature).expect("ONNX");
    let typed = Typed::read(&reader, proto, &signature).expect("a network");
    let report = places(&transformed(typed.model));
    println!("{report}");
    assert_eq!(report.cpu_nodes, [], "{report}");
    assert!(report.nodes > 50, "{report}");
    // The input, and two taps.
    assert_eq!(report.copies, 3, "{report}");
}

#[test]
fn a_node_that_cuda_does_not_have_is_named() {
    let mut model = TypedModel::default();
    let fact = f32::fact([1, 4, 8, 8]);
    let source = model.add_source("image", fact).expect("source");
    let doubled = model
        .wire_node(
            "double",
            tract_onnx::tract_core::ops::math::add(),
            &[source, source],
        )
        .expect("add")[0];
    let pool = tract_onnx::tract_core::ops::cnn::MaxPool {
        pool_spec: tract_onnx::tract_core::ops::cnn::PoolSpec::new(
            tract_onnx::tract_core::ops::nn::DataFormat::NCHW,
            tvec!(2, 2),
            tract_onnx::tract_core::ops::cnn::PaddingSpec::Valid,
            None,
            Some(tvec!(2, 2)),
            4,
            4,
        ),
        with_index_outputs: None,
    };
    let pooled = model.wire_node("pool", pool, &[doubled]).expect("pool")[0];
    let last = model
        .wire_node(
            "last",
            tract_onnx::tract_core::ops::math::add(),
            &[pooled, pooled],
        )
        .expect("add");
    model.select_output_outlets(&last).expect("outputs");
    let report = places(&transformed(model));
    let names: Vec<&str> = report.cpu_nodes.iter().map(|n| &*n.node).collect();
    assert_eq!(names, ["pool"], "{report}");
    assert_eq!(report.cpu_nodes[0].operator, "MaxPool");
    assert_eq!(report.nodes, 2, "{report}");
    // In and from the pool once for each of two uses, to the pool, out.
    assert_eq!(report.copies, 6, "{report}");
}

#[test]
fn the_first_that_is_missing_ends_the_search() {
    let needs = needs();
    let (last, before) = needs.split_last().expect("something is needed");
    assert!(before.iter().all(|need| need.found.is_ok()), "{needs:?}");
    let Err(error) = &last.found else {
        eprintln!("SKIPPED: what a machine without a GPU lacks; this one lacks nothing");
        return;
    };
    assert_eq!(device().as_ref(), Err(error));
    let text = error.to_string();
    assert!(text.contains("; fix: "), "{text}");
    assert!(text.ends_with("`--accelerator cpu`)"), "{text}");
}

#[test]
fn a_thread_that_ends_is_an_error() {
    let failing = || -> TractResult<Arc<dyn Runnable>> { bail!("no kernel") };
    let error = Worker::start(&[1], &[0], failing).err().expect("an error");
    assert!(error.to_string().contains("no kernel"), "{error}");
    let lost = || -> TractResult<Arc<dyn Runnable>> { panic!("a panic of tract-cuda") };
    let error = Worker::start(&[1], &[0], lost).err().expect("an error");
    assert!(error.to_string().contains("has ended"), "{error}");
}

#[test]
fn the_thread_runs_networks_one_image_after_another() {
    // On the CPU: the way of the data is the same.
    let mut model = TypedModel::default();
    let source = model
        .add_source("image", f32::fact([2, 3]))
        .expect("source");
    let sum = model
        .wire_node(
            "sum",
            tract_onnx::tract_core::ops::math::add(),
            &[source, source],
        )
        .expect("add")[0];
    model
        .select_output_outlets(&[source, sum])
        .expect("outputs");
    let prepare = move || -> TractResult<Arc<dyn Runnable>> {
        let runtime = runtime_for_name("cpu")?.context("cpu")?;
        Ok(Arc::from(runtime.prepare(model)?))
    };
    let (worker, network) = Worker::start(&[2, 3], &[1], prepare).expect("a worker");
    let mut gpu = Gpu::with(network, worker, &[2, 3], vec![1]);
    assert_eq!(gpu.output(0), None);
    for image in 0..3 {
        let mut gpu = gpu.another().expect("another");
        for run in 0..2 {
            let value = (image * 10 + run) as f32;
            gpu.input_mut().fill(value);
            gpu.infer().expect("runs");
            assert_eq!(gpu.output(0), Some(&[2.0 * value; 6][..]));
            assert_eq!(gpu.output(1), None);
        }
    }
    gpu.input_mut().fill(1.0);
    gpu.infer().expect("runs");
    assert_eq!(gpu.output(0), Some(&[2.0; 6][..]));
}
