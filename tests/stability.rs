//! A score that turns out to need it is looked at again: the same outcome as if that had been asked for at once.

use grnet::detector::{Detector, PrepareConfig, prepare};
use grnet::picture::face::Finder;
use grnet::report::Report;
use pollster::block_on;

#[test]
fn looking_again_finds_what_looking_at_once_does() {
    let model = std::fs::read("weights/grnet.safetensors").expect("the shipped model");
    let detector = Detector::on_cpu(&model).expect("a model");
    let mut finder = Finder::new().expect("the built-in face finder");
    let photos = ["tests/pictures/astronaut.jpg", "www/gallery/forgery-1.jpg", "tests/pictures/coffee.jpg"];
    let mut checked = 0;
    for photo in photos {
        let bytes = std::fs::read(photo).expect("a test picture");
        let mut judged = |stability: bool| {
            let config = PrepareConfig { stability, keep_cuts: !stability, ..detector.prepare_config() };
            let prepared = prepare(photo, &bytes, &mut finder, &config);
            let report = block_on(detector.judge(&prepared)).expect("a report");
            if stability { report } else { block_on(detector.look_again(&prepared, &report)).expect("a second look") }
        };
        let (at_once, again) = (judged(true), judged(false));
        checked += again.faces.iter().filter(|face| face.stability.is_some()).count();
        assert_eq!(timeless(at_once), timeless(again), "{photo}");
    }
    assert!(checked >= 2, "only {checked} faces were looked at again");
}

/// The report without what no two runs share.
fn timeless(mut report: Report) -> Report {
    report.timings_ms = Default::default();
    report
}
