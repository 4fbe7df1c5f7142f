//! AVX-VNNI: `vpdpbusd` on 256 bits.

use super::blocks::BLOCK;
use super::isa::{Addition, Isa, QUAD, Saturation};
use super::ymm::{Pair, isa_of_ymm, quarters, transposed};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct AvxVnni;

/// # Safety
/// The processor has AVX-VNNI, and a block of weights can be read.
#[inline(always)]
unsafe fn weights(from: *const i8) -> Pair {
    unsafe { AvxVnni::bytes(from.cast()) }
}

isa_of_ymm!(AvxVnni, Pair, BLOCK, weights, _mm256_dpbusd_avx_epi32);
