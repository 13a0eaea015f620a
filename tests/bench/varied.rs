//! `varied FOLDER COUNT`: writes the varied photos of `tests/same.rs` into a folder, for the browsers.

#[path = "../common/varied.rs"]
mod varied;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, count] = &arguments[..] else { panic!("expected FOLDER and COUNT, found {arguments:?}") };
    let count = count.parse().expect("a number of files");
    for (name, bytes) in varied::files(count) {
        std::fs::write(std::path::Path::new(folder).join(name), bytes).expect("a file can be written");
    }
}
