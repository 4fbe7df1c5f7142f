//! What tract-cuda needs from this machine, tried in the order in which it uses it. tract-cuda ends
//! the process where a library, a header or a folder is missing; here that is an error with its fix.

use crate::network::accelerator::{AcceleratorError, Found, Need};
use cudarc::cublas::CudaBlas;
use cudarc::cudnn::Cudnn;
use cudarc::driver::CudaContext;
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use cudarc::runtime::result::device::get_device_prop;
use cudarc::runtime::result::version::get_runtime_version;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tract_cuda::kernels::{LibraryName, cubin_dir};
use tract_cuda::utils::{REQUIRED_CUDA_API, ensure_cuda_runtime_dependencies};

/// The fix where the program is to run without a GPU.
const OR_CPU: &str = "or choose the CPU (`inference.accelerator = \"cpu\"`, `--accelerator cpu`)";

/// The first GPU, opened. It stays open until the process ends, because opening it takes a second.
struct Device {
    name: String,
    /// Compute capability.
    capability: (i32, i32),
    /// Version of the kernel compiler.
    compiler: (u32, u32),
    _context: Arc<CudaContext>,
}

/// The name of the GPU that networks run on, once everything that they need was found.
///
/// # Errors
/// [`AcceleratorError::Missing`] with the first thing that is missing.
pub(in crate::network) fn device() -> Result<String, AcceleratorError> {
    let mut name = String::new();
    for need in needs() {
        let found = need.found?;
        if need.what == DEVICE {
            name = found.text;
        }
    }
    Ok(name)
}

const LIBRARIES: &str = "CUDA libraries";
const DEVICE: &str = "GPU";
const ROUNDING: &str = "GPU rounding";
const KERNELS: &str = "GPU kernels";

/// Everything that is needed, up to the first that is missing.
pub(in crate::network) fn needs() -> Vec<Need> {
    let mut needs = Vec::new();
    let mut add = |what, found: Result<Found, AcceleratorError>| {
        let met = found.is_ok();
        needs.push(Need { what, found });
        met
    };
    if !add(LIBRARIES, libraries()) {
        return needs;
    }
    let device = opened();
    let named = device.map(|device| found(device.name.clone()));
    if add(DEVICE, named)
        && let Ok(device) = opened()
    {
        let given = std::env::var("NVIDIA_TF32_OVERRIDE").ok();
        add(ROUNDING, Ok(rounding(device.capability, given.as_deref())));
        add(KERNELS, kernels(device));
    }
    needs
}

fn found(text: String) -> Found {
    Found { text, advice: None }
}

pub(super) fn missing(found: impl Into<String>, fix: impl std::fmt::Display) -> AcceleratorError {
    AcceleratorError::Missing {
        found: found.into().replace('\n', " "),
        fix: format!("{fix}, {OR_CPU}"),
    }
}

/// The refusal for network `name` that tract-cuda does not load, though all that it needs is there.
pub(in crate::network) fn not_placed(name: &str, said: &str) -> AcceleratorError {
    missing(
        format!("{name}: cannot be placed on the GPU: {said}"),
        "give the GPU more free memory, or fit with a backbone of other operators",
    )
}

/// A version that CUDA writes as one number, such as 12060.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// Driver and libraries. Nothing of cudarc may be called before: it panics where they are missing.
fn libraries() -> Result<Found, AcceleratorError> {
    if let Err(error) = ensure_cuda_runtime_dependencies("CUDA") {
        return Err(refused(&error.root_cause().to_string()));
    }
    let text = |error: &dyn std::fmt::Debug| format!("CUDA runtime library: {error:?}");
    let runtime = get_runtime_version()
        .map_err(|error| missing(text(&error), "install the CUDA runtime again"))?;
    // The structures that a library fills have another layout in another major version.
    if runtime / 1000 != REQUIRED_CUDA_API / 1000 {
        let found = format!(
            "the CUDA runtime library is version {}, and this build is for {}",
            version(runtime),
            version(REQUIRED_CUDA_API)
        );
        let fix = format!(
            "install the runtime libraries of CUDA {} beside it, or build for the board's version (docs/gpu.md)",
            REQUIRED_CUDA_API / 1000
        );
        return Err(missing(found, fix));
    }
    Ok(found(format!(
        "driver, runtime {}, NVRTC, cuBLAS, cuDNN {}",
        version(runtime),
        cudnn_version(cudarc::cudnn::result::get_version())
    )))
}

/// cuDNN 9 writes its version as 90300, cuDNN 8 as 8905.
fn cudnn_version(number: usize) -> String {
    match number {
        0..10_000 => format!("{}.{}", number / 1000, number % 1000 / 100),
        _ => format!("{}.{}", number / 10_000, number % 10_000 / 100),
    }
}

