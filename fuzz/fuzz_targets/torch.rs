//! Any bytes as a file of `torch.save`: tensors whose numbers fill their shapes, in memory that the file itself bounds.
#![no_main]

use grnet::train::formats::torch::read_state_dict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = read_state_dict(bytes) else { return };
    for (name, shape) in tensors.shapes() {
        match tensors.get(name, shape) {
            Ok(values) => assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}"),
            Err(error) => assert!(error.to_string().contains("finite"), "{error}"),
        }
    }
});
