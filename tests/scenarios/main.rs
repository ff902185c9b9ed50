//! Tests and known defects of Flink's connector and of the KPL, and which test here holds each: the pages
//! beside this file. Every test that they name exists.

mod tables;

use std::collections::BTreeMap;
use std::fs;

#[test]
fn every_test_that_the_page_names_exists() {
    let mut named = 0;
    for line in page().lines().filter(|line| line.starts_with('|')) {
        let row = Row::of(line);
        for (file, test) in row.tests() {
            let text = fs::read_to_string(file).unwrap_or_else(|_| panic!("{file}: no such file"));
            let code = format!("fn {test}(");
            let at = text
                .find(&code)
                .unwrap_or_else(|| panic!("{file} has no test {test}"));
            let before = text[..at].trim_end();
            assert!(before.ends_with("#[test]"), "{file}: {test} is no test");
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn every_row_names_a_test_or_says_why_there_is_none() {
    for line in page()
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with("| D"))
    {
        let row = Row::of(line);
        let reason = row.cells.get(1).map_or("", String::as_str);
        let told = !row.tests().is_empty() || reason.starts_with("–: ");
        assert!(told, "{line}");
    }
}

#[test]
fn each_of_the_36_defects_has_its_row() {
    let page = page();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| D"));
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for row in rows {
        let digits = row.split(' ').next().unwrap_or_default();
        *numbers
            .entry(digits.parse().expect("a number"))
            .or_default() += 1;
    }
    let expected = (1..=36).map(|number| (number, 1));
    assert!(numbers.into_iter().eq(expected));
}

fn page() -> String {
    fs::read_to_string("tests/scenarios/flink_consumer.md").expect("the page")
}

struct Row {
    cells: Vec<String>,
}

impl Row {
    fn of(line: &str) -> Row {
        let cells = line.trim_matches('|').split('|');
        Row {
            cells: cells.map(|cell| cell.trim().to_owned()).collect(),
        }
    }

    /// Tests stand in the second cell: `file: name`.
    fn tests(&self) -> Vec<(&str, &str)> {
        let cell = self.cells.get(1).map_or("", String::as_str);
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.filter_map(|test| test.split_once(": ")).collect()
    }
}
