//! Any bytes as a model file: header, metadata, tensors.
#![no_main]

use grnet::ErrorKind;
use grnet::model::{Manifest, ModelFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(Manifest::of("a", bytes).check(bytes).is_ok());
    match ModelFile::parse(bytes).and_then(|file| file.network()) {
        // A whole network has 22 million numbers.
        Ok(_) => assert!(bytes.len() > 20_000_000, "a network out of {} bytes", bytes.len()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::BadWeights, "{}", error.full_message()),
    }
});
