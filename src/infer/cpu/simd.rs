//! Vectors of whatever processor this is: one trait, one home for the choice at run time.
//!
//! Loops are written once, generic over [`Isa`], as a [`Task`]; [`Kernels::run`] compiles them once for each instruction
//! set. Everything a task calls must be `#[inline(always)]`, or it is compiled without the instruction set.
#![allow(
    unsafe_code,
    reason = "vectors are read and written by address, and compiled for instructions that not every processor has"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
mod wasm128;

/// An instruction set. A value of the type proves that this processor has it.
pub trait Isa: Copy {
    /// A vector of [`Isa::LANES`] values.
    type V: Copy;
    /// Values of a vector; divides [`super::pack::BLOCK`] by two or more.
    const LANES: usize;
    /// Most rows of the matrix kernel: two accumulators a row, two weights and a value have to fit the registers.
    const ROWS: usize;

    /// All lanes the same.
    fn splat(self, value: f32) -> Self::V;
    /// # Safety
    /// [`Isa::LANES`] values from `from` on can be read.
    unsafe fn read(self, from: *const f32) -> Self::V;
    /// # Safety
    /// [`Isa::LANES`] values from `from` on can be read.
    unsafe fn read_i16(self, from: *const i16) -> Self::V;
    /// # Safety
    /// [`Isa::LANES`] values from `to` on can be written.
    unsafe fn write(self, vector: Self::V, to: *mut f32);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c, rounded once where the processor can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger one, lane by lane.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Runs a task compiled for this instruction set.
    fn run<T: Task>(self, task: T) -> T::Output;

    /// The first lanes of a slice.
    ///
    /// # Panics
    /// If the slice is shorter than a vector.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        let from = &from[..Self::LANES];
        // SAFETY: the slice was just cut to this length.
        unsafe { self.read(from.as_ptr()) }
    }

    /// Writes the first lanes of a slice.
    ///
    /// # Panics
    /// If the slice is shorter than a vector.
    #[inline(always)]
    fn store(self, vector: Self::V, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: the slice was just cut to this length.
        unsafe { self.write(vector, to.as_mut_ptr()) }
    }
}

/// Loops to be compiled for each instruction set.
pub trait Task {
    /// What they give.
    type Output;
    /// Runs them; implementations are `#[inline(always)]`.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// The kernels of one instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Scalar(scalar::Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
    Wasm128(wasm128::Wasm128),
}

/// Runs `$body` with `$isa` bound to the instruction set of `$kernels`.
macro_rules! with_isa {
    ($kernels:expr, $isa:ident => $body:expr) => {
        match $kernels.0 {
            Set::Scalar($isa) => $body,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2($isa) => $body,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512($isa) => $body,
            #[cfg(target_arch = "aarch64")]
            Set::Neon($isa) => $body,
            #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
            Set::Wasm128($isa) => $body,
        }
    };
}

impl Kernels {
    /// All that this processor can run, the slowest first: for tests, which force each in turn.
    pub fn all() -> Vec<Kernels> {
        #[allow(unused_mut, reason = "some processors have nothing more")]
        let mut all = vec![Set::Scalar(scalar::Scalar)];
        #[cfg(target_arch = "x86_64")]
        all.extend(avx2::Avx2::detect().map(Set::Avx2));
        #[cfg(target_arch = "x86_64")]
        all.extend(avx512::Avx512::detect().map(Set::Avx512));
        #[cfg(target_arch = "aarch64")]
        all.extend(neon::Neon::detect().map(Set::Neon));
        #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
        all.push(Set::Wasm128(wasm128::Wasm128));
        all.into_iter().map(Kernels).collect()
    }

    /// The fastest that this processor can run.
    pub fn best() -> Kernels {
        *Kernels::all().last().expect("every processor runs the scalar kernels")
    }

    /// What the instruction set is called.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            #[cfg(all(target_family = "wasm", target_feature = "simd128"))]
            Set::Wasm128(_) => "wasm128",
        }
    }

    /// Output channels that the matrix kernel computes at a time: two vectors.
    pub fn panel(self) -> usize {
        with_isa!(self, isa => panel_of(isa))
    }

    /// Runs a task with this instruction set.
    pub fn run<T: Task>(self, task: T) -> T::Output {
        with_isa!(self, isa => isa.run(task))
    }
}

fn panel_of<I: Isa>(_: I) -> usize {
    2 * I::LANES
}
