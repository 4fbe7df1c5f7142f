//! f32 networks on an NVIDIA GPU: tract-cuda runs them, and this file says which node runs where.
//!
//! tract-cuda ends the process where something that it needs does not work, so all of it is tried
//! before (`needs.rs`). A network has a thread of its own, because tract-cuda keeps a stream and the
//! handles of its libraries for each thread that calls it: they are made at the start, and not
//! while a part is inspected.

mod needs;
mod search;
#[cfg(test)]
mod tests;

pub(super) use needs::{device, needs, not_placed};
pub(crate) use search::DeviceSearch;

use super::accelerator::{CpuNode, DeviceReport};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tract_gpu::fact::DeviceTypedFactExt;
use tract_gpu::sync::DeviceSync;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{
    RunOptions, Runnable, State, TractErrorContext, anyhow, runtime_for_name,
};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

/// Where each node of a network runs that tract-cuda has transformed. A result in the GPU's memory
/// was made there: tract-cuda copies it to the host before a node of the CPU takes it.
pub(super) fn places(model: &TypedModel) -> DeviceReport {
    let mut report = DeviceReport::default();
    for node in model.nodes() {
        if node.op_is::<Const>() || node.op_is::<TypedSource>() {
            continue;
        }
        let on_gpu = |output: &Outlet<TypedFact>| output.fact.as_device_fact().is_some();
        if node.op_is::<DeviceSync>() {
            report.copies += 1;
        } else if node.outputs.iter().all(on_gpu) {
            report.nodes += 1;
            let info = node.op().info().unwrap_or_default();
            report.generic_convolutions += usize::from(info.iter().any(|i| i == GENERIC));
        } else {
            report.cpu_nodes.push(CpuNode {
                node: node.name.clone(),
                operator: node.op().name().into_owned(),
            });
        }
    }
    report
}

/// What tract-cuda says about a convolution that cuDNN does not run.
const GENERIC: &str = "kernel: Generic";

/// One image on its way to the GPU's thread and back; the buffers go along, so none is made anew.
struct Job {
    /// Row-major.
    input: Vec<f32>,
    /// The promised outputs, row-major.
    outputs: Vec<Vec<f32>>,
}

/// A network on the GPU.
pub(super) struct Gpu {
    shape: Vec<usize>,
    /// Where each promised output is among the file's.
    slots: Vec<usize>,
    network: Arc<dyn Runnable>,
    job: Job,
    /// Whether the outputs are those of a run.
    ran: bool,
    worker: Worker,
}

/// The thread that calls tract-cuda. It ends when it is dropped.
struct Worker {
    /// None only while it is dropped.
    jobs: Option<Sender<Job>>,
    done: Receiver<(Job, TractResult<()>)>,
    thread: Option<JoinHandle<()>>,
}

impl Gpu {
    /// Lays out a decluttered `model` on the GPU and says where its nodes run. Compiles the kernels
    /// that are not in the cache yet, which takes minutes.
    ///
    /// # Errors
    /// tract's, and where the system gives no thread.
    pub(super) fn new(
        model: TypedModel,
        shape: &[usize],
        slots: Vec<usize>,
        options: RunOptions,
    ) -> TractResult<(Self, DeviceReport)> {
        let prepare = move || -> TractResult<Arc<dyn Runnable>> {
            let runtime = runtime_for_name("cuda")?.context("tract-cuda is not linked in")?;
            Ok(Arc::from(runtime.prepare_with_options(model, &options)?))
        };
        let (worker, network) = Worker::start(shape, &slots, prepare)?;
        let gpu = Self::with(network, worker, shape, slots);
        let report = places(gpu.model()?);
        Ok((gpu, report))
    }

    fn with(
        network: Arc<dyn Runnable>,
        worker: Worker,
        shape: &[usize],
        slots: Vec<usize>,
    ) -> Self {
        Self {
            shape: shape.to_vec(),
            job: Job {
                input: vec![0.0; shape.iter().product()],
                outputs: vec![Vec::new(); slots.len()],
            },
            slots,
            network,
            ran: false,
            worker,
        }
    }

