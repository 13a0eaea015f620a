//! Any text as a kept report or as a manifest: what was read can be written, read again, and shown without a script.
#![no_main]

use grnet::model::Manifest;
use grnet::report::{Timings, evidence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(manifest) = serde_json::from_str::<Manifest>(text) {
        let _ = manifest.check(text.as_bytes());
    }
    let Ok(mut report) = evidence::parse(text) else { return };
    // Milliseconds come back right to one in 10^15; scores, which have fewer digits, exactly.
    report.timings_ms = Timings::default();
    let json = evidence::json(&report).expect("what was read can be written");
    let page = evidence::html(&report, &[], Some(&report.file.name)).expect("a page without pictures");
    assert!(!page.contains("<script") && !page.contains("<img"), "markup from a report's text");
    for kept in [json.as_str(), &page] {
        // As JSON: numbers that are none would differ from themselves.
        let again = evidence::parse(kept).expect("what was written can be read");
        assert_eq!(evidence::json(&again).expect("as before"), json);
    }
});
