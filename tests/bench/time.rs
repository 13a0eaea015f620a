//! Times grnet's engine for `./build.sh bench`, which interleaves it with other engines in one run: a command a line on
//! standard input, a line of JSON for each on standard output, `{"ms": [...], ...}` with the wall time of every run.
//!
//! ```text
//! network SIDE BATCH SECONDS      both streams, the guided residual within
//! answers FILE                    logits of the crop in FILE, f32 planes of side 160
//! guided SIDE RADIUS SECONDS      the guided residual of a picture of three channels
//! photo FILE SECONDS              decoding, face finding, cutting out and the network apart
//! ```
//!
//! The kernels are the best of this processor or those that `GRNET_KERNELS` names; threads as `RAYON_NUM_THREADS` says.

use std::io::{BufRead, Write};
use std::time::Instant;

use grnet::detector::{Detector, DeviceChoice, prepare};
use grnet::infer::architecture::{GuideMode, GuidedFilterConfig};
use grnet::infer::cpu::{self, Kernels};
use grnet::infer::{Outputs, Units};
use grnet::model::ModelFile;
use grnet::picture::face::Finder;
use serde_json::{Value, json};

/// Runs that count whatever time they take.
const RUNS_AT_LEAST: usize = 3;

fn main() {
    let model = std::env::args().nth(1).expect("expected the path of a model file");
    let bytes = std::fs::read(&model).expect("expected a model file that can be read");
    let file = || ModelFile::parse(&bytes).expect("expected a model file of grnet");
    let network = file().network().expect("expected the tensors of a network");
    let kernels = kernels();
    let engine = cpu::Engine::with_kernels(network, kernels);
    let detector = pollster::block_on(Detector::of(DeviceChoice::Cpu, file())).expect("expected a working CPU");
    let mut finder = Finder::new().expect("the built-in face finder");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("expected text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<f64>().expect("expected a number");
        let whole = |index: usize| words[index].parse::<usize>().expect("expected a whole number");
        let answer = match words[0] {
            "network" => {
                let crops = noise(whole(2), whole(1));
                json!({ "ms": times(number(3), || drop(engine.run(&crops))), "kernels": kernels.name() })
            }
            "answers" => {
                let bytes = std::fs::read(words[1]).expect("expected a file of f32");
                let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                let outputs = engine.run(&Units { n: 1, height: 160, width: 160, values });
                let Outputs { fused, spatial, residual, .. } = &outputs[0];
                json!({ "fused": fused, "spatial": spatial, "residual": residual })
            }
            "guided" => {
                let picture = noise(1, whole(1));
                let config = GuidedFilterConfig { radius_px: whole(2), eps: 1e-2, mode: GuideMode::PerChannel };
                json!({ "ms": times(number(3), || drop(cpu::guided_residual_with(kernels, &config, &picture))) })
            }
            "photo" => photo(words[1], number(2), &detector, &mut finder),
            other => panic!("expected a command, found {other}"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("expected a reader");
    }
}

fn kernels() -> Kernels {
    let Ok(name) = std::env::var("GRNET_KERNELS") else { return Kernels::best() };
    Kernels::all()
        .into_iter()
        .find(|kernels| kernels.name() == name)
        .expect("expected kernels that this processor runs")
}

/// What repeats the same on every machine.
fn noise(n: usize, side: usize) -> Units {
    let mut state = 4711u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    Units { n, height: side, width: side, values: (0..n * 3 * side * side).map(|_| next()).collect() }
}

/// Milliseconds of each run, for some seconds after one that is not counted.
fn times(seconds: f64, mut run: impl FnMut()) -> Vec<f64> {
    run();
    let (began, mut ms) = (Instant::now(), Vec::new());
    while ms.len() < RUNS_AT_LEAST || began.elapsed().as_secs_f64() < seconds {
        let started = Instant::now();
        run();
        ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    ms
}

fn photo(path: &str, seconds: f64, detector: &Detector, finder: &mut Finder) -> Value {
    let bytes = std::fs::read(path).expect("expected a photo that can be read");
    let mut parts = Vec::new();
    times(seconds, || {
        let prepared = prepare("photo", &bytes, finder, &detector.prepare_config());
        let report = pollster::block_on(detector.judge(&prepared)).expect("a CPU answers");
        let timings = report.timings_ms;
        parts.push([timings.decode_ms, timings.faces_ms, timings.network_ms, timings.total_ms]);
    });
    json!({ "parts": parts[1..], "faces": prepare("photo", &bytes, finder, &detector.prepare_config()).report.faces.len() })
}
