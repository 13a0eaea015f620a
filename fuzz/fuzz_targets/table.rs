//! Any bytes as a table of labelled pictures: what is taken has known labels, no path twice and no group in two splits.
#![no_main]

use std::collections::{HashMap, HashSet};

use grnet::train::data::table::{FAKE, REAL, UNKNOWN, parse_table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(rows) = parse_table(bytes, "a") else { return };
    let (mut paths, mut splits) = (HashSet::new(), HashMap::new());
    for row in &rows {
        assert!([REAL, FAKE, UNKNOWN].contains(&row.label), "label {}", row.label);
        assert!(paths.insert(&row.path), "{:?} comes twice", row.path);
        assert_eq!(*splits.entry(&row.group).or_insert(row.split), row.split, "{:?} is in two splits", row.group);
    }
});
