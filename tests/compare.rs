//! The comparison end to end on tiny synthetic crops: it learns what can be learnt, does nothing twice, resumes bit for bit,
//! and refuses to mix protocols.
#![cfg(feature = "train")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use burn_autodiff::Autodiff;
use grnet::ErrorKind;
use grnet::detector::DeviceChoice;
use grnet::picture::crop::{resize, whole_square};
use grnet::picture::{Limits, decode};
use grnet::report::Reason;
use grnet::train::backend::Cpu;
use grnet::train::compare::examined;
use grnet::train::compare::picture_grid::{self, GUTTER_PX};
use grnet::train::compare::system::{Competitor, Front, Streams, System, class_probabilities};
use grnet::train::compare::{
    Budget, Entrant, Inputs, Kept, Outcome, Protocol, Setting, Task, earlier_outcome, kept_models, page, run, tables,
};
use grnet::train::data::layout::{self, Layout};
use grnet::train::data::prepare::{PrepareConfig, prepare};
use grnet::train::data::table::parse_table;
use grnet::train::looks::degrade::{Tier, encode_jpeg};
use grnet::train::measure::eval::judge;

/// A pack of flat grey pictures with a little texture; fakes of generator `a` are darker, of `b` brighter.
fn make_pack(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut table = String::from("path,label,source,generator,group,split,crop\n");
    for index in 0..36usize {
        let (label, generator, grey) = [(0, "", 130.0), (1, "a", 40.0), (1, "b", 220.0)][index % 3];
        let pixel = |i: usize| (grey + 20.0 * ((i * (index + 3)) as f32 * 0.37).sin()) as u8;
        let picture = grnet::picture::Rgb8::new(72, 72, (0..72 * 72 * 3).map(pixel).collect()).unwrap();
        std::fs::write(folder.join(format!("{index}.jpg")), encode_jpeg(&picture, 95, true).unwrap()).unwrap();
        let split = ["train", "train", "val", "test"][index / 9];
        table += &format!("{index}.jpg,{label},s{},{generator},g{index},{split},whole\n", index % 3);
    }
    std::fs::write(folder.join("table.csv"), table).unwrap();
    let pack = folder.join("pack");
    let data = layout::read(&folder.join("table.csv"), Layout::Csv).unwrap();
    let config = PrepareConfig { keep_duplicates: true, ..PrepareConfig::default() };
    prepare(&data, &pack, &config, &AtomicBool::new(false), |_, _| {}).unwrap();
    folder
}

fn protocol(pictures: u64) -> Protocol {
    let tiers = vec![Tier::Raw, Tier::Jp60, Tier::Me5];
    Protocol {
        side_px: 64,
        budget: Budget::Pictures(pictures),
        seed: 3,
        tiers,
        per_source: 10,
        validation_per_source: 10,
    }
}

/// Trains and measures on the CPU.
fn go(folder: &Path, out: &str, entrant: Entrant, protocol: &Protocol) -> grnet::Result<Outcome> {
    go_until(u64::MAX, folder, out, entrant, protocol)
}

/// The same, stopped after so many steps.
fn go_until(steps: u64, folder: &Path, out: &str, entrant: Entrant, protocol: &Protocol) -> grnet::Result<Outcome> {
    // Dropout draws from the process' one generator: two runs at a time would take each other's numbers.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pack = folder.join("pack");
    let inputs = Inputs::open(&pack, Some(&pack), None, &folder.join(out)).unwrap();
    let (stop, mut done) = (AtomicBool::new(false), 0);
    run::<Autodiff<Cpu>>(entrant, protocol, &inputs, &Default::default(), &stop, &mut |_, _, accuracy| {
        done += u64::from(accuracy.is_none());
        stop.store(done >= steps, Ordering::Relaxed);
    })
}