/// The refusal for what tract-cuda says about the driver and the libraries.
fn refused(said: &str) -> AcceleratorError {
    if said.starts_with("CUDA driver library not found") {
        return missing(
            "CUDA driver library not found (libcuda.so.1)",
            "install NVIDIA's driver (on a Jetson it is part of JetPack; a container needs `--gpus all` or `--runtime nvidia`)",
        );
    }
    let library = said
        .split_once("sub-library \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    match library {
        Some((library, _)) => missing(
            format!("CUDA library {library} not found"),
            format!(
                "install the one for CUDA {} and name its folder in LD_LIBRARY_PATH if it is not a standard one",
                REQUIRED_CUDA_API / 1000
            ),
        ),
        None => missing(
            said.trim_end_matches('.'),
            "check the driver with `nvidia-smi` and the rights on /dev/nvidia*",
        ),
    }
}

/// Opens the GPU once and tries what tract-cuda makes for each of its threads.
fn opened() -> Result<&'static Device, AcceleratorError> {
    static DEVICE: OnceLock<Result<Device, AcceleratorError>> = OnceLock::new();
    DEVICE.get_or_init(open).as_ref().map_err(Clone::clone)
}

fn open() -> Result<Device, AcceleratorError> {
    let failed = |what: &str, error: &dyn std::fmt::Debug| {
        missing(
            format!("{what}: {error:?}"),
            "check the GPU with `nvidia-smi`; the versions of driver, CUDA and cuDNN must go together",
        )
    };
    let context = CudaContext::new(0).map_err(|e| failed("the GPU cannot be opened", &e))?;
    let name = context.name().map_err(|e| failed("GPU name", &e))?;
    let capability = context
        .compute_capability()
        .map_err(|e| failed("GPU compute capability", &e))?;
    get_device_prop(0).map_err(|e| failed("GPU properties", &e))?;
    let stream = context.new_stream().map_err(|e| failed("GPU stream", &e))?;
    CudaBlas::new(stream.clone()).map_err(|e| failed("cuBLAS cannot be opened", &e))?;
    Cudnn::new(stream).map_err(|e| failed("cuDNN cannot be opened", &e))?;
    let compiler = compile(VERSION_PROBE, Vec::new())
        .and_then(|text| compiler_version(&text).ok_or("it does not tell its version".into()))
        .map_err(|error| {
            missing(
                format!("NVRTC: {error}"),
                "install the NVRTC of this CUDA again",
            )
        })?;
    Ok(Device {
        name: format!(
            "{name} (compute capability {}.{})",
            capability.0, capability.1
        ),
        capability,
        compiler,
        _context: context,
    })
}

/// How exactly the GPU multiplies. cuDNN may use TF32, with 10 bits of mantissa instead of 23, from
/// compute capability 8 on, unless the environment says no before its libraries are loaded.
fn rounding((major, _): (i32, i32), tf32_override: Option<&str>) -> Found {
    if major < 8 {
        return found("f32 throughout".into());
    }
    if tf32_override == Some("0") {
        return found("f32 throughout: NVIDIA_TF32_OVERRIDE is 0".into());
    }
    Found {
        text: "cuDNN may round to TF32".into(),
        advice: Some(
            "set NVIDIA_TF32_OVERRIDE=0 for the line (docs/gpu.md): the golden scores of an f32 product allow less rounding",
        ),
    }
}

/// NVRTC has no other safe way to tell its version, which is part of the kernels' file names.
const VERSION_PROBE: &str =
    "extern \"C\" __device__ int partgate_nvrtc[2] = {__CUDACC_VER_MAJOR__, __CUDACC_VER_MINOR__};";

fn compiler_version(text: &str) -> Option<(u32, u32)> {
    let (_, after) = text.split_once("partgate_nvrtc[2]")?;
    let (_, after) = after.split_once('{')?;
    let (numbers, _) = after.split_once('}')?;
    let (major, minor) = numbers.split_once(',')?;
    Some((major.trim().parse().ok()?, minor.trim().parse().ok()?))
}

/// Whether NVRTC is there, which needs no GPU.
#[cfg(test)]
#[allow(unsafe_code)]
pub(super) fn has_compiler() -> bool {
    // SAFETY: it only opens the library.
    unsafe { cudarc::nvrtc::sys::is_culib_present() }
}

