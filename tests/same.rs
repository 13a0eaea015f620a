//! The same answer everywhere: varied photos on every kernel of the processor, forced in turn, and on a GPU. The browsers
//! answer the same files in `tests/js/e2e.mjs`.

mod common;
#[path = "common/varied.rs"]
mod varied;

use common::models::shipped_file;
use grnet::detector::{Detector, Prepared, prepare};
use grnet::infer::{Engine, cpu};
use grnet::picture::face::Finder;
use grnet::report::Report;

/// How many files: 48, or as many as `GRNET_SAME` says.
fn count() -> usize {
    std::env::var("GRNET_SAME").map_or(48, |count| count.parse().expect("GRNET_SAME is a number of files"))
}

/// Largest difference of p_fake; `docs/robustness.md` tells what was seen.
const TOLERANCE: f32 = 1e-3;

fn prepared(detector: &Detector, count: usize) -> Vec<Prepared> {
    let mut finder = Finder::new().expect("the shipped finder");
    let prepare = |(name, bytes): &(String, Vec<u8>)| prepare(name, bytes, &mut finder, &detector.prepare_config());
    varied::files(count).iter().map(prepare).collect()
}

fn reports(detector: &Detector, photos: &[Prepared]) -> Vec<Report> {
    photos.iter().map(|photo| pollster::block_on(detector.judge(photo)).expect("a report")).collect()
}

/// Largest difference of p_fake, infinite where only one of two has one, and the names of the files whose verdicts differ.
fn compared(found: &[Report], expected: &[Report]) -> (f32, Vec<String>) {
    let mut worst = 0f32;
    let mut turned = Vec::new();
    for (found, expected) in found.iter().zip(expected) {
        if (found.band, found.reason) != (expected.band, expected.reason) {
            turned.push(expected.file.name.clone());
        }
        for (found, expected) in found.faces.iter().zip(&expected.faces) {
            worst = worst.max(match (found.p_fake, expected.p_fake) {
                (Some(found), Some(expected)) => (found - expected).abs(),
                (None, None) => 0.0,
                _ => f32::INFINITY,
            });
        }
    }
    (worst, turned)
}

/// Prints the largest difference and holds it against [`TOLERANCE`].
fn check(found: &[Report], expected: &[Report], what: &str) {
    let (worst, turned) = compared(found, expected);
    let judged = expected.iter().filter(|report| report.p_fake.is_some()).count();
    println!("{what}: p_fake differs by at most {worst:.1e} in {judged} judged of {} files", expected.len());
    assert!(worst <= TOLERANCE && turned.is_empty(), "{what}: {worst}, other verdicts: {turned:?}");
}

#[test]
fn every_kernel_of_the_processor_gives_the_same_verdicts_on_varied_files() {
    let on = |kernels| {
        let engine = move |network| Ok(Engine::Cpu(Box::new(cpu::Engine::with_kernels(network, kernels))));
        Detector::on(shipped_file(), engine).expect("a detector")
    };
    let all = cpu::Kernels::all();
    let best = on(cpu::Kernels::best());
    let photos = prepared(&best, count());
    let expected = reports(&best, &photos);
    let judged = expected.iter().filter(|report| report.p_fake.is_some()).count();
    assert!(judged > photos.len() * 7 / 10, "{judged} of {} judged", photos.len());
    let scores: Vec<f32> = expected.iter().filter_map(|report| report.p_fake).collect();
    let spread = scores.iter().copied().fold(0f32, f32::max) - scores.iter().copied().fold(1f32, f32::min);
    assert!(spread > 0.2, "the files differ too little: {spread}");
    for kernels in &all[..all.len() - 1] {
        check(&reports(&on(*kernels), &photos), &expected, kernels.name());
    }
}

/// A comparison that cannot fail proves nothing.
#[test]
fn another_radius_of_the_filter_is_noticed() {
    let detector = Detector::on(shipped_file(), |network| Ok(Engine::cpu(network))).expect("a detector");
    let other = |mut network: grnet::infer::Network| {
        network.mte.radius_px += 1;
        Ok(Engine::cpu(network))
    };
    let changed = Detector::on(shipped_file(), other).expect("a detector");
    let photos = &prepared(&detector, 8);
    assert!(compared(&reports(&changed, photos), &reports(&detector, photos)).0 > TOLERANCE);
}

#[cfg(feature = "wgpu")]
#[test]
#[ignore = "needs a GPU"]
fn gpu_gives_the_same_verdicts_on_varied_files() {
    use grnet::infer::gpu::{self, Device};
    let cpu = Detector::on(shipped_file(), |network| Ok(Engine::cpu(network))).expect("a detector");
    let engine = |network| {
        // A software adapter will do.
        let device = pollster::block_on(Device::open(true))?;
        Ok(Engine::Gpu(Box::new(pollster::block_on(gpu::Engine::new(&network, device))?)))
    };
    let gpu = Detector::on(shipped_file(), engine).expect("a detector");
    // A software adapter takes seconds a face.
    let photos = prepared(&cpu, count() / 6);
    check(&reports(&gpu, &photos), &reports(&cpu, &photos), gpu.backend());
}
