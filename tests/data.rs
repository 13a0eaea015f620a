//! Data preparation on small trees made here: nothing is dropped in silence, interruptions cost nothing, bad tables are
//! refused.
#![cfg(feature = "train")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use grnet::ErrorKind;
use grnet::train::degrade::encode_jpeg;
use grnet::train::pack::{Pack, Status};
use grnet::train::prepare::{Counts, PrepareConfig, prepare};

/// A fresh folder of a test.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("grnet-data-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn write_picture(path: &Path, side: usize, seed: usize) {
    let data = (0..side * side * 3).map(|i| ((i * (seed + 7)) % 251) as u8).collect();
    let picture = grnet::photo::Rgb8::new(side, side, data).unwrap();
    std::fs::write(path, encode_jpeg(&picture, 90, false).unwrap()).unwrap();
}

fn run(folder: &Path, out: &str, stop_after: usize) -> grnet::Result<Counts> {
    let stop = AtomicBool::new(stop_after == 0);
    prepare(&folder.join("table.csv"), &folder.join(out), &PrepareConfig::default(), &stop, |done, _| {
        stop.store(done >= stop_after, Ordering::Relaxed);
    })
}

#[test]
fn every_row_gets_a_line_that_says_what_became_of_it() {
    let folder = folder("lines");
    write_picture(&folder.join("whole.jpg"), 300, 1);
    write_picture(&folder.join("small.jpg"), 40, 2);
    write_picture(&folder.join("noise.jpg"), 120, 3);
    std::fs::write(folder.join("broken.jpg"), b"no picture").unwrap();
    let table = "path,label,source,generator,group,split,crop\n\
        whole.jpg,0,a,,g1,train,whole\nsmall.jpg,1,a,gan,g2,train,whole\nnoise.jpg,0,a,,g3,val,find\n\
        broken.jpg,1,b,gan,g4,train,whole\nmissing.jpg,1,b,gan,g5,train,whole\n";
    std::fs::write(folder.join("table.csv"), table).unwrap();
    let counts = run(&folder, "pack", usize::MAX).unwrap();
    let count = |status, source: &str| counts.get(&(status, source.to_string())).copied().unwrap_or(0);
    assert_eq!(count(Status::Packed, "a"), 1);
    assert_eq!(count(Status::TooSmall, "a"), 1);
    assert_eq!(count(Status::NoFace, "a"), 1);
    assert_eq!(count(Status::Unreadable, "b"), 2);
    let pack = Pack::open(&folder.join("pack")).unwrap();
    assert_eq!(pack.entries().len(), 5);
    let entry = &pack.entries()[0];
    assert_eq!((entry.side_px, entry.square_px, entry.picture_px, entry.jpeg_quality), (224, 300, 300, Some(90)));
    assert_eq!(pack.crop(entry).unwrap().width, 224);
    assert_eq!(pack.crop(&pack.entries()[4]).unwrap_err().kind(), ErrorKind::BadData);
}

#[test]
fn an_interrupted_preparation_goes_on_and_ends_the_same() {
    let folder = folder("resume");
    let mut table = String::from("path,label,source,generator,group,split,crop\n");
    for index in 0..600 {
        if index < 5 {
            write_picture(&folder.join(format!("{index}.jpg")), 70 + index, index);
        }
        // Few files, many rows: the rest is unreadable and costs no time.
        table += &format!("{index}.jpg,{},s,,g{index},train,whole\n", index % 2);
    }
    std::fs::write(folder.join("table.csv"), table).unwrap();
    run(&folder, "straight", usize::MAX).unwrap();
    let stopped = run(&folder, "broken", 1).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Cancelled);
    assert!(!folder.join("broken/manifest.csv").exists(), "an unfinished pack must not look finished");
    // A killed process may leave half a line and pixels without a line.
    let half = folder.join("broken/manifest.csv.part");
    let mut text = std::fs::read(&half).unwrap();
    text.truncate(text.len() - 9);
    std::fs::write(&half, text).unwrap();
    run(&folder, "broken", usize::MAX).unwrap();
    for file in ["manifest.csv", "crops.rgb8"] {
        let read = |pack: &str| std::fs::read(folder.join(pack).join(file)).unwrap();
        assert!(read("straight") == read("broken"), "{file} differs");
    }
    // Finished: asking again does nothing, even when told to stop at once.
    run(&folder, "broken", 0).unwrap();
}

#[test]
fn bad_tables_are_refused_before_any_picture_is_opened() {
    let folder = folder("bad");
    let cases = [
        ("a.jpg,7,s,,g,train,whole\n", "found 7"),
        ("a.jpg,0,s,,g,train,whole\nb.jpg,1,s,,g,val,whole\n", "group g"),
        ("a.jpg,0,s,,g,train,half\n", "row 1"),
    ];
    for (rows, word) in cases {
        std::fs::write(folder.join("table.csv"), format!("path,label,source,generator,group,split,crop\n{rows}"))
            .unwrap();
        let error = run(&folder, "pack", usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadData, "{rows}");
        assert!(error.full_message().contains(word), "{} lacks {word}", error.full_message());
    }
    std::fs::remove_file(folder.join("table.csv")).unwrap();
    assert_eq!(run(&folder, "pack", usize::MAX).unwrap_err().kind(), ErrorKind::Io);
}
