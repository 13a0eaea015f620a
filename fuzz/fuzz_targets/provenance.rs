//! Any bytes as a file that says something about itself: C2PA boxes, XMP, EXIF, text chunks.
#![no_main]

use grnet::picture::provenance;
use grnet_fuzz::with_png_checksums;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = provenance::read(&with_png_checksums(bytes));
    assert!(found.marks.len() <= 24);
    for mark in &found.marks {
        // A cut text ends in an ellipsis.
        for text in [Some(&mark.value), mark.detail.as_ref()].into_iter().flatten() {
            assert!(text.chars().count() <= 161 && !text.chars().any(char::is_control), "{text:?}");
        }
        assert!(!mark.value.is_empty());
    }
});