/// What NVRTC makes of `source`, as text.
fn compile(source: &str, options: Vec<String>) -> Result<String, String> {
    let options = CompileOptions {
        options,
        ..CompileOptions::default()
    };
    let compiled = compile_ptx_with_opts(source, options).map_err(|error| error.to_string())?;
    let bytes = compiled.as_bytes().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The kernels that tract-cuda compiles when it opens the GPU: in its cache, or what compiling them
/// needs.
fn kernels(device: &Device) -> Result<Found, AcceleratorError> {
    let (folder, files) = cached(cubin_dir(), device.capability, device.compiler);
    let there = files.iter().filter(|file| file.exists()).count();
    let place = folder.display();
    if there == files.len() {
        return Ok(found(format!("all {there} are compiled, in {place}")));
    }
    writable(&folder)?;
    let home = toolkit(|name| std::env::var_os(name), Path::new("/"))?;
    let options = header_options(&home, device.capability)?;
    compile(HEADER_PROBE, options).map_err(|error| {
        missing(
            format!(
                "NVRTC does not compile with the headers of {}: {error}",
                home.display()
            ),
            "install the headers of the same CUDA version as NVRTC (cuda-cudart-dev, cuda-cccl)",
        )
    })?;
    Ok(Found {
        text: format!("{there} of {} are compiled, in {place}", files.len()),
        advice: Some(
            "compiling the others takes minutes: `partgate doctor --warm` as the user of the line, before it starts",
        ),
    })
}

/// Folder and files of the compiled kernels, as tract-cuda names them.
fn cached(
    root: &Path,
    (major, minor): (i32, i32),
    compiler: (u32, u32),
) -> (PathBuf, Vec<PathBuf>) {
    let nvrtc = format!("nvrtc-{}.{}", compiler.0, compiler.1);
    let folder = root.join(format!("sm_{major}{minor}")).join(&nvrtc);
    let target = format!("--std=c++17 --gpu-architecture=sm_{major}{minor} {nvrtc}");
    let files = LibraryName::EAGER
        .iter()
        .map(|library| library.cubin_path(&folder, &target))
        .collect();
    (folder, files)
}

/// Whether compiled kernels can be written there.
fn writable(folder: &Path) -> Result<(), AcceleratorError> {
    let fix =
        "give the user of the line a cache folder: XDG_CACHE_HOME, or a home folder (docs/gpu.md)";
    if folder.is_relative() {
        let found = "no folder for compiled GPU kernels: neither XDG_CACHE_HOME nor HOME is set";
        return Err(missing(found, fix));
    }
    let probe = folder.join(format!("partgate-{}.tmp", std::process::id()));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, b"partgate"))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| {
            let place = folder.display();
            missing(
                format!("{place}: compiled GPU kernels cannot be written: {error}"),
                fix,
            )
        })
}

/// The folder of the CUDA toolkit, where tract-cuda looks for it.
fn toolkit(
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    root: &Path,
) -> Result<PathBuf, AcceleratorError> {
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = variable(name) {
            return Ok(PathBuf::from(home));
        }
    }
    let usual = root.join("usr/local/cuda");
    if usual.exists() {
        return Ok(usual);
    }
    let path = variable("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("nvcc").exists())
        .and_then(|folder| Some(folder.parent()?.to_path_buf()))
        .ok_or_else(|| no_headers("/usr/local/cuda"))
}

fn no_headers(found: &str) -> AcceleratorError {
    let version = version(REQUIRED_CUDA_API).replace('.', "-");
    missing(
        format!("{found}: not there, and NVRTC needs CUDA's headers to compile the GPU kernels"),
        format!(
            "install cuda-cudart-dev-{version} and cuda-cccl-{version}, and set CUDA_HOME if they are not in /usr/local/cuda"
        ),
    )
}

/// What tract-cuda includes.
const HEADER_PROBE: &str = "#include <cuda_fp16.h>\n#include <math_constants.h>\n#include <cuda/std/cstdint>\n#include <cuda/std/type_traits>\nextern \"C\" __global__ void partgate_probe(__half *value) { *value = __float2half(1.0f); }";

