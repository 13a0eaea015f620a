//! Any bytes as a picture file: decoder, orientation, colour profile, limits. What comes out keeps to what it says.
#![no_main]

use grnet::picture::{Limits, decode_damaged};
use libfuzzer_sys::fuzz_target;

/// Small, so that a run tries many files; memory beyond them is a finding (`-malloc_limit_mb`).
const LIMITS: Limits = Limits { max_pixels: 1 << 20, max_bytes: 24 << 20, full_pixels: 1 << 16 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(photo) = decode_damaged(bytes, &LIMITS) else { return };
    let pixels = &photo.pixels;
    assert_eq!(pixels.data.len(), pixels.height * pixels.width * 3);
    assert!(u64::from(photo.height_px) * u64::from(photo.width_px) <= LIMITS.max_pixels);
    assert_eq!(pixels.height, (photo.height_px as usize).div_ceil(photo.shrink));
    assert_eq!(pixels.width, (photo.width_px as usize).div_ceil(photo.shrink));
    assert!(photo.jpeg_quality.is_none_or(|quality| (1..=100).contains(&quality)));
    if let Some(damage) = photo.damage {
        assert!((0.0..=1.0).contains(&damage.present), "{damage:?}");
        let part = damage.part;
        assert!(part.x >= 0.0 && part.y >= 0.0 && part.width >= 0.0 && part.height >= 0.0, "{damage:?}");
        assert!(
            part.x + part.width <= pixels.width as f32 && part.y + part.height <= pixels.height as f32,
            "{damage:?}"
        );
    }
});
