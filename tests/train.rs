//! Training end to end on tiny synthetic crops: it repeats, it resumes bit for bit, it refuses what cannot be trained on.
#![cfg(feature = "train")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Tensor, TensorData};
use burn_autodiff::Autodiff;
use grnet::ErrorKind;
use grnet::model::{ModelFile, Precision};
use grnet::train::backend::Cpu;
use grnet::train::config::{LearnConfig, Task, TrainConfig};
use grnet::train::data::layout::{self, Layout};
use grnet::train::data::pack::Pack;
use grnet::train::data::prepare::{PrepareConfig, prepare};
use grnet::train::formats::export::{convert, finish_model, mixed};
use grnet::train::learn::bench::{self, Bench, Setting};
use grnet::train::learn::optim::Adam;
use grnet::train::learn::run::{Ending, Event, Inputs, RunFolder, train};
use grnet::train::learn::start::Start;
use grnet::train::looks::degrade::encode_jpeg;
use grnet::train::nn::parameters::read_module;
use grnet::train::nn::recipe::{Scheme, started};
use grnet::train::nn::resnet::ResNet18;
use grnet::train::reconstruct::{self, Alignment, Length, Maker, Plan, Rising, Taef2, reconstruct};

/// A fresh folder of a test.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("train").join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A pack of coloured textures; fakes carry a checkerboard. `classes` chooses the labels that are there.
fn make_pack(folder: &Path, classes: &[usize]) -> PathBuf {
    let mut table = String::from("path,label,source,generator,group,split,crop\n");
    for index in 0..16usize {
        let fake = index % 2;
        if !classes.contains(&fake) {
            continue;
        }
        let pixel = |i: usize| {
            let (row, column, channel) = (i / 3 / 80, i / 3 % 80, i % 3);
            let wave = ((row * (index + 3) + 7 * column * (channel + 1)) as f32 * 0.05).sin();
            let checker = if fake == 1 && (row + column).is_multiple_of(2) { 20.0 } else { 0.0 };
            (128.0 + 80.0 * wave + checker) as u8
        };
        let picture = grnet::picture::Rgb8::new(80, 80, (0..80 * 80 * 3).map(pixel).collect()).unwrap();
        std::fs::write(folder.join(format!("{index}.jpg")), encode_jpeg(&picture, 95, true).unwrap()).unwrap();
        let split = if index < 12 { "train" } else { "val" };
        let generator = ["", "gan", "", "swap"][index % 4];
        table += &format!("{index}.jpg,{fake},s{fake},{generator},g{index},{split},whole\n");
    }
    std::fs::write(folder.join("table.csv"), table).unwrap();
    let pack = folder.join("pack");
    let data = layout::read(&folder.join("table.csv"), Layout::Csv).unwrap();
    let config = PrepareConfig { keep_duplicates: true, ..PrepareConfig::default() };
    prepare(&data, &pack, &config, &AtomicBool::new(false), |_, _| {}).unwrap();
    pack
}

fn config() -> TrainConfig {
    TrainConfig::parse(
        "steps = 4\nbatch = 4\n[model]\ninput_px = 64\n[learn]\nwarm_up_steps = 2\nepoch_steps = 2\n\
         [sampling]\nself_blended = 0.3\nup_sampled = 0.3\n[validate]\nevery_steps = 2\nper_source = 2\ntiers = [\"raw\", \"hard\"]\n",
    )
    .unwrap()
}

fn inputs(pack: &Path, out: PathBuf, resume: bool) -> Inputs {
    Inputs { pack: pack.into(), folder: RunFolder(out), start: None, resume, loader_threads: 1, commit: String::new() }
}

