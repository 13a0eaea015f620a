//! wasm SIMD128: 4 lanes; compiled in where the whole module is built for it.

use std::arch::wasm32::*;

use super::{Isa, Task};

/// wasm with SIMD128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wasm128;

impl Isa for Wasm128 {
    type V = v128;
    const LANES: usize = 4;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, value: f32) -> v128 {
        f32x4_splat(value)
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> v128 {
        // SAFETY: the caller promises the values; no alignment is needed.
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn read_i16(self, from: *const i16) -> v128 {
        // SAFETY: the caller promises the values; no alignment is needed.
        unsafe { f32x4_convert_i32x4(i32x4_load_extend_i16x4(from)) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: v128, to: *mut f32) {
        // SAFETY: the caller promises the place; no alignment is needed.
        unsafe { v128_store(to.cast(), vector) }
    }

    #[inline(always)]
    fn add(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    fn sub(self, a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }

    #[inline(always)]
    fn mul(self, a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: v128, b: v128) -> v128 {
        // One instruction on x86, unlike `f32x4_max` with its rules for NaN and -0.
        f32x4_pmax(a, b)
    }

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }
}
