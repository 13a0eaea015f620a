//! AVX-512: 16 lanes, 32 registers.

use std::arch::x86_64::*;

use super::{Isa, Task};

/// x86-64 with AVX-512F.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// If this processor has it.
    pub fn detect() -> Option<Avx512> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
            .then_some(Avx512(()))
    }
}

impl Isa for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 12;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the values.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn read_i16(self, from: *const i16) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the values.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: __m512, to: *mut f32) {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the place.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn compiled<T: Task>(isa: Avx512, task: T) -> T::Output {
            task.run(isa)
        }
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { compiled(self, task) }
    }
}