/// Trains on the CPU; raises the stop flag at the first measurement when asked to.
fn go(config: &TrainConfig, inputs: &Inputs, stop_early: bool) -> grnet::Result<(Ending, usize)> {
    let stop = AtomicBool::new(false);
    let mut measured = 0;
    let ending = train::<Autodiff<Cpu>>(config, inputs, &Default::default(), &stop, &mut |event| {
        if let Event::Validation { .. } = event {
            measured += 1;
            stop.store(stop_early, Ordering::Relaxed);
        }
    })?;
    Ok((ending, measured))
}

#[test]
fn a_stopped_and_resumed_run_ends_bit_for_bit_like_a_straight_one() {
    let folder = folder("resume");
    let pack = make_pack(&folder, &[0, 1]);
    let straight = inputs(&pack, folder.join("straight"), false);
    assert_eq!(go(&config(), &straight, false).unwrap(), (Ending::Finished, 2));
    let first = inputs(&pack, folder.join("parts"), false);
    assert_eq!(go(&config(), &first, true).unwrap().0, Ending::Stopped);
    // A run must be asked to go on: otherwise it would be overwritten.
    assert_eq!(go(&config(), &first, false).unwrap_err().kind(), ErrorKind::BadUsage);
    let second = inputs(&pack, folder.join("parts"), true);
    assert_eq!(go(&config(), &second, false).unwrap().0, Ending::Finished);
    let read = |run: &Inputs| std::fs::read(run.folder.last()).unwrap();
    let bytes = read(&straight);
    assert!(bytes == read(&second), "the resumed run differs");
    // Negative control: another seed gives another model.
    let other = inputs(&pack, folder.join("other"), false);
    go(&TrainConfig { seed: 2, steps: 2, ..config() }, &other, false).unwrap();
    assert!(bytes != read(&other), "the seed decides nothing");

    let metrics = std::fs::read_to_string(straight.folder.metrics()).unwrap();
    assert_eq!(metrics.lines().filter(|line| line.contains("\"validation\"")).count(), 2, "{metrics}");
    assert!(std::fs::read_to_string(straight.folder.curves()).unwrap().contains("validation AUC"));
    assert_eq!(TrainConfig::parse(&std::fs::read_to_string(straight.folder.config()).unwrap()).unwrap(), config());

    exports_keep_the_model(&bytes);
    a_model_can_be_the_start_of_another_run(&bytes, &pack, &folder);
}

/// As a scheduler stops what takes too long.
#[cfg(unix)]
#[test]
fn a_terminated_run_keeps_its_checkpoint() {
    let folder = folder("terminated");
    let pack = make_pack(&folder, &[0, 1]);
    std::fs::write(folder.join("run.toml"), TrainConfig { steps: 100_000, ..config() }.to_toml().unwrap()).unwrap();
    let out = folder.join("run");
    let mut run = Command::new(env!("CARGO_BIN_EXE_grnet"))
        .args(["train", "--device", "cpu", "--config"])
        .args([&folder.join("run.toml"), Path::new("--data"), &pack, Path::new("--out"), &out])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("from step 0")), "it begins");
    assert!(Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap().success());
    let told: Vec<String> = lines.collect();
    assert!(run.wait().unwrap().success(), "{told:?}");
    assert!(told.iter().any(|line| line.contains("go on with --resume")), "{told:?}");
    assert!(out.join("checkpoint.safetensors").exists());
}

/// A run that hardly learns ends where the model was, stream weights and gain included; the trunks alone would not.
fn a_model_can_be_the_start_of_another_run(model: &[u8], pack: &Path, folder: &Path) {
    let still = LearnConfig { rate: 1e-12, epoch_steps: 100, ..config().learn };
    let config = TrainConfig { seed: 9, steps: 1, learn: still, ..config() };
    let start = Some(Start::parse(model).unwrap());
    let run = Inputs { start, ..inputs(pack, folder.join("from a model"), false) };
    go(&config, &run, false).unwrap();
    let read = |bytes: &[u8]| {
        let file = ModelFile::parse(bytes).unwrap();
        let mut weights = Vec::new();
        read_module(&file.module::<Cpu>(&Default::default()).unwrap(), &mut |name, _, values| {
            if !name.contains("running_") {
                weights.extend(values);
            }
        });
        (file.meta.network, weights)
    };
    let ((network, expected), (found_network, found)) = (read(model), read(&std::fs::read(run.folder.last()).unwrap()));
    assert_eq!(found_network, network);
    assert_eq!(found.len(), expected.len());
    assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6), "weights differ");
}