#[test]
fn a_system_learns_three_classes_and_what_is_complete_is_not_done_again() {
    let folder = make_pack("learns");
    let entrant = Entrant { system: System::Meso4, task: Task::Multi, setting: Setting::Common };
    let protocol = protocol(32 * 120);
    let first = go(&folder, "out", entrant, &protocol).unwrap();
    assert_eq!(first.classes, ["real", "a", "b"]);
    assert!(first.validation_acc > 0.6, "three classes of plain brightness, accuracy {}", first.validation_acc);
    let raw = &first.test["raw"];
    assert_eq!((raw.n_real, raw.n_fake), (3, 6));
    assert_eq!(raw.confusion.iter().flatten().sum::<usize>(), 9);
    let right: usize = (0..3).map(|class| raw.confusion[class][class]).sum();
    assert!((raw.acc - right as f64 / 9.0).abs() < 1e-9);
    assert_eq!(raw.ci95.keys().collect::<Vec<_>>(), ["ap", "brier", "ece", "eer", "tpr_at_fpr1"]);
    let [low, high] = raw.ci95["brier"];
    assert!(low <= raw.brier.unwrap() && raw.brier.unwrap() <= high, "{low} {:?} {high}", raw.brier);
    assert_eq!(raw.auc_by_generator.keys().collect::<Vec<_>>(), ["a", "b"]);
    // What is complete is read, not done again: times would differ. (JSON may lose the last digit of a number.)
    let again = go(&folder, "out", entrant, &protocol).unwrap();
    assert!((again.seconds - first.seconds).abs() < 1e-6);
    assert_eq!(again.test["raw"].confusion, raw.confusion);
    let left = earlier_outcome(entrant, &folder.join("out")).unwrap().expect("the run left its outcome");
    assert_eq!((left.pictures, &left.test["raw"].confusion), (first.pictures, &raw.confusion));
    assert_eq!(earlier_outcome(Entrant { task: Task::Binary, ..entrant }, &folder.join("out")).unwrap(), None);
    let other = Protocol { seed: 4, ..protocol.clone() };
    assert_eq!(go(&folder, "out", entrant, &other).unwrap_err().kind(), ErrorKind::BadUsage);
    let table = tables::table(4, std::slice::from_ref(&first)).unwrap();
    assert!((table.rows[0].ours[0].unwrap() - 100.0 * raw.acc).abs() < 1e-9);
    assert_eq!(table.rows[1].ours[0], None);
    page_shows_what_was_measured(&first, &table);
}

#[test]
fn a_system_that_was_stopped_goes_on_and_ends_bit_for_bit_like_a_straight_run() {
    let folder = make_pack("resumes");
    // Adam and dropout; momentum; stream weights that follow the losses.
    let kinds = [
        (System::Meso4, Setting::Common, 32),
        (System::MislNet, Setting::Authors, 64),
        (System::GrNet(Streams::GRNET), Setting::Common, 32),
    ];
    for (system, setting, batch) in kinds {
        let entrant = Entrant { system, task: Task::Multi, setting };
        assert!(setting == Setting::Common || system.recipe().batch == batch);
        let protocol = protocol(3 * batch as u64);
        let read = |out: &str, file: &str| std::fs::read(entrant.folder(&folder.join(out)).join(file));
        let straight = go(&folder, "straight", entrant, &protocol).unwrap();
        let stopped = go_until(2, &folder, "parts", entrant, &protocol).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Cancelled, "{}", stopped.full_message());
        assert!(read("parts", "checkpoint.safetensors").is_ok() && read("parts", "outcome.json").is_err());
        // Another protocol does not go on from there.
        let other = Protocol { seed: 4, ..protocol.clone() };
        assert_eq!(go(&folder, "parts", entrant, &other).unwrap_err().kind(), ErrorKind::BadUsage);
        let resumed = go(&folder, "parts", entrant, &protocol).unwrap();
        let model = read("straight", "model.safetensors").unwrap();
        assert!(model == read("parts", "model.safetensors").unwrap(), "{}: the resumed run differs", system.name());
        assert_eq!((resumed.pictures, resumed.validation_acc), (straight.pictures, straight.validation_acc));
        assert_eq!((resumed.test, resumed.cross), (straight.test, straight.cross));
        assert!(read("parts", "checkpoint.safetensors").is_err(), "a complete run keeps no checkpoint");
        // Negative control, of the smallest: the seed decides.
        if system == System::Meso4 {
            go(&folder, "other", entrant, &other).unwrap();
            assert!(model != read("other", "model.safetensors").unwrap(), "the seed decides nothing");
        }
    }
}

fn page_shows_what_was_measured(outcome: &Outcome, table: &tables::Table) {
    let raw = &outcome.test["raw"];
    // The corners enclose the area that the ranks give.
    let area: f64 = raw.roc.windows(2).map(|p| (p[1].0 - p[0].0) * (p[0].1 + p[1].1) / 2.0).sum();
    assert!((area - raw.auc.unwrap()).abs() < 1e-9, "{area} {:?}", raw.auc);
    assert_eq!(raw.reliability.iter().map(|bin| bin.count).sum::<usize>(), 9);
    let html = page::page(std::slice::from_ref(table), std::slice::from_ref(outcome), "grnet compare <here>").unwrap();
    assert!(html.contains("grnet compare &lt;here&gt;") && html.contains("3840 pictures"));
    assert!(html.contains("<td>80.76</td>") && html.contains(&format!("<td>{:.2}</td>", 100.0 * raw.acc)));
    // Bars for each of four columns; ROC and reliability for the three that are degradations.
    assert_eq!(html.matches("<svg").count(), 4 + 2 * 3);
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("href="));
}

