//! NEON: 4 lanes, 32 registers.

use std::arch::aarch64::*;

use super::{Isa, Task};

/// 64-bit ARM with NEON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// If this processor has it.
    pub fn detect() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl Isa for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const ROWS: usize = 12;

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the values.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn read_i16(self, from: *const i16) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the values.
        unsafe { vcvtq_f32_s32(vmovl_s16(vld1_s16(from))) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: float32x4_t, to: *mut f32) {
        // SAFETY: a value of this type exists only where `detect` found the instruction set. The caller promises the place.
        unsafe { vst1q_f32(to, vector) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "neon")]
        fn compiled<T: Task>(isa: Neon, task: T) -> T::Output {
            task.run(isa)
        }
        // SAFETY: a value of this type exists only where `detect` found the instruction set.
        unsafe { compiled(self, task) }
    }
}