#[test]
fn averaged_weights_are_kept_with_statistics_of_their_own() {
    let folder = folder("settle");
    let pack = make_pack(&folder, &[0, 1]);
    // A run that learns nothing: weights stay where they are, so that only the settling moves the statistics.
    let kept = |settle_steps: u64| {
        let learn = LearnConfig {
            rate: 1e-12,
            freeze_norm: false,
            average: 0.9,
            epoch_steps: 100,
            settle_steps,
            ..config().learn
        };
        let run = inputs(&pack, folder.join(settle_steps.to_string()), false);
        go(&TrainConfig { steps: 1, learn, ..config() }, &run, false).unwrap();
        let file = ModelFile::parse(&std::fs::read(run.folder.last()).unwrap()).unwrap();
        let (mut weights, mut statistics) = (Vec::new(), Vec::new());
        read_module(&file.module::<Cpu>(&Default::default()).unwrap(), &mut |name, _, values| {
            let into = if name.contains("running_") { &mut statistics } else { &mut weights };
            into.extend(values);
        });
        (weights, statistics)
    };
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt();
    let [(weights, unsettled), (same, early), (_, late)] = [0, 10, 20].map(kept);
    assert!(weights == same, "settling moved a weight");
    let (first, second) = (apart(&unsettled, &early), apart(&early, &late));
    // A tenth of the way a batch: 65 % after ten, 88 % after twenty.
    assert!(first > 1.0 && second < 0.6 * first, "moved by {first}, then by {second}");
}

/// Gradients of a trunk's parameters, by name.
fn gradients(kind: DType) -> BTreeMap<String, Vec<f32>> {
    type B = Autodiff<Cpu>;
    let device = Default::default();
    let mut trunk = started(ResNet18::<B>::new(&device), Scheme::He, 5).unwrap();
    trunk.set_frozen_norm(true);
    let wave = |shape: [usize; 4], step: f32| {
        let values = (0..shape.iter().product()).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
        Tensor::<B, 4>::from_data(TensorData::new(values, shape), &device)
    };
    let map = trunk.forward_in(kind, wave([1, 3, 32, 32], 0.13));
    assert_eq!(map.dtype(), DType::F32);
    let gradients = map.mul(wave([1, 512, 1, 1], 1.7)).sum().backward();
    let mut adam = Adam::default();
    let learn = LearnConfig { clip_norm: 0.0, weight_decay: 0.0, ..LearnConfig::default() };
    adam.step::<B, _>(trunk, &gradients, 1e-3, &learn);
    adam.first.iter().map(|(name, moment)| (name.clone(), moment.to_data().into_vec().unwrap())).collect()
}

#[test]
fn trunks_in_bf16_learn_nearly_what_they_learn_in_f32() {
    let (exact, short) = (gradients(DType::F32), gradients(DType::BF16));
    assert!(exact.len() > 40 && exact.keys().eq(short.keys()));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    let mut lowest = (f64::INFINITY, "");
    for (name, expected) in exact.iter().filter(|(_, values)| values.len() > 64) {
        let found = &short[name];
        let cosine = dot(expected, found) / (dot(expected, expected) * dot(found, found)).sqrt().max(1e-30);
        if cosine < lowest.0 {
            lowest = (cosine, name);
        }
    }
    println!("lowest cosine {lowest:?}");
    // Eight bits of mantissa: alike, but not the same; f32 twice would be 1.
    assert!(lowest.0 > 0.95 && lowest.0 < 1.0 - 1e-7, "{lowest:?}");
}

