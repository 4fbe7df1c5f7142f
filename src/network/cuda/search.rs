//! The search for the nearest rows of a bank on the GPU, with the same winners as the one in f32 on
//! the CPU: `search.cu` says how. Only the winner's row comes back; its distance is summed on the CPU,
//! as everywhere, so a score does not depend on where the search ran.

// A kernel is launched by pointers that no compiler checks. Their lengths are asserted before.
#![allow(unsafe_code)]

use super::needs::missing;
use crate::lanes::LANES;
use crate::network::NetworkError;
use crate::network::accelerator::AcceleratorError;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::sync::Arc;

const SOURCE: &str = include_str!("search.cu");
/// Cells and rows of a block of threads, and its threads, as in `search.cu`.
const TILE: usize = 64;
const THREADS: u32 = 256;
/// Blocks that keep a large GPU busy; a small one takes them one after the other.
const BLOCKS: usize = 256;
/// What the kernel writes where no row is allowed.
const NONE: u32 = u32::MAX;

/// A bank in the GPU's memory, with room for the cells of a picture.
pub(crate) struct DeviceSearch {
    stream: Arc<CudaStream>,
    winners: CudaFunction,
    shape: Shape,
    bank: CudaSlice<f32>,
    start: CudaSlice<f32>,
    features: CudaSlice<f32>,
    mask: CudaSlice<u16>,
    values: CudaSlice<f32>,
    found: CudaSlice<u32>,
    host: Found,
}

/// The winner of each slice of rows, `[slices, cells]`.
struct Found {
    values: Vec<f32>,
    rows: Vec<u32>,
}

/// How a search is divided among blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    cells: usize,
    rows: usize,
    dimensions: usize,
    /// Tiles of rows per slice.
    tiles: usize,
    slices: usize,
}

impl Shape {
    fn new(cells: usize, rows: usize, dimensions: usize) -> Self {
        let all = rows.div_ceil(TILE);
        let wanted = BLOCKS.div_ceil(cells.div_ceil(TILE).max(1)).min(all);
        let tiles = all.div_ceil(wanted);
        Self {
            cells,
            rows,
            dimensions,
            tiles,
            slices: all.div_ceil(tiles),
        }
    }

    fn padded(&self) -> usize {
        self.rows.next_multiple_of(TILE)
    }

    /// Words of a cell in a mask.
    fn words(&self) -> usize {
        self.rows.div_ceil(LANES)
    }
}

/// The rows as the kernel reads them, `[dimensions, padded rows]`.
fn packed(values: &[f32], shape: &Shape) -> Vec<f32> {
    let padded = shape.padded();
    let mut bank = vec![0.0; shape.dimensions * padded];
    for (row, vector) in values.chunks_exact(shape.dimensions).enumerate() {
        for (k, &v) in vector.iter().enumerate() {
            bank[k * padded + row] = v;
        }
    }
    bank
}

impl DeviceSearch {
    /// Puts `values`, `[rows, dimensions]`, into the memory of the GPU, with room for `cells` cells.
    /// `starts` has a value per row: what the CPU's search adds its products to.
    ///
    /// # Errors
    /// [`AcceleratorError::Missing`] where the GPU cannot be used or has no memory left.
    pub(crate) fn new(
        values: &[f32],
        starts: &[f32],
        cells: usize,
    ) -> Result<Self, AcceleratorError> {
        // Before the first call of cudarc, which panics where a library is missing.
        super::needs::device()?;
        let shape = Shape::new(cells, starts.len(), values.len() / starts.len());
        Self::load(values, starts, shape).map_err(|said| {
            missing(
                format!("the search cannot be placed on the GPU: {said}"),
                "give the GPU more free memory, or fit with a smaller bank",
            )
        })
    }

    fn load(values: &[f32], starts: &[f32], shape: Shape) -> Result<Self, String> {
        let driver = |error: DriverError| error.to_string();
        let context = CudaContext::new(0).map_err(driver)?;
        let (major, minor) = context.compute_capability().map_err(driver)?;
        let kernel = compiled(major, minor)?;
        let module = context.load_module(kernel).map_err(driver)?;
        let winners = module.load_function("winners").map_err(driver)?;
        let stream = context.new_stream().map_err(driver)?;
        let bank = packed(values, &shape);
        let mut start = starts.to_vec();
        start.resize(shape.padded(), f32::NEG_INFINITY);
        let of_slices = shape.slices * shape.cells;
        Ok(Self {
            winners,
            bank: stream.clone_htod(&bank).map_err(driver)?,
            start: stream.clone_htod(&start).map_err(driver)?,
            features: stream
                .alloc_zeros(shape.cells * shape.dimensions)
                .map_err(driver)?,
            mask: stream
                .alloc_zeros(shape.cells * shape.words())
                .map_err(driver)?,
            values: stream.alloc_zeros(of_slices).map_err(driver)?,
            found: stream.alloc_zeros(of_slices).map_err(driver)?,
            host: Found {
                values: vec![0.0; of_slices],
                rows: vec![0; of_slices],
            },
            stream,
            shape,
        })
    }

