//! Work shared among the threads of rayon's pool. What each piece computes does not depend on who computes it, so results
//! are the same for any number of threads. Its twin for one thread is `one_thread.rs`.

use rayon::prelude::*;

/// Runs both, at the same time if a thread is free.
pub fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    rayon::join(a, b);
}

/// Runs `with(index, chunk)` for every chunk of `length` values.
pub fn chunks(values: &mut [f32], length: usize, with: impl Fn(usize, &mut [f32]) + Send + Sync) {
    if values.len() <= length || rayon::current_num_threads() == 1 {
        values.chunks_mut(length).enumerate().for_each(|(index, chunk)| with(index, chunk));
    } else {
        values.par_chunks_mut(length).enumerate().for_each(|(index, chunk)| with(index, chunk));
    }
}

/// Runs `with(index, chunk, scratch)` for every chunk of `length` values, with `scratch_length` values of scratch each.
///
/// # Panics
/// If there is less scratch than chunks need.
pub fn chunks_with_scratch(
    (values, length): (&mut [f32], usize),
    (scratch, scratch_length): (&mut [f32], usize),
    with: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
) {
    let count = values.len().div_ceil(length);
    if count == 1 || rayon::current_num_threads() == 1 {
        // The same scratch for all: it stays in the cache.
        let scratch = &mut scratch[..scratch_length];
        values.chunks_mut(length).enumerate().for_each(|(index, chunk)| with(index, chunk, scratch));
    } else {
        let scratches = scratch[..count * scratch_length].par_chunks_mut(scratch_length);
        let pairs = values.par_chunks_mut(length).zip(scratches).enumerate();
        pairs.for_each(|(index, (chunk, scratch))| with(index, chunk, scratch));
    }
}