#[test]
fn generators_can_be_told_apart() {
    let folder = folder("generators");
    let run = inputs(&make_pack(&folder, &[0, 1]), folder.join("run"), false);
    let config = TrainConfig { task: Task::Generator, steps: 2, ..config() };
    assert_eq!(go(&config, &run, false).unwrap().0, Ending::Finished);
    let model = ModelFile::parse(&std::fs::read(run.folder.last()).unwrap()).unwrap();
    assert_eq!(model.meta.class_names, ["unmanipulated", "gan", "swap", "self_blended", "up_sampled"]);
    assert_eq!(model.meta.known_logits.len(), 5);
}

/// Every precision loads, carries its own known answers, and stays near f32; a changed weight does not.
fn exports_keep_the_model(f32_model: &[u8]) {
    let full = ModelFile::parse(f32_model).unwrap();
    assert_eq!((full.meta.input_px, full.meta.known_logits.len()), (64, 2));
    assert_eq!(full.meta.training["steps"], "4");
    for (precision, tolerance) in [(Precision::F32, 0.0), (Precision::F16, 0.01), (Precision::Int8, 0.3)] {
        let bytes = convert(f32_model, precision, |_| {}).unwrap();
        let logits = ModelFile::parse(&bytes).unwrap().meta.known_logits;
        for (found, expected) in logits.iter().zip(&full.meta.known_logits) {
            assert!((found - expected).abs() <= tolerance, "{precision:?}: {found} for {expected}");
        }
    }
    let device = Default::default();
    let mut network = full.module::<Cpu>(&device).unwrap();
    network.fc = network.fc.clone();
    network.fc.bias = network.fc.bias.take().map(|bias| bias.map(|values| values.add_scalar(1.0)));
    let changed = ModelFile::parse(&finish_model(&network, &full.meta, Precision::F32).unwrap()).unwrap();
    assert!((changed.meta.known_logits[0] - full.meta.known_logits[0] - 1.0).abs() < 1e-4);

    // A mean lies between, and everything else is as in both.
    let other = finish_model(&network, &full.meta, Precision::F32).unwrap();
    for share in [0.0f32, 0.25, 1.0] {
        let mean = ModelFile::parse(&mixed(f32_model, &other, f64::from(share)).unwrap()).unwrap();
        let off = mean.meta.known_logits[0] - full.meta.known_logits[0];
        assert!((off - share).abs() < 1e-4, "{off} for {share}");
        assert_eq!(mean.meta.name, full.meta.name);
    }
    assert_eq!(mixed(f32_model, &other, 1.5).unwrap_err().kind(), ErrorKind::BadUsage);
    assert_eq!(mixed(f32_model, b"no model", 0.5).unwrap_err().kind(), ErrorKind::BadWeights);
}

#[test]
fn one_class_alone_is_refused() {
    for class in [0, 1] {
        let folder = folder(&format!("class{class}"));
        let pack = make_pack(&folder, &[class]);
        let error = go(&config(), &inputs(&pack, folder.join("run"), false), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadData);
        assert!(error.to_string().contains("found none"), "{error}");
    }
}

#[test]
fn a_missing_pack_and_a_missing_checkpoint_are_named() {
    let folder = folder("missing");
    let error = go(&config(), &inputs(&folder.join("nowhere"), folder.join("run"), false), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("nowhere"), "{error}");
    let pack = make_pack(&folder, &[0, 1]);
    let error = go(&config(), &inputs(&pack, folder.join("run"), true), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("checkpoint"), "{error}");
}

