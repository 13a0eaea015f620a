//! Data preparation on small trees made here: nothing is dropped in silence, interruptions cost nothing, bad tables are
//! refused.
#![cfg(feature = "train")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use grnet::ErrorKind;
use grnet::picture::crop::crop_square;
use grnet::picture::face::{FaceFinder, Finder};
use grnet::train::config::TrainConfig;
use grnet::train::data::audit::{audit, makers};
use grnet::train::data::landmarks::LandmarkNet;
use grnet::train::data::layout::{self, Dataset, Layout};
use grnet::train::data::pack::{Pack, Status};
use grnet::train::data::prepare::{Counts, PrepareConfig, prepare};
use grnet::train::data::table::{FAKE, REAL, Split};
use grnet::train::looks::degrade::encode_jpeg;

/// A fresh folder of a test.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("data").join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn write_picture(path: &Path, side: usize, seed: usize) {
    let data = (0..side * side * 3).map(|i| ((i * (seed + 7)) % 251) as u8).collect();
    let picture = grnet::picture::Rgb8::new(side, side, data).unwrap();
    std::fs::write(path, encode_jpeg(&picture, 90, false).unwrap()).unwrap();
}

fn run(folder: &Path, out: &str, stop_after: usize) -> grnet::Result<Counts> {
    let stop = AtomicBool::new(stop_after == 0);
    let data = layout::read(&folder.join("table.csv"), Layout::Auto)?;
    prepare(&data, &folder.join(out), &PrepareConfig::default(), &stop, |done, _| {
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
    assert_eq!((entry.side_px, entry.square_px, entry.picture_px, entry.jpeg_quality), (256, 300, 300, Some(90)));
    assert_eq!(pack.crop(entry).unwrap().width, 256);
    assert_eq!(pack.crop(&pack.entries()[4]).unwrap_err().kind(), ErrorKind::BadData);
}

#[test]
fn a_pack_says_its_margin_and_gives_narrower_crops_and_one_without_a_word_is_of_the_first_format() {
    let folder = folder("margins");
    let bytes = std::fs::read("tests/pictures/astronaut.jpg").unwrap();
    std::fs::write(folder.join("face.jpg"), &bytes).unwrap();
    write_picture(&folder.join("whole.jpg"), 200, 1);
    let table = "path,label,source,generator,group,split,crop,set\n\
        face.jpg,0,a,,g1,train,find,profile\nwhole.jpg,1,b,gan,g2,train,whole,gan\n";
    std::fs::write(folder.join("table.csv"), table).unwrap();
    run(&folder, "pack", usize::MAX).unwrap();
    let pack = Pack::open(&folder.join("pack")).unwrap();
    let [face, whole] = pack.entries() else { panic!("two rows") };
    assert_eq!((face.set.as_str(), face.points.clone()), ("profile", None));
    let margin = PrepareConfig::default().margin;
    assert_eq!(pack.info().margin, margin);
    assert!((face.place().margin - margin).abs() < 0.02, "{:?}", face.place());
    // What the detector cuts with that margin is the middle of the wide crop.
    let photo = grnet::picture::decode(&bytes, &Default::default()).unwrap().pixels;
    let bounds = Finder::new().unwrap().find(&photo)[0].bounds;
    let (narrow, wanted) = (pack.crop_at(face, 1.3).unwrap(), crop_square(&photo, &bounds, 1.3));
    assert!(narrow.height.abs_diff(wanted.height) <= 1, "{} for {}", narrow.height, wanted.height);
    let small = |picture| grnet::picture::crop::resize(picture, 24, 24).unwrap().luma();
    let apart = small(&narrow).iter().zip(small(&wanted)).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    assert!(apart < 40, "{apart}");
    assert_eq!(pack.crop_at(whole, 1.3).unwrap().height, 200, "a picture that was taken whole stays whole");
    std::fs::remove_file(folder.join("pack/pack.json")).unwrap();
    assert_eq!(Pack::open(&folder.join("pack")).unwrap().info().margin, 1.3);
    std::fs::write(folder.join("pack/pack.json"), r#"{"format":"grnet.pack/9","margin":1.5}"#).unwrap();
    let error = Pack::open(&folder.join("pack")).unwrap_err();
    assert!(error.full_message().contains("grnet.pack/9"), "{}", error.full_message());
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
    let half = folder.join("broken/manifest.csv.unfinished");
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
    // A copy that ended early, or the file of crops lost.
    let crops = folder.join("broken/crops.rgb8");
    let whole = std::fs::read(&crops).unwrap();
    let cut = |to: usize| std::fs::write(&crops, &whole[..to]).unwrap();
    let lost = |_| std::fs::remove_file(&crops).unwrap();
    for (harm, at) in [(&cut as &dyn Fn(usize), whole.len() / 2), (&cut, whole.len() - 1), (&lost, 0)] {
        harm(at);
        let refused = Pack::open(&folder.join("broken")).unwrap_err();
        assert!(at == 0 || refused.full_message().contains("grnet prepare"), "{}", refused.full_message());
        run(&folder, "broken", usize::MAX).unwrap();
        for file in ["manifest.csv", "crops.rgb8"] {
            let read = |pack: &str| std::fs::read(folder.join(pack).join(file)).unwrap();
            assert!(read("straight") == read("broken"), "{file} differs after a repair of {at} bytes");
        }
    }
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

/// Empty files: layouts look at names alone.
fn touch(folder: &Path, paths: &[&str]) {
    for path in paths {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
}

/// (path, label, source, group, split) of every row.
fn rows(data: &Dataset) -> Vec<(&str, i8, &str, &str, Split)> {
    data.rows.iter().map(|r| (r.path.as_str(), r.label, r.source.as_str(), r.group.as_str(), r.split)).collect()
}

#[test]
fn class_folders_are_read_with_sources_groups_and_splits() {
    let folder = folder("folders");
    touch(
        &folder,
        &[
            "train/real/celeba/1.jpg",
            "train/real/dfdc/video1/1.png",
            "train/fake/swap/video1/1.png",
            "test/fake/9.webp",
            "test/real/9.JPG",
            "test/notes.txt",
            "elsewhere.png",
        ],
    );
    let data = layout::read(&folder, Layout::Auto).unwrap();
    assert_eq!(
        rows(&data),
        [
            ("test/fake/9.webp", FAKE, "fake", "test/fake/9.webp", Split::Test),
            ("test/real/9.JPG", REAL, "real", "test/real/9.JPG", Split::Test),
            ("train/fake/swap/video1/1.png", FAKE, "swap", "video1", Split::Train),
            ("train/real/celeba/1.jpg", REAL, "celeba", "train/real/celeba/1.jpg", Split::Train),
            ("train/real/dfdc/video1/1.png", REAL, "dfdc", "video1", Split::Train),
        ]
    );
    assert_eq!(data.left_out.values().sum::<usize>(), 1, "{:?}", data.left_out);
}

#[test]
fn one_folder_per_generator_is_read() {
    let folder = folder("generators");
    touch(&folder, &["real/a.png", "stylegan/b.png", "sdxl/c.png"]);
    let data = layout::read(&folder, Layout::Folders).unwrap();
    let found: Vec<_> = data.rows.iter().map(|r| (r.label, r.generator.as_str())).collect();
    assert_eq!(found, [(REAL, ""), (FAKE, "sdxl"), (FAKE, "stylegan")]);
    for (row, group) in data.rows.iter().zip(["real/a.png", "sdxl/c.png", "stylegan/b.png"]) {
        assert_eq!(row.split, Split::of_group(group));
    }
}

#[test]
fn faceforensics_keeps_swapped_videos_together_and_takes_the_official_splits() {
    let folder = folder("forensics");
    touch(
        &folder,
        &[
            "original_sequences/youtube/c23/images/071/0001.png",
            "original_sequences/youtube/c23/images/054/0001.png",
            "original_sequences/youtube/c23/images/999/0001.png",
            "manipulated_sequences/Deepfakes/c40/images/071_054/0001.png",
            "manipulated_sequences/FaceSwap/c23/faces/054_071/0001.png",
        ],
    );
    let groups = |data: &Dataset| {
        let group = |part: &str| data.rows.iter().find(|r| r.path.contains(part)).unwrap().group.clone();
        ["/071/", "/054/", "071_054", "054_071", "/999/"].map(group)
    };
    let data = layout::read(&folder, Layout::Auto).unwrap();
    assert_eq!(groups(&data), ["054", "054", "054", "054", "999"]);
    assert_eq!(data.rows.iter().filter(|r| r.generator == "Deepfakes" && r.label == FAKE).count(), 1);
    assert!(data.rows.iter().all(|r| r.split == Split::of_group(&r.group)));
    std::fs::write(folder.join("test.json"), r#"[["071", "054"]]"#).unwrap();
    std::fs::write(folder.join("val.json"), r#"[["999", "998"]]"#).unwrap();
    let data = layout::read(&folder, Layout::FaceForensics).unwrap();
    let split = |group: &str| data.rows.iter().find(|r| r.group == group).unwrap().split;
    assert_eq!((split("054"), split("999")), (Split::Test, Split::Val));
}

#[test]
fn dfdc_takes_labels_and_originals_from_its_metadata() {
    let folder = folder("dfdc");
    touch(
        &folder,
        &[
            "part_0/abc/1.png",
            "part_0/xyz.mp4/1.png",
            "part_1/abc2/1.png",
            "part_1/unlabelled/1.png",
            "part_1/other/1.png",
        ],
    );
    let write = |part: &str, text: &str| std::fs::write(folder.join(part).join("metadata.json"), text).unwrap();
    write(
        "part_0",
        r#"{"abc.mp4": {"label": "FAKE", "split": "train", "original": "xyz.mp4"}, "xyz.mp4": {"label": "REAL", "split": "train"}}"#,
    );
    write("part_1", r#"{"abc2.mp4": {"label": "FAKE", "original": "elsewhere.mp4"}, "unlabelled.mp4": {}}"#);
    let data = layout::read(&folder, Layout::Auto).unwrap();
    let found: Vec<_> = data.rows.iter().map(|r| (r.path.as_str(), r.label, r.group.as_str())).collect();
    assert_eq!(
        found,
        [
            ("part_0/abc/1.png", FAKE, "xyz"),
            ("part_0/xyz.mp4/1.png", REAL, "xyz"),
            ("part_1/abc2/1.png", FAKE, "elsewhere")
        ]
    );
    assert_eq!(data.left_out.values().sum::<usize>(), 2);
}

#[test]
fn celeb_df_follows_its_test_list_and_leaks_nothing_into_training() {
    let folder = folder("celebdf");
    touch(
        &folder,
        &[
            "Celeb-real/id0_0000/1.png",
            "Celeb-synthesis/id0_id1_0000/1.png",
            "Celeb-real/id2_0003/1.png",
            "Celeb-synthesis/id2_id1_0003/1.png",
            "YouTube-real/00170/1.png",
        ],
    );
    let unlisted = layout::read(&folder, Layout::Auto).unwrap_err();
    assert!(unlisted.full_message().contains("test list"), "{}", unlisted.full_message());
    std::fs::write(
        folder.join("List_of_testing_videos.txt"),
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n",
    )
    .unwrap();
    let data = layout::read(&folder, Layout::Auto).unwrap();
    let of = |split| -> Vec<&str> { data.rows.iter().filter(|r| r.split == split).map(|r| r.path.as_str()).collect() };
    assert_eq!(of(Split::Test), ["Celeb-synthesis/id0_id1_0000/1.png", "YouTube-real/00170/1.png"]);
    assert_eq!([of(Split::Train), of(Split::Val)].concat().len(), 2);
    // The original of the tested swap is not in the list, so it must not be learnt from either.
    assert_eq!(data.left_out.values().sum::<usize>(), 1);
    let groups: Vec<&str> = data.rows.iter().filter(|r| r.path.contains("id2")).map(|r| r.group.as_str()).collect();
    assert_eq!(groups, ["Celeb-real/id2_0003"; 2]);
}

#[test]
fn hff_lists_have_fake_as_zero_and_paths_of_another_machine() {
    let folder = folder("hff");
    touch(&folder, &["train/fake/StarGAN/1.jpg", "train/real/2.jpg", "test/real/CelebA/3.jpg"]);
    let list = "/home/dataset/train/fake/StarGAN/1.jpg 0\n/home/dataset/train/real/2.jpg 1\n/home/dataset/train/real/gone.jpg 1\n";
    std::fs::write(folder.join("train.txt"), list).unwrap();
    std::fs::write(folder.join("test.txt"), "test/real/CelebA/3.jpg 1\n").unwrap();
    let data = layout::read(&folder, Layout::Auto).unwrap();
    assert_eq!(
        rows(&data),
        [
            ("test/real/CelebA/3.jpg", REAL, "CelebA", "test/real/CelebA/3.jpg", Split::Test),
            ("train/fake/StarGAN/1.jpg", FAKE, "StarGAN", "train/fake/StarGAN/1.jpg", Split::Train),
            ("train/real/2.jpg", REAL, "real", "train/real/2.jpg", Split::Train),
        ]
    );
    assert_eq!(data.left_out.values().sum::<usize>(), 1);
    std::fs::write(folder.join("train.txt"), "train/real/2.jpg 7\n").unwrap();
    let error = layout::read(&folder, Layout::Auto).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadData);
    assert!(error.full_message().contains("train.txt:1"), "{}", error.full_message());
}

#[test]
fn what_is_no_data_set_is_refused_with_what_was_expected() {
    let folder = folder("nothing");
    assert_eq!(layout::read(&folder.join("nowhere"), Layout::Auto).unwrap_err().kind(), ErrorKind::Io);
    touch(&folder, &["original_sequences/youtube/c23/videos/071.mp4"]);
    let error = layout::read(&folder, Layout::Auto).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadData);
    assert!(error.full_message().contains("1 videos; split them first"), "{}", error.full_message());
    assert_eq!(Layout::named("ffpp").unwrap_err().kind(), ErrorKind::BadUsage);
}

#[test]
fn near_duplicates_go_the_training_row_first_and_lookalike_hashes_stay() {
    let folder = folder("duplicates");
    let smooth = |shift: usize, invert: bool| {
        let value = move |i: usize| ((i / 3 % 96 + i / 3 / 96 + shift) % 192) as u8;
        let data = (0..96 * 96 * 3).map(|i| if invert { 255 - value(i) } else { value(i) }).collect();
        grnet::picture::Rgb8::new(96, 96, data).unwrap()
    };
    let write = |name: &str, picture: &grnet::picture::Rgb8, quality| {
        std::fs::write(folder.join(name), encode_jpeg(picture, quality, false).unwrap()).unwrap();
    };
    write("a.jpg", &smooth(0, false), 95);
    write("again.jpg", &smooth(0, false), 60);
    write("swap.jpg", &smooth(0, false), 80);
    write("brighter.jpg", &smooth(40, false), 95);
    write("other.jpg", &smooth(0, true), 95);
    let table = "path,label,source,generator,group,split,crop\na.jpg,0,s,,a,train,whole\nagain.jpg,0,s,,b,test,whole\n\
        swap.jpg,1,s,x,a,train,whole\nbrighter.jpg,0,s,,c,train,whole\nother.jpg,0,s,,d,train,whole\n";
    std::fs::write(folder.join("table.csv"), table).unwrap();
    run(&folder, "pack", usize::MAX).unwrap();
    let pack = Pack::open(&folder.join("pack")).unwrap();
    let status: Vec<Status> = pack.entries().iter().map(|entry| entry.status).collect();
    let packed = Status::Packed;
    assert_eq!(status, [Status::Duplicate, packed, packed, packed, packed]);
    let data = layout::read(&folder.join("table.csv"), Layout::Csv).unwrap();
    let config = PrepareConfig { keep_duplicates: true, ..PrepareConfig::default() };
    prepare(&data, &folder.join("all"), &config, &AtomicBool::new(false), |_, _| {}).unwrap();
    assert!(Pack::open(&folder.join("all")).unwrap().entries().iter().all(|entry| entry.packed()));
}

#[test]
fn the_audit_sees_a_short_cut_in_files_and_its_absence() {
    let folder = folder("audit");
    let mut table = String::from("path,label,source,generator,group,split,crop\n");
    for index in 0..320 {
        let (fake, foul) = (index % 2, index % 4 / 2);
        // In the foul pair of sources fakes are larger; in the fair one they are not.
        let side = if foul == 1 && fake == 1 { 90 } else { 72 };
        write_picture(&folder.join(format!("{index}.jpg")), side, index);
        let source = if foul == 1 { "foul" } else { "fair" };
        table += &format!("{index}.jpg,{fake},{source},,g{index},train,whole\n");
    }
    std::fs::write(folder.join("table.csv"), table).unwrap();
    let data = layout::read(&folder.join("table.csv"), Layout::Csv).unwrap();
    let config = PrepareConfig { keep_duplicates: true, ..PrepareConfig::default() };
    prepare(&data, &folder.join("pack"), &config, &AtomicBool::new(false), |_, _| {}).unwrap();
    let audits = audit(&Pack::open(&folder.join("pack")).unwrap(), &TrainConfig::default()).unwrap();
    let of = |name: &str| audits.iter().find(|pair| pair.fake == name && pair.real == name).unwrap();
    assert_eq!(of("foul").before, 1.0, "{audits:?}");
    assert!(of("fair").before < 0.75, "{audits:?}");
}

fn shared() -> PathBuf {
    std::env::var_os("GRNET_SHARED").map_or_else(|| "../shared".into(), PathBuf::from)
}

#[test]
#[ignore = "needs $GRNET_SHARED: the landmark network's weights"]
fn the_points_of_a_face_lie_where_its_parts_are() {
    let net = LandmarkNet::read(&shared().join("weights")).unwrap();
    let bytes = std::fs::read("tests/pictures/astronaut.jpg").unwrap();
    let photo = grnet::picture::decode(&bytes, &Default::default()).unwrap().pixels;
    let bounds = Finder::new().unwrap().find(&photo)[0].bounds;
    let crop = crop_square(&photo, &bounds, 1.8);
    let points = net.landmarks(&crop, 1.0 / 1.8).unwrap().0;
    let middle = |range: std::ops::Range<usize>| {
        let count = range.len() as f32;
        [0, 1].map(|axis| points[range.clone()].iter().map(|p| p[axis]).sum::<f32>() / count)
    };
    let (brows, eyes, nose, mouth, chin) = (middle(17..27), middle(36..48), points[30], middle(48..68), points[8]);
    assert!(brows[0] < eyes[0] && eyes[0] < nose[0] && nose[0] < mouth[0] && mouth[0] < chin[0], "{points:?}");
    let (left, right) = (middle(36..42), middle(42..48));
    // From one eye's middle to the other's is about four tenths of a face's width, and the nose lies between them.
    let apart = (right[1] - left[1]) / (points[16][1] - points[0][1]);
    assert!((0.3..0.6).contains(&apart) && left[1] < nose[1] && nose[1] < right[1], "{apart}");
    assert!(points.iter().flatten().all(|v| (0.1..0.95).contains(v)), "{points:?}");
    // A wider crop of the same face gives the same points in the photo.
    let wide = crop_square(&photo, &bounds, 2.4);
    let others = net.landmarks(&wide, 1.0 / 2.4).unwrap().0;
    for (a, b) in points.iter().zip(others.iter()) {
        let apart = [0, 1].map(|axis| ((a[axis] - 0.5) * 1.8 - (b[axis] - 0.5) * 2.4).abs());
        assert!(apart[0].max(apart[1]) < 0.06, "{a:?} {b:?}");
    }
}

#[test]
#[ignore = "needs $GRNET_SHARED: faces and the landmark network's weights"]
fn no_maker_of_fakes_leaks_its_label_on_real_faces() {
    let folder = folder("makers");
    let mut data = layout::read(&shared().join("data/faces.csv"), Layout::Csv).unwrap();
    let families = ["profile", "snapshot", "stock", "celebrity"];
    data.rows.retain(|row| row.label == REAL && row.split == Split::Train && families.contains(&row.set.as_str()));
    let step = data.rows.len().div_ceil(600);
    data.rows = data.rows.into_iter().step_by(step).collect();
    let net = LandmarkNet::read(&shared().join("weights")).unwrap();
    let config = PrepareConfig { landmarks: Some(net), side_px: 160, ..PrepareConfig::default() };
    prepare(&data, &folder, &config, &AtomicBool::new(false), |_, _| {}).unwrap();
    let audits = makers(&Pack::open(&folder).unwrap(), &TrainConfig::default()).unwrap();
    assert_eq!(audits.len(), 3);
    for audit in audits {
        assert!(audit.ring.is_chance(), "{audit:?}");
    }
}

#[test]
fn a_table_of_which_no_picture_can_be_read_is_an_error_and_rows_are_told() {
    let folder = folder("wrong-place");
    let table = folder.join("table.csv");
    std::fs::write(&table, "path,label,source,generator,group\nelsewhere/a.jpg,0,s,,g0\nelsewhere/b.jpg,1,t,,g1\n")
        .unwrap();
    let said = |args: &[&std::ffi::OsStr]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_grnet")).args(args).output().unwrap();
        (out.status.success(), String::from_utf8(out.stderr).unwrap())
    };
    let pack = folder.join("pack");
    let prepared = said(&["prepare".as_ref(), "--data".as_ref(), table.as_ref(), "--out".as_ref(), pack.as_ref()]);
    let judged = said(&["eval".as_ref(), "--split".as_ref(), "all".as_ref(), "--data".as_ref(), table.as_ref()]);
    for (success, text) in [&prepared, &judged] {
        assert!(!success && text.contains("found none in 2 rows; the first is"), "{text}");
    }
    assert!(prepared.1.contains("unreadable"), "{}", prepared.1);
    assert!(judged.1.contains("2 rows (split all"), "{}", judged.1);
}
