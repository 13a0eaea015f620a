//! Which instructions the two inner loops are compiled for, and the choice between them at run time.
#![allow(unsafe_code, reason = "functions compiled for instructions that not every processor has")]

use super::{Mix, PIXELS, Unit};

/// [`PIXELS`] where there are 32 registers.
#[cfg(target_arch = "x86_64")]
const MORE_PIXELS: usize = 8;

/// Instructions that this processor has. The same operations in the same order whichever they are: only how many of them
/// run at once differs, and never the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vectors(Set);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Set {
    /// What every processor of the target has.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Vectors {
    /// All that this processor has, the fastest first.
    pub(super) fn all() -> Vec<Vectors> {
        #[allow(unused_mut, reason = "some processors have nothing more")]
        let mut all = vec![Vectors(Set::Plain)];
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx2") {
                all.insert(0, Vectors(Set::Avx2));
            }
            if std::is_x86_feature_detected!("avx512f") {
                all.insert(0, Vectors(Set::Avx512));
            }
        }
        all
    }

    pub(super) fn best() -> Vectors {
        Vectors::all()[0]
    }

    pub(super) fn mix(self, mix: &Mix, input: &[f32], out: &mut [f32]) {
        match self.0 {
            Set::Plain => mix.row::<PIXELS>(input, out),
            // SAFETY: `all` alone makes these values, and only where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { mix_avx2(mix, input, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { mix_avx512(mix, input, out) },
        }
    }

    pub(super) fn depth(self, unit: &Unit, rows: &[Vec<f32>; 3], out: &mut [f32]) {
        match self.0 {
            Set::Plain => unit.depth_row(rows, out),
            // SAFETY: as in `mix`.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { depth_avx2(unit, rows, out) },
            // SAFETY: as in `mix`.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { depth_avx512(unit, rows, out) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn mix_avx2(mix: &Mix, input: &[f32], out: &mut [f32]) {
    mix.row::<PIXELS>(input, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn mix_avx512(mix: &Mix, input: &[f32], out: &mut [f32]) {
    mix.row::<MORE_PIXELS>(input, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn depth_avx2(unit: &Unit, rows: &[Vec<f32>; 3], out: &mut [f32]) {
    unit.depth_row(rows, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn depth_avx512(unit: &Unit, rows: &[Vec<f32>; 3], out: &mut [f32]) {
    unit.depth_row(rows, out);
}