#[test]
fn a_bench_runs_what_is_missing_and_measures_on_what_was_left_out() {
    let folder = folder("bench");
    let pack = make_pack(&folder, &[0, 1]);
    let file =
        "config = \"recipe.toml\"\nseeds = [1, 2]\nleave_out = [[\"swap\"]]\n[variants.still.learn]\nrate = 1e-9\n";
    let recipe = TrainConfig { steps: 1, ..config() }.to_toml().unwrap();
    let runs = Bench::parse(file).unwrap().runs(&recipe).unwrap();
    let out = folder.join("out");
    let setting = Setting { pack: &pack, out: &out, start: None, loader_threads: 1, commit: "", per_source: 10 };
    let go = |told: &mut Vec<String>| {
        let mut tell = |line: &str| told.push(line.to_string());
        let stop = AtomicBool::new(false);
        bench::run::<Autodiff<Cpu>>(&runs, &setting, &Default::default(), &stop, &mut |_| {}, &mut tell)
    };
    let mut told = Vec::new();
    let reached = go(&mut told).unwrap();
    assert_eq!((reached.len(), told.len()), (4, 8), "{told:?}");
    assert!(told[0].contains("run 1 of 4: recipe without swap, seed 1"), "{told:?}");
    assert!(
        reached.iter().all(|r| r.auc.keys().eq(["hard", "raw"]) && r.auc.values().all(|a| (0.0..=1.0).contains(a)))
    );
    // What was left out is in no batch, and what is there already is not run again.
    assert!(out.join("still/swap/2/last.safetensors").exists());
    told.clear();
    assert_eq!(go(&mut told).unwrap(), reached);
    assert_eq!(told, [""; 0]);
    assert!(bench::table(&reached).contains("| still |"));
}

fn plan(makers: &[Maker]) -> Plan {
    let length = Length { minutes: 1e6, steps: 2 };
    let alignment = Alignment { compress: 1.0, ..Alignment::NONE };
    Plan { makers: makers.to_vec(), sources: vec![], per_source: 4, partial: 0.5, alignment, length, seed: 1 }
}

/// Rebuilds on the CPU; stops at the given event.
fn rebuild(pack: &Path, out: &Path, plan: &Plan, stop_at: usize) -> grnet::Result<()> {
    let mut events = 0;
    let mut tell = |_: reconstruct::Event| {
        events += 1;
        events != stop_at
    };
    reconstruct::<Autodiff<Cpu>>(pack, out, plan, None, &mut tell, &Default::default())
}

#[test]
fn reconstructions_join_the_pack_beside_their_originals() {
    let folder = folder("rebuilt");
    let pack = make_pack(&folder, &[0, 1]);
    let out = folder.join("more");
    let makers = [Maker::Own(Rising::Nearest), Maker::Own(Rising::Shuffle)];
    rebuild(&pack, &out, &plan(&makers), 0).unwrap();
    let (before, after) = (Pack::open(&pack).unwrap(), Pack::open(&out).unwrap());
    let (kept, made) = after.entries().split_at(before.entries().len());
    assert_eq!(kept, before.entries());
    for entry in kept {
        assert_eq!(after.crop(entry).unwrap().data, before.crop(entry).unwrap().data);
    }
    assert_eq!(made.len(), 4, "four of six real training pictures");
    for entry in made {
        let (maker, path) = entry.path.split_once('/').unwrap();
        let original = kept.iter().find(|kept| kept.path == path).unwrap();
        assert!(
            makers.iter().any(|known| known.source() == maker && entry.source == maker && entry.generator == maker)
        );
        assert_eq!((original.label, entry.label, entry.split), (0, 1, original.split));
        assert_eq!((&entry.group, entry.side_px), (&original.group, original.side_px));
        assert_eq!(original.split, grnet::train::data::table::Split::Train);
        // Two steps teach no painting, but it is not the original.
        let pair = [entry, original].map(|entry| after.crop(entry).unwrap().data);
        let off = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b));
        let mean = pair[0].iter().zip(&pair[1]).map(off).sum::<f64>() / pair[0].len() as f64;
        assert!(mean > 0.3, "{path}: {mean}");
    }
    // A training run takes the new pack as any other.
    let (ending, _) = go(&config(), &inputs(&out, folder.join("run"), false), false).unwrap();
    assert_eq!(ending, Ending::Finished);

    let again = rebuild(&pack, &out, &plan(&makers), 0).unwrap_err();
    assert!(again.kind() == ErrorKind::BadUsage && again.to_string().contains("expected a new folder"), "{again}");
}

