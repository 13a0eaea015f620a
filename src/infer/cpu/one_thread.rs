//! The twin of `threads.rs` where there are no threads: in wasm, and without the `cli` feature.

/// Runs both, one after the other.
pub fn join(a: impl FnOnce(), b: impl FnOnce()) {
    a();
    b();
}

/// Runs `with(index, chunk)` for every chunk of `length` values.
pub fn chunks(values: &mut [f32], length: usize, with: impl Fn(usize, &mut [f32])) {
    values.chunks_mut(length).enumerate().for_each(|(index, chunk)| with(index, chunk));
}

/// Runs `with(index, chunk, scratch)` for every chunk of `length` values, all with the same `scratch_length` values.
///
/// # Panics
/// If there is less scratch than a chunk needs.
pub fn chunks_with_scratch(
    (values, length): (&mut [f32], usize),
    (scratch, scratch_length): (&mut [f32], usize),
    with: impl Fn(usize, &mut [f32], &mut [f32]),
) {
    let scratch = &mut scratch[..scratch_length];
    values.chunks_mut(length).enumerate().for_each(|(index, chunk)| with(index, chunk, scratch));
}