#[test]
fn the_file_of_a_system_gives_the_same_network_again() {
    let device = Default::default();
    let system = System::GrNet(Streams::GRNET);
    let mut made = system.init::<Cpu>(3, 64, false, &device).unwrap().started(9).unwrap();
    made.grnet.w_spatial = 0.37;
    let names = ["real", "a", "b"].map(String::from);
    let bytes = made.to_bytes(&names, 64).unwrap();
    let (read, meta) = Competitor::<Cpu>::from_bytes(&bytes, &device).unwrap();
    assert_eq!(meta.class_names, names);
    assert_eq!(read.grnet, made.grnet);
    assert_eq!(read.to_bytes(&names, 64).unwrap(), bytes);
    assert_eq!(
        Competitor::<Cpu>::from_bytes(b"nothing", &device).map(|_| ()).unwrap_err().kind(),
        ErrorKind::BadWeights
    );
}

#[test]
fn a_kept_model_is_shown_and_examined() {
    let folder = make_pack("kept");
    let system = System::AmtenNet(Front::Constrained);
    let entrant = Entrant { system, task: Task::Binary, setting: Setting::Common };
    go(&folder, "out", entrant, &protocol(64)).unwrap();
    let kept = kept_models(&folder.join("out"), &System::front_ends()).unwrap();
    assert_eq!(kept.iter().map(Kept::describe).collect::<Vec<_>>(), ["amtennet-constrained, binary, common settings"]);
    let device = Default::default();
    let photo = include_bytes!("pictures/astronaut.jpg");
    let whole = whole_square(&decode(photo, &Limits::default()).unwrap().pixels);
    let grid = picture_grid::features::<Autodiff<Cpu>>(std::slice::from_ref(&whole), &kept, 64, &device).unwrap();
    assert_eq!((grid.height, grid.width), (64 + 2 * GUTTER_PX, 2 * 64 + 3 * GUTTER_PX));
    let cell: Vec<u8> = (0..64 * 64).map(|i| grid.pixel(GUTTER_PX + i / 64, 64 + 2 * GUTTER_PX + i % 64)[1]).collect();
    assert!(cell.iter().max() > cell.iter().min(), "nothing of the face speaks for the decision");

    // `grnet eval` says of a picture what the network says of its crop.
    std::fs::write(folder.join("astronaut.jpg"), photo).unwrap();
    let table = &b"path,label,crop\nastronaut.jpg,0,whole\nnone.jpg,0,whole\n"[..];
    let rows = parse_table(table, "table").unwrap();
    let examined = examined::open(DeviceChoice::Cpu, &kept[0].bytes).unwrap();
    let judged = judge(&folder, &rows, &*examined, &[Tier::Raw], false, |_, _| {}).unwrap();
    let (competitor, _) = Competitor::<Cpu>::from_bytes(&kept[0].bytes, &device).unwrap();
    let crop = resize(&whole, 64, 64).unwrap();
    let p_fake = 1.0 - class_probabilities(&competitor, &[crop], 1, &device)[0][0];
    assert!((judged[0].p_fake.unwrap() - p_fake).abs() < 1e-6);
    assert_eq!((judged[1].p_fake, judged[1].reason), (None, Some(Reason::Unreadable)));
    let refused = |choice, bytes: &[u8]| examined::open(choice, bytes).map(|_| ()).unwrap_err().kind();
    assert_eq!(refused(DeviceChoice::Gpu, &kept[0].bytes), ErrorKind::Unsupported);
    assert_eq!(refused(DeviceChoice::Cpu, b"nothing"), ErrorKind::BadWeights);
}

#[test]
fn every_kind_of_system_goes_the_whole_way() {
    let folder = make_pack("kinds");
    let systems = [
        System::MislNet,
        System::AmtenNet(Front::Constrained),
        System::ResNet(Some(Front::Mte)),
        System::GrNet(Streams::GRNET),
        System::MultiTask,
        System::Fwa,
    ];
    for (system, setting) in systems.into_iter().zip([Setting::Authors, Setting::Common].into_iter().cycle()) {
        let entrant = Entrant { system, task: Task::Binary, setting };
        let outcome = go(&folder, "out", entrant, &protocol(32)).unwrap();
        assert_eq!(outcome.test.len(), 3);
        let cross = outcome.cross.unwrap();
        // The other data are the same here, so both figures are of the same pictures.
        assert_eq!(cross.auc, outcome.test["raw"].auc, "{}", system.name());
        assert!(entrant.folder(&folder.join("out")).join("model.safetensors").exists());
    }
}