    /// Another instance on the same weights, with a thread of its own.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub(super) fn another(&self) -> TractResult<Self> {
        let network = self.network.clone();
        let (worker, network) = Worker::start(&self.shape, &self.slots, move || Ok(network))?;
        Ok(Self::with(network, worker, &self.shape, self.slots.clone()))
    }

    /// The network as it runs.
    ///
    /// # Errors
    /// If tract-cuda does not give it.
    pub(super) fn model(&self) -> TractResult<&TypedModel> {
        let model = self.network.typed_model();
        Ok(model.context("tract-cuda gives no model")?)
    }

    /// The input, row-major.
    pub(super) fn input_mut(&mut self) -> &mut [f32] {
        &mut self.job.input
    }

    /// Runs on the input. The results are in the host's memory afterwards.
    ///
    /// # Errors
    /// tract's, and where the GPU's thread has ended; then there are no results.
    pub(super) fn infer(&mut self) -> TractResult<()> {
        self.ran = false;
        let empty = Job {
            input: Vec::new(),
            outputs: Vec::new(),
        };
        let job = std::mem::replace(&mut self.job, empty);
        let done = self.worker.run(job);
        match done {
            Ok((job, outcome)) => {
                self.job = job;
                outcome?;
                self.ran = true;
                Ok(())
            }
            Err(error) => {
                // The buffers are lost with the thread.
                self.job.input = vec![0.0; self.shape.iter().product()];
                self.job.outputs = vec![Vec::new(); self.slots.len()];
                Err(error)
            }
        }
    }

    /// Promised output `index` of the last run, row-major; None before the first run and after one
    /// that failed.
    pub(super) fn output(&self, index: usize) -> Option<&[f32]> {
        let output = self.job.outputs.get(index).filter(|_| self.ran)?;
        Some(output)
    }
}

impl Worker {
    /// Starts the thread and waits until `prepare` has run on it and a first, black image went
    /// through: what is made at a first run is then there.
    fn start(
        shape: &[usize],
        slots: &[usize],
        prepare: impl FnOnce() -> TractResult<Arc<dyn Runnable>> + Send + 'static,
    ) -> TractResult<(Self, Arc<dyn Runnable>)> {
        let (shape, slots) = (shape.to_vec(), slots.to_vec());
        let (jobs, queue) = channel::<Job>();
        let (finished, done) = channel();
        let (ready, started) = channel();
        let work = move || {
            let mut state = match begin(prepare, &shape, &slots) {
                Ok((network, state)) => {
                    if ready.send(Ok(network)).is_err() {
                        return;
                    }
                    state
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            while let Ok(mut job) = queue.recv() {
                let outcome = run(&mut *state, &shape, &slots, &mut job);
                if finished.send((job, outcome)).is_err() {
                    return;
                }
            }
        };
        let builder = std::thread::Builder::new().name("partgate-gpu".into());
        let thread = builder.spawn(work).context("no thread for the GPU")?;
        let network = started.recv().map_err(|_| ended())??;
        let worker = Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        };
        Ok((worker, network))
    }

    fn run(&self, job: Job) -> TractResult<(Job, TractResult<()>)> {
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job).map_err(|_| ended())?;
        self.done.recv().map_err(|_| ended())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // It must not outlive the program's main function, which unloads CUDA.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ended() -> TractError {
    anyhow!("the thread that calls CUDA has ended; its message is above this one")
}

/// Prepares the network and runs it once.
fn begin(
    prepare: impl FnOnce() -> TractResult<Arc<dyn Runnable>>,
    shape: &[usize],
    slots: &[usize],
) -> TractResult<(Arc<dyn Runnable>, Box<dyn State>)> {
    let network = prepare()?;
    let mut state = network.spawn()?;
    let mut black = Job {
        input: vec![0.0; shape.iter().product()],
        outputs: vec![Vec::new(); slots.len()],
    };
    run(&mut *state, shape, slots, &mut black)?;
    Ok((network, state))
}

/// Runs one job. All that comes back is in the host's memory: what tract-cuda gives back is copied
/// from the GPU only when it is read, and that must be on this thread.
fn run(state: &mut dyn State, shape: &[usize], slots: &[usize], job: &mut Job) -> TractResult<()> {
    let input = Tensor::from_shape(shape, &job.input)?;
    let outputs = state.run(tvec!(input.into_tvalue()))?;
    for (slot, output) in slots.iter().zip(&mut job.outputs) {
        let value = outputs.get(*slot).context("an output is missing")?;
        output.clear();
        output.extend_from_slice(value.try_as_plain_ram()?.as_slice::<f32>()?);
    }
    Ok(())
}
