//! AVX2 with FMA: 8 lanes, 16 registers.

use std::arch::x86_64::*;

use super::{Isa, Task};

/// x86-64 with AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// If this processor has it.
    pub fn detect() -> Option<Avx2> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

impl Isa for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the values.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn read_i16(self, from: *const i16) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the values.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: __m256, to: *mut f32) {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the place.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<T: Task>(isa: Avx2, task: T) -> T::Output {
            task.run(isa)
        }
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { compiled(self, task) }
    }
}
