//! AVX-VNNI: `vpdpbusd` on 256 bits.

use super::isa::{Addition, Isa, QUAD, Saturation};
use super::ymm::{Pair, isa_of_ymm, quarters, transposed};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(super) struct AvxVnni;

isa_of_ymm!(AvxVnni, _mm256_dpbusd_avx_epi32);
