//! The engine's parts under criterion, each instruction set of this processor in turn: `./build.sh bench kernels`.
//! Comparisons with other engines are `./build.sh bench`.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use grnet::infer::architecture::{GuideMode, GuidedFilterConfig};
use grnet::infer::cpu::{self, Kernels};
use grnet::infer::{Units, reference};
use grnet::model::ModelFile;
use grnet::picture::face::{FaceFinder, Finder};
use grnet::picture::{Limits, decode};

const PHOTO: &[u8] = include_bytes!("../pictures/astronaut.jpg");

fn grey(n: usize, side: usize) -> Units {
    Units {
        n,
        height: side,
        width: side,
        values: (0..n * 3 * side * side).map(|at| (at % 251) as f32 / 250.0).collect(),
    }
}

fn network(criterion: &mut Criterion) {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/weights/grnet.safetensors")).expect("weights/");
    let network = ModelFile::parse(&bytes).and_then(|file| file.network()).expect("the shipped model");
    let mut group = criterion.benchmark_group("network at 160 px");
    group.sample_size(10);
    for kernels in Kernels::all() {
        let engine = cpu::Engine::with_kernels(network.clone(), kernels);
        for n in [1, 8] {
            let crops = grey(n, 160);
            group.bench_function(BenchmarkId::new(kernels.name(), n), |bencher| bencher.iter(|| engine.run(&crops)));
        }
    }
}

fn guided(criterion: &mut Criterion) {
    let config = |radius_px| GuidedFilterConfig { radius_px, eps: 1e-2, mode: GuideMode::PerChannel };
    let picture = grey(1, 224);
    let mut group = criterion.benchmark_group("guided residual of 224 px");
    for radius in [2, 8, 32] {
        for kernels in Kernels::all() {
            group.bench_function(BenchmarkId::new(kernels.name(), radius), |bencher| {
                bencher.iter(|| cpu::guided_residual_with(kernels, &config(radius), &picture));
            });
        }
    }
    let unit: Vec<f64> = picture.values.iter().map(|value| f64::from(*value)).collect();
    group.sample_size(10);
    group.bench_function("specification in f64", |bencher| {
        bencher.iter(|| reference::filter(&unit, 224, 224, &config(2)));
    });
}

fn photo(criterion: &mut Criterion) {
    let limits = Limits::default();
    criterion.bench_function("decode a JPEG of 512 px", |bencher| {
        bencher.iter(|| decode(PHOTO, &limits).expect("a photo"));
    });
    let pixels = decode(PHOTO, &limits).expect("a photo").pixels;
    let mut finder = Finder::new().expect("the built-in face finder");
    criterion.bench_function("find faces in 512 px", |bencher| bencher.iter(|| finder.find(&pixels)));
}

criterion_group!(benches, network, guided, photo);
criterion_main!(benches);
