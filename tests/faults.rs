//! `grnet prepare`, `train` and `compare` as they end before their time: killed in the middle, stopped by Ctrl-C, on a disk that is
//! full or may not be written. The real program, real signals; what it leaves is whole, it says how to go on, and what it ends up
//! with is what a straight run gives. Those of `grnet detect --out` are in `bulk.rs`.
#![cfg(all(feature = "train", target_os = "linux"))]

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::disk::SmallDisk;
use grnet::model::ModelFile;
use grnet::train::learn::checkpoint::{Checkpoint, State};
use serde_json::Value;

/// Longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// An empty folder of this name.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a test folder can be made");
    folder
}

fn grnet(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grnet"));
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("grnet starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs to the end, which must be a good one.
fn finish(command: &mut Command) {
    let output = run(command);
    assert!(output.status.success(), "{}", told(&output));
}

/// Fails, and says all of these words.
fn refused(command: &mut Command, words: &[&str]) {
    let output = run(command);
    assert!(!output.status.success(), "{command:?}");
    for words in words {
        assert!(told(&output).contains(words), "{words}: {}", told(&output));
    }
}

/// A run in the background, ended with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("grnet starts"))
    }

    /// Waits until something holds, which must be before the run ends.
    fn wait_until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
            let ended = self.0.try_wait().expect("its state");
            assert!(ended.is_none(), "{what}: ended before, {ended:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        self.0.kill().expect("it can be killed");
        let status = self.0.wait().expect("it ends");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it was killed in the middle");
    }

    /// As Ctrl-C does; gives what it said.
    fn interrupt(mut self) -> String {
        let sent = Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).status().expect("kill starts");
        assert!(sent.success());
        let mut told = String::new();
        self.0.stderr.take().expect("its errors").read_to_string(&mut told).expect("text");
        self.0.wait().expect("it ends");
        told
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _code = self.0.wait();
    }
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// Pictures that are made; more than these are the same ones under other names.
const TEXTURES: usize = 74;

/// A table of so many pictures in a folder: textures, of which fakes carry a checkerboard.
fn table(folder: &Path, rows: usize, side: u32) -> PathBuf {
    let mut text = String::from("path,label,source,generator,group,split,crop\n");
    for index in 0..rows {
        let fake = index % 2;
        let file = folder.join(format!("{index}.png"));
        if index < TEXTURES {
            let picture = image::RgbImage::from_fn(side, side, |x, y| {
                let wave = |c: u32| 128.0 + 80.0 * ((y * (index as u32 + 3) + 7 * x * (c + 1)) as f32 * 0.05).sin();
                let checker = if fake == 1 && (x + y).is_multiple_of(2) { 20.0 } else { 0.0 };
                image::Rgb([0, 1, 2].map(|c| (wave(c) + checker) as u8))
            });
            picture.save(file).expect("a picture can be written");
        } else {
            fs::hard_link(folder.join(format!("{}.png", index % TEXTURES)), file).expect("the same once more");
        }
        let split = ["train", "train", "train", "val", "test"][index / 2 % 5];
        text += &format!("{index}.png,{fake},s{fake},{},g{index},{split},whole\n", ["", "gan"][fake]);
    }
    let path = folder.join("table.csv");
    fs::write(&path, text).expect("a table can be written");
    path
}

// ---- prepare -----------------------------------------------------------------------------------------------------------

fn prepare(table: &Path, out: &Path) -> Command {
    grnet(&[&"prepare", &"--keep-duplicates", &"--data", &table, &"--out", &out])
}

const PACK: [&str; 3] = ["crops.rgb8", "manifest.csv", "pack.json"];

fn same_pack(a: &Path, b: &Path) {
    for file in PACK {
        let read = |pack: &Path| fs::read(pack.join(file)).expect("a file of the pack");
        assert!(read(a) == read(b), "{file} differs");
    }
    assert!(!b.join("manifest.csv.unfinished").exists() && !b.join("crops.rgb8.unfinished").exists());
}