    /// The nearest allowed row of each cell of `features`, `[cells, dimensions]`, into `rows`. `mask` has
    /// the words of each cell, one bit per row. As on the CPU it is row 0 where no row is allowed, or no value is a number.
    ///
    /// # Errors
    /// [`NetworkError::Run`] with what the driver says; then there is no result.
    ///
    /// # Panics
    /// When buffers disagree in length, or there are more cells than there is room for: a programming
    /// error.
    pub(crate) fn winners(
        &mut self,
        features: &[f32],
        mask: Option<&[u16]>,
        rows: &mut [u32],
    ) -> Result<(), NetworkError> {
        let shape = self.shape;
        assert_eq!(
            features.len(),
            rows.len() * shape.dimensions,
            "feature buffer"
        );
        assert!(rows.len() <= shape.cells, "room for cells");
        if let Some(mask) = mask {
            assert_eq!(mask.len(), rows.len() * shape.words(), "mask");
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.launch(features, mask, rows.len())
            .map_err(|error| NetworkError::Run {
                name: "search on the GPU".into(),
                message: error.to_string(),
            })?;
        self.host.best(shape.slices, rows);
        Ok(())
    }

    fn launch(
        &mut self,
        features: &[f32],
        mask: Option<&[u16]>,
        cells: usize,
    ) -> Result<(), DriverError> {
        let shape = self.shape;
        let stream = &self.stream;
        stream.memcpy_htod(features, &mut self.features.slice_mut(..features.len()))?;
        let words = match mask {
            Some(mask) => {
                stream.memcpy_htod(mask, &mut self.mask.slice_mut(..mask.len()))?;
                shape.words()
            }
            None => 0,
        };
        let number = |n: usize| n as u32;
        let sizes = [cells, shape.padded(), shape.dimensions, words, shape.tiles].map(number);
        let config = LaunchConfig {
            grid_dim: (number(cells.div_ceil(TILE)), number(shape.slices), 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        let mut call = stream.launch_builder(&self.winners);
        call.arg(&self.features)
            .arg(&self.bank)
            .arg(&self.start)
            .arg(&self.mask);
        for size in &sizes {
            call.arg(size);
        }
        call.arg(&mut self.values).arg(&mut self.found);
        // SAFETY: the arguments are those of the kernel, in its order. It reads `cells` cells of
        // features and mask, which were just written, the whole bank, and writes `slices` times
        // `cells` results, of which there are at least as many.
        unsafe { call.launch(config)? };
        let results = shape.slices * cells;
        let of = &mut self.host;
        stream.memcpy_dtoh(&self.values.slice(..results), &mut of.values[..results])?;
        stream.memcpy_dtoh(&self.found.slice(..results), &mut of.rows[..results])?;
        stream.synchronize()
    }
}

impl Found {
    /// The best of the slices of each cell. A later slice has higher rows, and must be better.
    fn best(&self, slices: usize, rows: &mut [u32]) {
        let cells = rows.len();
        for (cell, row) in rows.iter_mut().enumerate() {
            let mut best = (f32::NEG_INFINITY, NONE);
            for at in (0..slices).map(|slice| slice * cells + cell) {
                if self.values[at] > best.0 {
                    best = (self.values[at], self.rows[at]);
                }
            }
            *row = if best.1 == NONE { 0 } else { best.1 };
        }
    }
}

/// The kernel for a GPU of this compute capability. No header of CUDA is needed.
fn compiled(major: i32, minor: i32) -> Result<cudarc::nvrtc::Ptx, String> {
    let options = CompileOptions {
        options: vec![
            "--std=c++17".into(),
            format!("--gpu-architecture=compute_{major}{minor}"),
        ],
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(SOURCE, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_all_rows_and_no_more() {
        for cells in [1, 64, 1000, 1024, 9216] {
            for rows in [1, 63, 64, 65, 983, 4000, 50_000] {
                let shape = Shape::new(cells, rows, 152);
                let tiles = shape.padded() / TILE;
                assert!(shape.slices * shape.tiles >= tiles, "{shape:?}");
                assert!((shape.slices - 1) * shape.tiles < tiles, "{shape:?}");
                assert!(shape.slices <= BLOCKS, "{shape:?}");
            }
        }
    }

    #[test]
    fn of_equal_slices_the_lower_rows_win() {
        let found = Found {
            values: vec![1.0, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 0.5, 2.0],
            rows: vec![7, NONE, 90, NONE, 130, 140],
        };
        let mut rows = [9; 2];
        found.best(3, &mut rows);
        assert_eq!(rows, [7, 140]);
        let mut rows = [9; 2];
        found.best(2, &mut rows);
        assert_eq!(rows, [7, 0]);
    }

    /// NVRTC compiles without a GPU. Its library must be there.
    #[test]
    fn the_kernel_compiles_for_every_board() {
        if !super::super::needs::has_compiler() {
            eprintln!("SKIPPED: the search's kernel was not compiled; libnvrtc.so.12 is not there");
            return;
        }
        // Xavier, Orin, Ada, Hopper.
        for (major, minor) in [(7, 2), (8, 7), (8, 9), (9, 0)] {
            let kernel = compiled(major, minor).expect("the kernel compiles");
            let text = String::from_utf8_lossy(kernel.as_bytes().expect("text")).into_owned();
            assert!(text.contains(".entry winners"), "{text}");
            assert!(text.contains("fma.rn.f32"), "fused");
            assert!(!text.contains("fma.rn.ftz"), "small numbers must be kept");
        }
    }
}
