//! The one clock.

/// Milliseconds on a clock that never goes back.
#[cfg(not(target_family = "wasm"))]
pub fn now_ms() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
}

/// Milliseconds on a clock that never goes back.
#[cfg(target_family = "wasm")]
pub fn now_ms() -> f64 {
    use wasm_bindgen::JsCast;
    let scope = js_sys::global().unchecked_into::<web_sys::WorkerGlobalScope>();
    scope.performance().map_or(0.0, |performance| performance.now())
}