/// NVRTC's options with the folders of the headers, which are looked for as tract-cuda does.
fn header_options(
    home: &Path,
    (major, minor): (i32, i32),
) -> Result<Vec<String>, AcceleratorError> {
    let mut folders = vec![home.join("include")];
    if let Ok(targets) = std::fs::read_dir(home.join("targets")) {
        folders.extend(targets.flatten().map(|entry| entry.path().join("include")));
    }
    let holds = |folder: &PathBuf| folder.join("cuda_fp16.h").exists();
    let include = folders
        .into_iter()
        .find(holds)
        .ok_or_else(|| no_headers(&format!("{}/include/cuda_fp16.h", home.display())))?;
    let math = include.join("math_constants.h");
    if !math.exists() {
        return Err(no_headers(&math.display().to_string()));
    }
    let places = [
        include.join("cccl"),
        include.join("libcudacxx/include"),
        include.clone(),
    ];
    let standard = "cuda/std/cstdint";
    let library = places
        .into_iter()
        .find(|place| place.join(standard).exists())
        .ok_or_else(|| no_headers(&include.join(standard).display().to_string()))?;
    Ok(vec![
        "--std=c++17".into(),
        format!("--gpu-architecture=compute_{major}{minor}"),
        format!("-I{}", include.display()),
        format!("-I{}", library.display()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &AcceleratorError) -> String {
        error.to_string()
    }

    #[test]
    fn each_missing_library_is_named_with_its_fix() {
        let driver = refused(
            "CUDA driver library not found. Tried: [\"libcuda.so.1\"]. Is an NVIDIA driver installed?",
        );
        assert!(
            said(&driver).starts_with("CUDA driver library not found (libcuda.so.1); fix: install")
        );
        let library = refused(
            "CUDA: CUDA runtime sub-library \"cudnn\" could not be dlopen'd. cudarc searches",
        );
        assert!(
            said(&library)
                .starts_with("CUDA library cudnn not found; fix: install the one for CUDA 12")
        );
        let other = refused("CUDA driver too old.\nFound driver API 11.4.");
        assert!(said(&other).starts_with("CUDA driver too old. Found driver API 11.4; fix: check"));
        for error in [driver, library, other] {
            assert!(said(&error).ends_with(OR_CPU), "{error}");
        }
    }

    #[test]
    fn versions_are_read_as_cuda_writes_them() {
        assert_eq!(version(12060), "12.6");
        assert_eq!(cudnn_version(90300), "9.3");
        assert_eq!(cudnn_version(8905), "8.9");
        let text = ".visible .global .align 4 .u32 partgate_nvrtc[2] = {12, 6};";
        assert_eq!(compiler_version(text), Some((12, 6)));
        assert_eq!(compiler_version("nothing of it"), None);
    }

    #[test]
    fn rounding_is_told_where_it_can_be() {
        assert_eq!(rounding((7, 2), None).advice, None);
        assert_eq!(rounding((8, 7), Some("0")).advice, None);
        for given in [None, Some("1"), Some("")] {
            assert!(rounding((8, 7), given).advice.is_some(), "{given:?}");
        }
    }

    #[test]
    fn kernels_are_looked_for_where_tract_writes_them() {
        let (folder, files) = cached(Path::new("/cache"), (8, 7), (12, 6));
        assert_eq!(folder, Path::new("/cache/sm_87/nvrtc-12.6"));
        assert_eq!(files.len(), LibraryName::EAGER.len());
        assert!(files.iter().all(|file| file.starts_with(&folder)));
        assert_ne!(files, cached(Path::new("/cache"), (8, 7), (12, 8)).1);
    }

    #[test]
    fn headers_are_found_as_tract_finds_them() {
        let folder = tempfile::tempdir().expect("folder");
        let none = |_: &str| None;
        let root = folder.path();
        let error = toolkit(none, root).expect_err("no toolkit");
        assert!(said(&error).contains("cuda-cudart-dev-12-6"), "{error}");
        let home = root.join("usr/local/cuda");
        let include = home.join("targets/aarch64-linux/include");
        std::fs::create_dir_all(include.join("cccl/cuda/std")).expect("folders");
        assert_eq!(toolkit(none, root).expect("toolkit"), home);
        let given = |name: &str| (name == "CUDA_HOME").then(|| "/opt/cuda".into());
        assert_eq!(
            toolkit(given, root).expect("toolkit"),
            Path::new("/opt/cuda")
        );
        for (name, next) in [
            ("", "cuda_fp16.h"),
            ("cuda_fp16.h", "math_constants.h"),
            ("math_constants.h", "cuda/std/cstdint"),
        ] {
            if !name.is_empty() {
                std::fs::write(include.join(name), "").expect("header");
            }
            let error = header_options(&home, (8, 7)).expect_err("a header is missing");
            assert!(said(&error).contains(next), "{error}");
        }
        std::fs::write(include.join("cccl/cuda/std/cstdint"), "").expect("header");
        let options = header_options(&home, (8, 7)).expect("all there");
        assert!(options.contains(&"--gpu-architecture=compute_87".into()));
        assert!(options.contains(&format!("-I{}", include.join("cccl").display())));
    }

    #[test]
    fn a_folder_for_kernels_must_be_there() {
        let error = writable(Path::new(".cache/tract")).expect_err("relative");
        assert!(said(&error).contains("XDG_CACHE_HOME"), "{error}");
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(writable(&folder.path().join("a/b")), Ok(()));
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("file");
        let error = writable(&file.join("a")).expect_err("no folder");
        assert!(said(&error).contains("cannot be written"), "{error}");
    }
}