#[test]
fn a_preparation_that_is_killed_or_stopped_goes_on_and_ends_like_a_straight_one() {
    let folder = folder("prepare");
    let table = table(&folder, 3000, 72);
    let (straight, out) = (folder.join("straight"), folder.join("out"));
    finish(&mut prepare(&table, &straight));
    let part = out.join("manifest.csv.unfinished");
    // Rows are written 256 at a time, and one line more is the head.
    let mut running = Running::start(&mut prepare(&table, &out));
    running.wait_until("rows are written", || lines(&part) > 256);
    let told = running.interrupt();
    for words in ["stopping after", "stopped after", "rows", "the same command goes on"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    for rows in [768, 1280] {
        let mut running = Running::start(&mut prepare(&table, &out));
        running.wait_until("rows are written", || lines(&part) > rows);
        running.kill();
        assert!(!out.join("manifest.csv").exists(), "an unfinished pack must not look finished");
    }
    // A write that was cut short: the line lacks no field, but the end of its last one.
    let mut text = fs::read(&part).expect("the manifest");
    let end = text.iter().rposition(|byte| *byte == b'\n').expect("lines");
    text.truncate(end - 3);
    fs::write(&part, text).expect("the manifest");
    finish(&mut prepare(&table, &out));
    same_pack(&straight, &out);
}

#[test]
fn what_was_prepared_before_the_disk_was_full_is_kept_and_not_done_again() {
    let folder = folder("prepare-full");
    let Some(disk) = SmallDisk::mount(self::folder("prepare-full-disk"), 6 << 10) else { return };
    let table = table(&folder, 600, 72);
    let (straight, out) = (folder.join("straight"), disk.0.join("out"));
    finish(&mut prepare(&table, &straight));
    let size = |file: &str| fs::metadata(straight.join(file)).expect("a file of the pack").len();
    let words = |file: &str| {
        [
            format!("cannot write {}", out.join(file).display()),
            "No space left".into(),
            "the same command goes on".into(),
        ]
    };
    let told = |file: &str| refused(&mut prepare(&table, &out), &words(file).each_ref().map(String::as_str));
    // Twice: what there was must outlive a second try on a disk that is still full.
    told("crops.rgb8.unfinished");
    let kept = lines(&out.join("manifest.csv.unfinished"));
    assert_eq!(kept, 1 + 256);
    told("crops.rgb8.unfinished");
    assert_eq!(lines(&out.join("manifest.csv.unfinished")), kept);
    // Room for all crops, but not for the manifest beside its part.
    disk.remount(&format!("size={}k", (size("crops.rgb8") + size("manifest.csv")) / 1024 + 20));
    told("manifest.csv");
    for row in 0..600 {
        fs::remove_file(folder.join(format!("{row}.png"))).expect("a picture");
    }
    disk.remount("size=64m");
    // The pictures are gone: all that is in the pack was done before.
    finish(&mut prepare(&table, &out));
    same_pack(&straight, &out);
}

// ---- train -------------------------------------------------------------------------------------------------------------

/// A pack of few pictures, and the configuration of a run of six steps that writes a checkpoint after each.
fn short_run(folder: &Path) -> (PathBuf, PathBuf) {
    let pack = folder.join("pack");
    finish(&mut prepare(&table(folder, 40, 72), &pack));
    let config = folder.join("run.toml");
    let text = "steps = 6\nbatch = 2\ncheckpoint_minutes = 1e-9\n[model]\ninput_px = 64\n[learn]\nwarm_up_steps = 1\n\
        epoch_steps = 2\n[validate]\nevery_steps = 1\nper_source = 1\ntiers = [\"raw\"]\n";
    fs::write(&config, text).expect("a configuration");
    (pack, config)
}

fn train(config: &Path, pack: &Path, out: &Path) -> Command {
    grnet(&[&"train", &"--device", &"cpu", &"--config", &config, &"--data", &pack, &"--out", &out])
}

/// Steps at which a run was measured, as its metrics tell.
fn measured(out: &Path) -> Vec<u64> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).expect("metrics");
    let step = |line: &str| serde_json::from_str::<Value>(line).expect("whole lines")["step"].as_u64().expect("a step");
    text.lines().map(step).collect()
}

fn step_of(checkpoint: &Path) -> u64 {
    Checkpoint::read(checkpoint).expect("a whole checkpoint").state::<State>().expect("of a run").step
}

