//! Configurations and the producer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The pages, and how many rows there are at least: a page that lost its rows would prove nothing.
const PAGES: [(&str, usize); 2] = [
    (include_str!("configuration.md"), 25),
    (include_str!("producer.md"), 90),
];

#[test]
fn every_scenario_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut tests);
    }
    for (page, least) in PAGES {
        let rows = page.lines().filter(|line| line.starts_with("| "));
        let mut count = 0;
        for row in rows.filter(|row| !row.starts_with("| ---") && !row.starts_with("| scenario")) {
            let named: Vec<_> = named_in(row).collect();
            assert!(!named.is_empty(), "no test is named in: {row}");
            for name in named {
                assert!(tests.contains(name), "no test is called {name}");
            }
            count += 1;
        }
        assert!(count >= least, "{count} rows");
    }
}

/// The names in the last column.
fn named_in(row: &str) -> impl Iterator<Item = &str> {
    let column = row.rsplit('|').nth(1).unwrap_or_default();
    column.split('`').skip(1).step_by(2)
}

fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source");
            tests.extend(tests_in(&text));
        }
    }
}

/// What stands between `fn` and a parenthesis, behind `#[test]`.
fn tests_in(text: &str) -> impl Iterator<Item = String> {
    let behind = text.split("#[test]").skip(1);
    behind.filter_map(|text| {
        let (_, name) = text.split_once("fn ")?;
        let (name, _) = name.split_once('(')?;
        Some(name.to_owned())
    })
}
