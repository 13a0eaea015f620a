//! Any bytes as the face finder's weights; weights that are accepted find something or nothing, in places that are numbers.
#![no_main]

use grnet::picture::Rgb8;
use grnet::picture::face::{FaceFinder, Finder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut finder) = Finder::with_weights(bytes) else { return };
    let data = (0..64 * 64 * 3_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let photo = Rgb8::new(64, 64, data).expect("a picture");
    for face in finder.find(&photo) {
        let _ = face.upright_crop(&photo, 1.3);
    }
});
