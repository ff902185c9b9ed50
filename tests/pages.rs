//! What README and the manual name is there: files of this repository, and pages.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and every page of the manual.
fn pages() -> Vec<PathBuf> {
    let manual = fs::read_dir(root().join("src/manual")).expect("the manual");
    let pages = manual.map(|page| page.expect("a page").path());
    pages.chain([root().join("README.md")]).collect()
}

/// What stands in back quotes, outside of blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut quoted = Vec::new();
    for line in text.lines() {
        in_block ^= line.starts_with("```");
        if !in_block {
            quoted.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    quoted
}

#[test]
fn files_that_are_named_are_there() {
    let folders = ["examples/", "src/", "tests/", "fuzz/", ".ci/"];
    let mut named = 0;
    for page in pages() {
        for name in quoted(&fs::read_to_string(&page).expect("a page")) {
            let is_file = folders.iter().any(|folder| name.starts_with(folder));
            // A test's name, or arguments, may stand behind the file's.
            let file = name.split([' ', ':']).next().unwrap_or_default();
            if is_file && !file.contains(['*', '<']) {
                assert!(root().join(file).exists(), "{}: {file}", page.display());
                named += 1;
            }
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn every_page_is_in_the_manual_and_on_the_front_page() {
    let manual = fs::read_to_string(root().join("src/manual.rs")).expect("the manual");
    let front = quoted(&fs::read_to_string(root().join("README.md")).expect("README"));
    for page in pages() {
        let name = page
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name == "README" {
            continue;
        }
        assert!(manual.contains(&format!("pub mod {name} {{}}")), "{name}");
        let is_named = front
            .iter()
            .any(|quoted| quoted.trim_start_matches("manual::") == name);
        assert!(is_named, "README has no {name}");
    }
}

#[test]
fn every_example_is_on_the_front_page() {
    let front = fs::read_to_string(root().join("README.md")).expect("README");
    for example in fs::read_dir(root().join("examples")).expect("examples") {
        let path = example.expect("an example").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        assert!(
            path.is_dir() || front.contains(name),
            "README has no {name}"
        );
    }
}