#[test]
fn a_training_run_that_is_killed_and_then_has_no_room_ends_like_a_straight_one() {
    let folder = folder("train");
    let (pack, config) = short_run(&folder);
    let (straight, out) = (folder.join("straight"), folder.join("out"));
    finish(&mut train(&config, &pack, &straight));
    assert_eq!(measured(&straight), [1, 2, 3, 4, 5, 6]);

    let checkpoint = out.join("checkpoint.safetensors");
    for step in [1, 2] {
        let mut command = train(&config, &pack, &out);
        if step > 1 {
            command.arg("--resume");
        }
        let before = fs::metadata(&checkpoint).and_then(|about| about.modified()).ok();
        let mut running = Running::start(&mut command);
        running.wait_until("a checkpoint is written", || {
            fs::metadata(&checkpoint).and_then(|about| about.modified()).is_ok_and(|now| Some(now) != before)
        });
        running.kill();
        assert!((step..6).contains(&step_of(&checkpoint)), "step {}", step_of(&checkpoint));
        ModelFile::parse(&fs::read(out.join("best.safetensors")).expect("the best model")).expect("a whole model");
        // What a write that was cut short leaves, and half a line.
        fs::write(out.join("checkpoint.safetensors.part"), b"half").expect("a file");
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).expect("metrics");
        fs::write(out.join("metrics.jsonl"), metrics + "{\"kind\":\"step\",\"st").expect("metrics");
    }

    // The device behind the next checkpoint has no room; the last one stays.
    let (kept, part) = (fs::read(&checkpoint).expect("a checkpoint"), out.join("checkpoint.safetensors.part"));
    fs::remove_file(&part).expect("the half file");
    symlink("/dev/full", &part).expect("a link");
    let said = format!("go on with --resume --out {}", out.display());
    refused(
        train(&config, &pack, &out).arg("--resume"),
        &["cannot write", "checkpoint.safetensors", "No space left", &said],
    );
    assert!(fs::read(&checkpoint).expect("a checkpoint") == kept, "the last checkpoint changed");

    finish(train(&config, &pack, &out).arg("--resume"));
    assert_eq!(measured(&out), [1, 2, 3, 4, 5, 6], "no step is told twice");
    let read = |run: &Path| fs::read(run.join("last.safetensors")).expect("a model");
    assert!(read(&straight) == read(&out), "the resumed run differs");
}

// ---- compare -----------------------------------------------------------------------------------------------------------

fn compare(pack: &Path, out: &Path) -> Command {
    let fixed = [
        "compare",
        "--systems",
        "meso4",
        "--tables",
        "4",
        "--side",
        "64",
        "--budget",
        "1200pictures",
        "--degrade",
        "raw",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_grnet"));
    command.args(fixed).arg("--data").arg(pack).arg("--out").arg(out);
    command
}

#[test]
fn a_comparison_that_is_killed_stopped_or_without_room_does_what_is_left_and_nothing_twice() {
    let folder = folder("compare");
    let (pack, _) = short_run(&folder);
    let (straight, out) = (folder.join("straight"), folder.join("out"));
    finish(&mut compare(&pack, &straight));
    let of = |out: &Path, setting: &str, file: &str| out.join("multi/meso4").join(setting).join(file);
    let begun = |out: &Path| of(out, "common", "").exists();
    let first = of(&out, "authors", "outcome.json");
    // Killed while the second of two learns: the first is complete, and stays as it is.
    let mut running = Running::start(&mut compare(&pack, &out));
    running.wait_until("the second one learns", || begun(&out));
    running.kill();
    let kept = fs::read(&first).expect("the first outcome");
    serde_json::from_slice::<Value>(&kept).expect("a whole outcome");
    assert!(!of(&out, "common", "outcome.json").exists());
    // Stopped while it learns again.
    let running = Running::start(&mut compare(&pack, &out));
    std::thread::sleep(Duration::from_millis(300));
    let told = running.interrupt();
    for words in ["stopping after", "stopped while meso4 learnt", "the same command does what is left"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(of(&out, "common", "checkpoint.safetensors").exists());
    // Without room for its outcome.
    let part = of(&out, "common", "outcome.json.part");
    symlink("/dev/full", &part).expect("a link");
    refused(
        &mut compare(&pack, &out),
        &["cannot write", "outcome.json", "No space left", "the same command does what is left"],
    );
    assert!(!of(&out, "common", "outcome.json").exists());
    finish(&mut compare(&pack, &out));
    assert!(fs::read(&first).expect("the first outcome") == kept, "what was complete was done again");
    for setting in ["authors", "common"] {
        let read = |out: &Path| fs::read(of(out, setting, "model.safetensors")).expect("a model");
        assert!(read(&straight) == read(&out), "{setting}: the model differs");
    }
    assert!(!of(&out, "common", "checkpoint.safetensors").exists());
}

// ---- Read-only places --------------------------------------------------------------------------------------------------

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_is_done() {
    let folder = folder("read-only");
    let table = table(&folder, 4, 72);
    let pack = folder.join("pack");
    finish(&mut prepare(&table, &pack));
    let config = folder.join("run.toml");
    fs::write(&config, "steps = 1\n").expect("a configuration");
    let all = |out: &Path, words: &str| {
        for mut command in [prepare(&table, out), train(&config, &pack, out), compare(&pack, out)] {
            refused(&mut command, &[&out.display().to_string(), words]);
        }
    };
    all(&folder.join("table.csv/out"), "Not a directory");
    let Some(disk) = SmallDisk::mount(self::folder("read-only-disk"), 64) else { return };
    disk.remount("ro");
    all(&disk.0.join("out"), "Read-only file system");
}