#[test]
fn a_stopped_reconstruction_leaves_no_pack_and_bad_plans_are_named() {
    let folder = folder("rebuilt-stopped");
    let pack = make_pack(&folder, &[0, 1]);
    let own = [Maker::Own(Rising::Transposed)];
    // Two steps of learning are the first two events.
    for stop_at in [1, 4] {
        let out = folder.join(format!("stopped-{stop_at}"));
        let error = rebuild(&pack, &out, &plan(&own), stop_at).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(Pack::open(&out).unwrap_err().kind(), ErrorKind::Io);
        assert!(!out.join("crops.rgb8.part").exists());
    }
    let error = |plan: Plan| rebuild(&pack, &folder.join("no"), &plan, 0).unwrap_err();
    let unknown = error(Plan { sources: vec!["nowhere".into()], ..plan(&own) });
    assert!(unknown.kind() == ErrorKind::BadData && unknown.to_string().contains("nowhere"), "{unknown}");
    let fakes = error(Plan { sources: vec!["s1".into()], ..plan(&own) });
    assert_eq!(fakes.kind(), ErrorKind::BadData);
    assert_eq!(error(plan(&[Maker::Taef2])).kind(), ErrorKind::BadUsage);
    assert_eq!(error(plan(&[])).kind(), ErrorKind::BadUsage);
    for partial in [-0.1, 1.1, f32::NAN] {
        assert_eq!(error(Plan { partial, ..plan(&own) }).kind(), ErrorKind::BadUsage);
        let alignment = Alignment { pixels: partial, ..Alignment::NONE };
        assert_eq!(error(Plan { alignment, ..plan(&own) }).kind(), ErrorKind::BadUsage);
    }
    for length in [Length { minutes: f64::NAN, steps: 1 }, Length { minutes: 1.0, steps: 0 }] {
        assert_eq!(error(Plan { length, ..plan(&own) }).kind(), ErrorKind::BadUsage);
    }
    assert!(Maker::named("vae").unwrap_err().to_string().contains("nearest"));
}

#[test]
#[ignore = "needs $GRNET_SHARED: faces and TAEF2's weights"]
fn taef2_paints_faces_again_as_well_as_its_origin_does() {
    let shared = std::env::var_os("GRNET_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let weights = |part: &str| std::fs::read(shared.join(format!("weights/taef2_{part}.safetensors"))).unwrap();
    let network = Taef2::<Cpu>::parse(&weights("encoder"), &weights("decoder"), &Default::default()).unwrap();
    let mut pictures: Vec<PathBuf> =
        std::fs::read_dir(shared.join("data/faces/celebahq")).unwrap().map(|file| file.unwrap().path()).collect();
    pictures.sort();
    for path in pictures.iter().take(3) {
        let bytes = std::fs::read(path).unwrap();
        let photo = grnet::picture::decode(&bytes, &Default::default()).unwrap().pixels;
        let face = grnet::picture::crop::resize(&photo, 128, 128).unwrap();
        let unit = grnet::train::nn::input::batch_unit::<Cpu>(&[face], &Default::default());
        let off = (network.forward(unit.clone()) - unit).powi_scalar(2).mean().into_scalar();
        let psnr = -10.0 * off.log10();
        // The README of the weights measured 29.7 to 36.8 dB (10th to 90th percentile) on larger faces; a layer in the
        // wrong place paints no face at all.
        assert!(psnr > 26.0, "{}: {psnr} dB", path.display());
    }
}
