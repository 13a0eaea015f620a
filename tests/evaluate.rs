//! `grnet eval` and `grnet export --calibrate` as a researcher runs them: the figures are those of the scores that `detect`
//! gives, every picture is accounted for, and what was fitted keeps its promise on what it was fitted on. The shipped model.
#![cfg(feature = "train")]

#[path = "common/varied.rs"]
mod varied;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use grnet::model::ModelFile;
use grnet::train::metrics::{self, Scored};
use serde_json::Value;

/// Labelled pictures with a face or without; beside them stand one without a face, one that is none, one without a label.
const PICTURES: usize = 16;
/// Scores go through JSON as the shortest text that gives the same f32.
const TOLERANCE: f64 = 1e-9;

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evaluate");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(folder.join("photos")).unwrap();
    folder
}

fn grnet(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_grnet")).current_dir(folder).args(args).output().unwrap()
}

/// What a run prints, if it succeeds.
fn said(folder: &Path, args: &[&str]) -> [String; 2] {
    let out = grnet(folder, args);
    let [stdout, stderr] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(out.status.success(), "{args:?}: {stderr}");
    [stdout, stderr]
}

/// What a run that fails complains of.
fn refused(folder: &Path, args: &[&str]) -> String {
    let out = grnet(folder, args);
    assert!(!out.status.success(), "{args:?} succeeded");
    String::from_utf8(out.stderr).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The table, and which of its pictures are fakes. The labels are a rule's: one face has no fakes to tell apart.
fn table(folder: &Path) -> BTreeMap<String, bool> {
    let mut table = String::from("path,label,source,generator,group,split,set\n");
    let mut labels = BTreeMap::new();
    for (index, (name, bytes)) in varied::files(PICTURES).into_iter().enumerate() {
        fs::write(folder.join("photos").join(&name), bytes).unwrap();
        let (fake, source) = (index % 2 == 1, index % 6);
        let (generator, family) = if fake { ("g", "gan") } else { ("", "profile") };
        let name = format!("photos/{name}");
        table += &format!("{name},{},s{source},{generator},{index},val,{family}\n", u8::from(fake));
        labels.insert(name, fake);
    }
    fs::copy("tests/pictures/coffee.jpg", folder.join("photos/coffee.jpg")).unwrap();
    fs::copy("tests/pictures/astronaut.jpg", folder.join("photos/astronaut.jpg")).unwrap();
    fs::write(folder.join("photos/text.jpg"), "a text").unwrap();
    table += "photos/coffee.jpg,0,s0,,c,val,profile\nphotos/text.jpg,1,s1,g,t,val,gan\n";
    table += "photos/astronaut.jpg,-1,s0,,a,val,profile\n";
    fs::write(folder.join("table.csv"), table).unwrap();
    labels
}

#[test]
fn figures_are_those_of_detect_s_scores_and_a_fit_keeps_its_promise() {
    let folder = folder();
    let labels = table(&folder);
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/grnet.safetensors");
    // `detect` ends with 1, as one of the files is no picture.
    grnet(&folder, &["detect", "photos", "--out", "detect.jsonl"]);
    let reports = fs::read_to_string(folder.join("detect.jsonl")).unwrap();
    let scores: BTreeMap<String, f32> = reports
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|report| {
            let score = report["p_fake"].as_f64()?;
            Some((report["file"]["name"].as_str()?.to_string(), score as f32))
        })
        .collect();
    let scored: Vec<Scored> = labels.iter().filter_map(|(name, fake)| Some((*scores.get(name)?, *fake))).collect();
    assert!(scored.len() > PICTURES / 2, "{} of {PICTURES} pictures have a score", scored.len());

    let model = ["export", "--model", shipped, "--out", "fitted.safetensors", "--name", "fitted"];
    let [_, fit] = said(&folder, &[&model[..], &["--calibrate", "table.csv", "--precision", "int8"]].concat());
    assert!(fit.contains("thresholds: likely_fake from") && fit.contains("calibration error on these"), "{fit}");
    let fitted = ModelFile::parse(&fs::read(folder.join("fitted.safetensors")).unwrap()).unwrap().meta;
    assert!(fitted.is_calibrated() && fitted.name == "fitted", "{fitted:?}");

    let eval = ["eval", "--data", "table.csv", "--split", "val", "--by", "family,source,generator,face"];
    let outputs = ["--json", "eval.json", "--markdown", "eval.md", "--plots", "plots", "--ledger", "ledger.csv"];
    let [text, told] = said(&folder, &[&eval[..], &outputs, &["--against", "fitted.safetensors"]].concat());

    // Every picture is accounted for: with a score, without one and why, and the one without a label.
    let figures = json(&folder.join("eval.json"));
    let all = &figures["rows"][0];
    let count = |key: &str| all[key].as_u64().unwrap() as usize;
    assert_eq!((all["by"].as_str(), all["degrade"].as_str()), (Some("all"), Some("raw")));
    let fakes = scored.iter().filter(|(_, fake)| *fake).count();
    assert_eq!([count("n_fake"), count("n_real")], [fakes, scored.len() - fakes]);
    assert_eq!(count("not_assessed"), labels.len() - scored.len() + 2);
    let missing = figures["not_assessed"].as_array().unwrap();
    let reason = |path: &str| missing.iter().find(|one| one["path"] == path).map(|one| one["reason"].clone());
    assert_eq!(reason("photos/coffee.jpg"), Some("no_face".into()));
    assert_eq!(reason("photos/text.jpg"), Some("unreadable".into()));
    assert!(told.contains("no face was found  photos/coffee.jpg"), "{told}");
    let unknown = figures["unknown"][0]["p_fake"].as_f64().unwrap() as f32;
    assert_eq!(
        (unknown, figures["unknown"][0]["path"].as_str()),
        (scores["photos/astronaut.jpg"], Some("photos/astronaut.jpg"))
    );
    assert!(text.contains("unlabelled") && text.contains("photos/astronaut.jpg"), "{text}");

    // The figures are those of `detect`'s scores.
    let expected = [("auc", metrics::auc(&scored)), ("brier", metrics::brier(&scored)), ("eer", metrics::eer(&scored))];
    for (name, expected) in expected {
        let (found, expected) = (all[name].as_f64().unwrap(), expected.unwrap());
        assert!((found - expected).abs() <= TOLERANCE, "{name}: {found} for {expected}");
    }
    let auc = format!("| AUC, pooled | {:.3} (", all["auc"].as_f64().unwrap());
    let markdown = fs::read_to_string(folder.join("eval.md")).unwrap();
    assert!(markdown.contains(&auc), "{auc} in {markdown}");
    for part in ["family", "source", "generator", "face"] {
        assert!(figures["rows"].as_array().unwrap().iter().any(|row| row["by"] == part), "no figures by {part}");
    }
    for (plot, title) in [("roc", "fakes flagged"), ("reliability", "share of fakes"), ("scores", "raw")] {
        let svg = fs::read_to_string(folder.join(format!("plots/{plot}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains(title), "{plot}: {svg}");
    }

    // The ledger has a line for every row, under both models, and tells what turned.
    assert!(text.contains("against fitted: "), "{text}");
    let mut ledger = csv_rows(&folder.join("ledger.csv"));
    assert_eq!(ledger.remove(0)[..3], ["path", "label", "source"]);
    assert_eq!(ledger.len(), PICTURES + 3);
    let mut turned = 0;
    for line in &ledger {
        let score = scores.get(&line[0]).map_or(String::new(), |p| format!("{}", (p * 1e4).round() / 1e4));
        assert_eq!(line[8], score, "{line:?}");
        assert_eq!(line[9] == "true", line[5] != line[7], "{line:?}");
        turned += usize::from(line[9] == "true");
    }
    assert!(text.contains(&format!("{turned} of")), "{turned} turned: {text}");

    // What was fitted on these rows flags no untouched one of them: of so few, five in a hundred are none.
    said(
        &folder,
        &[
            "eval",
            "--data",
            "table.csv",
            "--split",
            "val",
            "--model",
            "fitted.safetensors",
            "--json",
            "fitted-eval.json",
        ],
    );
    assert_eq!(json(&folder.join("fitted-eval.json"))["rows"][0]["called"][0], 0);

    // Rows that there are not, and names that nothing has.
    let none = refused(&folder, &["eval", "--data", "table.csv", "--split", "train"]);
    assert!(none.contains("expected rows of that split, found none"), "{none}");
    let by = refused(&folder, &["eval", "--data", "table.csv", "--by", "colour"]);
    assert!(by.contains("expected source, generator, family or face, found colour"), "{by}");
    let few = said(&folder, &["eval", "--data", "table.csv", "--split", "all", "--unseen", "--per-source", "1"]);
    assert!(few[1].contains("7 rows (split all"), "{}", few[1]);
}

/// Fields of a table without quotes.
fn csv_rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split(',').map(String::from).collect()).collect()
}
