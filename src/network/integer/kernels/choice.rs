//! Which kernel runs: the fastest that the processor has, or the one that is asked for.

use super::blocks::{BLOCK, Blocks};
use std::fmt;
use thiserror::Error;

/// The environment variable that forces a kernel.
const VARIABLE: &str = "PARTGATE_KERNEL";

/// The instruction set that integer networks run on. All give the same bytes.
///
/// Values come from [`Kernel::available`] and [`Kernel::chosen`], which look at the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Whatever the compiler makes of arrays.
    Portable,
    /// x86-64 with SSE4.1.
    #[cfg(target_arch = "x86_64")]
    Sse41,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// x86-64 with AVX-512 and its VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// aarch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// aarch64 with dot products.
    #[cfg(target_arch = "aarch64")]
    Dotprod,
}

/// A kernel was asked for that cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{VARIABLE}={asked}: this processor has {}", .has.join(", "))]
pub struct KernelError {
    /// What was asked for.
    pub asked: String,
    /// Names of those that can run.
    pub has: Vec<&'static str>,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kernel {
    /// Every kernel that this processor can run, fastest first.
    pub fn available() -> Vec<Kernel> {
        #[allow(unused_mut)]
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if wide && is_x86_feature_detected!("avx512vnni") {
                found.push(Kernel::Avx512Vnni);
            }
            // The search's scores are fused where bytes are multiplied without an instruction of its own.
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                if is_x86_feature_detected!("avxvnni") {
                    found.push(Kernel::AvxVnni);
                }
                found.push(Kernel::Avx2);
            }
            if is_x86_feature_detected!("sse4.1") {
                found.push(Kernel::Sse41);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(Kernel::Dotprod);
            }
            if std::arch::is_aarch64_feature_detected!("neon") {
                found.push(Kernel::Neon);
            }
        }
        found.push(Kernel::Portable);
        found
    }

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse41 => "sse4.1",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => "avx512vnni",
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => "dotprod",
        }
    }

    /// The one named by the environment variable `PARTGATE_KERNEL`, or the fastest.
    ///
    /// # Errors
    /// [`KernelError`] when this processor has none of that name.
    pub fn chosen() -> Result<Kernel, KernelError> {
        match std::env::var_os(VARIABLE) {
            None => Self::named(None),
            Some(asked) => Self::named(Some(&asked.to_string_lossy())),
        }
    }

    fn named(asked: Option<&str>) -> Result<Kernel, KernelError> {
        let found = Self::available();
        let fits = |k: &&Kernel| asked.is_none_or(|name| k.name() == name);
        found.iter().find(fits).copied().ok_or_else(|| KernelError {
            asked: asked.unwrap_or_default().into(),
            has: found.iter().map(|k| k.name()).collect(),
        })
    }

    /// What the kernel subtracts from each byte before it multiplies; the plan makes up for it in
    /// the biases.
    pub(crate) fn offset(self) -> i32 {
        match self {
            Kernel::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse41 | Kernel::Avx2 | Kernel::AvxVnni | Kernel::Avx512Vnni => 0,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => 0,
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => super::dotprod::OFFSET,
        }
    }

    /// Bytes of a block of weights in this kernel's layout.
    pub(crate) fn weight_bytes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse41 => super::sse41::WEIGHTS,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => super::avx2::WEIGHTS,
            _ => BLOCK,
        }
    }

    /// Blocks of sixteen times four weights, in this kernel's layout.
    pub(crate) fn laid_out(self, weights: Blocks) -> Blocks {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse41 => self.each(&weights, super::sse41::lay_out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => self.each(&weights, super::avx2::lay_out),
            _ => weights,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn each(self, weights: &Blocks, lay_out: fn(&[u8], &mut [u8])) -> Blocks {
        let (of, size) = (weights.bytes(), self.weight_bytes());
        let mut laid_out = Blocks::filled(of.len() / BLOCK * size, 0);
        let to = laid_out.bytes_mut().chunks_exact_mut(size);
        for (block, to) in of.chunks_exact(BLOCK).zip(to) {
            lay_out(block, to);
        }
        laid_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kernel_is_refused_with_those_that_exist() {
        let error = Kernel::named(Some("mmx")).expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains("PARTGATE_KERNEL=mmx") && text.contains("portable"),
            "{text}"
        );
        assert_eq!(Kernel::named(Some("portable")), Ok(Kernel::Portable));
        assert_eq!(Kernel::named(None), Ok(Kernel::available()[0]));
    }
}
