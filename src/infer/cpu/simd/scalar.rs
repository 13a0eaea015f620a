//! The twin of all vectors: single values.

use super::{Isa, Task};

/// No vectors; every processor has that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scalar;

impl Isa for Scalar {
    type V = f32;
    const LANES: usize = 1;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> f32 {
        value
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { *from }
    }

    #[inline(always)]
    unsafe fn read_i16(self, from: *const i16) -> f32 {
        // SAFETY: as promised by the caller.
        unsafe { f32::from(*from) }
    }

    #[inline(always)]
    unsafe fn write(self, vector: f32, to: *mut f32) {
        // SAFETY: as promised by the caller.
        unsafe { *to = vector }
    }

    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }

    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }

    #[inline(always)]
    fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }
}
