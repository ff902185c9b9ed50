//! The house rules that the compiler can't see: who may import whom, and where the outside world
//! may be touched. A broken rule names the file, the line, the rule and its reason.
//!
//! The checker reads source as text: comments, string literals and unit tests are blanked first,
//! and `use` trees are written out, so that `use std::thread::{self, sleep}` is seen as what it is.
//! The last tests run it on small trees made for the purpose, right and wrong ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors, lowest first. A room imports rooms of lower floors only; rooms of one floor are blind to
/// each other. A new room has to be put on a floor here before the tests pass.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["aggregation", "error", "metrics"],
    &["sys"],
    &["http", "retry", "sign"],
    &["config"],
    &["credentials"],
    &["client"],
    &["consumer", "fake", "producer"],
    &["fuzzing", "manual"],
];

/// Words that may stand in these files, or below these folders, only; and why.
const GATES: &[(&str, &[&str], &str)] = &[
    (
        "thread::spawn",
        &[
            "consumer/threads.rs",
            "producer/threads.rs",
            "fake/server.rs",
            // A program's two pipes are read side by side, or it could wait for ever.
            "sys/process.rs",
        ],
        "threads start in one file of a room",
    ),
    (
        "thread::Builder",
        &["sys/thread.rs"],
        "start through sys::thread: every thread has a name and a joiner",
    ),
    (
        "thread::scope",
        &[],
        "start through sys::thread: every thread has a name and a joiner",
    ),
    (
        "thread::sleep",
        &[],
        "wait on sys::clock beside the stop signal, so that close() is prompt",
    ),
    ("Instant::now", &["sys/clock.rs"], "ask sys::clock"),
    ("SystemTime::now", &["sys/clock.rs"], "ask sys::clock"),
    ("env::var", &["sys/env.rs"], "ask sys::env"),
    ("unbounded(", &[], "every queue has a limit"),
    ("unbounded::<", &[], "every queue has a limit"),
    (
        "ureq",
        &["http.rs", "http/"],
        "the network is behind http::HttpTransport",
    ),
    ("aws_sigv4", &["sign.rs", "sign/"], "signing is behind sign"),
    (
        "aws_credential_types",
        &["sign.rs"],
        "signing is behind sign",
    ),
    (
        "client::wire",
        &["client.rs", "client/"],
        "only the client knows the wire; the fake checks it by not sharing it",
    ),
    (
        "use crate::{",
        &[],
        "one `use crate::room::…` for each room, so that floors can be read",
    ),
    (
        ".unwrap()",
        &[],
        "return an error, or expect(\"why this cannot fail\")",
    ),
];

/// Imports of a module itself, after which its gate could not be seen: `use std::thread;` makes
/// `thread::spawn` look like ours.
const MODULE_GATES: &[(&str, &[&str], &str)] = &[(
    "std::thread",
    &["sys/thread.rs"],
    "name the item, as in std::thread::JoinHandle, so that `thread::` is sys::thread everywhere",
)];

/// Docs included, unit tests not.
const LONGEST_FILE_LINES: usize = 500;

#[test]
fn every_room_has_a_floor() {
    assert_none(homeless(&sources()));
}

/// Beside these only licences and what begins with a dot. What a build makes is in target.
#[test]
fn the_top_level_has_what_was_agreed_only() {
    let agreed = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "examples",
        "fuzz",
        "src",
        "target",
        "tests",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root).expect("the project");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let is_agreed = |name: &String| {
        let name = name.as_str();
        agreed.contains(&name) || name.starts_with('.') || name.starts_with("LICENSE")
    };
    let others: Vec<_> = names.filter(|name| !is_agreed(name)).collect();
    assert_eq!(others, [""; 0]);
}

#[test]
fn rooms_import_lower_floors_only() {
    assert_none(upward_imports(&sources()));
}

#[test]
fn the_outside_world_is_touched_at_its_gates_only() {
    assert_none(open_gates(&sources()));
}

#[test]
fn files_are_one_idea() {
    assert_none(long_files(&sources()));
}

// ── the rules ──────────────────────────────────────────────────────────────────────────────────

/// One source file: its path below src/, and its code with all else blanked.
struct Source {
    path: String,
    code: String,
    /// Each `use`, written out path by path.
    imports: Vec<(usize, String)>,
    lines_before_tests: usize,
}

fn homeless(sources: &[Source]) -> Vec<String> {
    let rooms = sources.iter().filter(|source| {
        let room = source.room();
        room != "lib" && floor_of(room).is_none()
    });
    rooms
        .map(|source| {
            format!(
                "src/{}: put the room {} on a floor in FLOORS",
                source.path,
                source.room()
            )
        })
        .collect()
}

fn upward_imports(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let room = source.room();
        let Some(floor) = floor_of(room) else {
            continue;
        };
        for (line, path) in source.own_paths() {
            let other = first_word(&path);
            let complaint = match floor_of(other) {
                _ if other == room => continue,
                Some(below) if below < floor => continue,
                Some(_) => format!("{room} may not import {other}"),
                None => format!("`crate::{other}` is no room: name the room it comes from"),
            };
            broken.push(format!("src/{}:{line}: {complaint}", source.path));
        }
    }
    broken
}

fn open_gates(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let lines = (1..).zip(source.code.lines().map(str::to_owned));
        let imports = source.imports.iter().cloned();
        let mut seen = BTreeMap::new();
        for (line, text) in lines.chain(imports) {
            for (word, gates, why) in GATES {
                if has_word(&text, word) && !source.is_at(gates) {
                    seen.insert((line, *word), *why);
                }
            }
            for (module, gates, why) in MODULE_GATES {
                if text == *module && !source.is_at(gates) {
                    seen.insert((line, *module), *why);
                }
            }
        }
        for ((line, word), why) in seen {
            broken.push(format!("src/{}:{line}: `{word}`: {why}", source.path));
        }
    }
    broken
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let long = sources
        .iter()
        .filter(|source| source.lines_before_tests > LONGEST_FILE_LINES);
    long.map(|source| {
        format!(
            "src/{}: {} lines without its tests, more than {LONGEST_FILE_LINES}: it is two ideas",
            source.path, source.lines_before_tests
        )
    })
    .collect()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

fn assert_none(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

// ── reading source ─────────────────────────────────────────────────────────────────────────────

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let bare = blank_comments_and_literals(text);
        let (code, test_lines) = blank_unit_tests(&bare);
        Source {
            path: path.to_owned(),
            imports: imports(&code),
            lines_before_tests: text.lines().count() - test_lines,
            code,
        }
    }

    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    fn is_at(&self, gates: &[&str]) -> bool {
        gates
            .iter()
            .any(|gate| self.path == *gate || gate.ends_with('/') && self.path.starts_with(gate))
    }

    /// Where this file stands in the crate: `consumer/threads.rs` is `["consumer", "threads"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').collect()
    }

    /// Every path into this crate, from its root, with the line it stands in.
    fn own_paths(&self) -> Vec<(usize, String)> {
        let lines = (1..).zip(self.code.lines());
        let inline = lines.filter(|(_, line)| !line.contains("use crate::"));
        let inline = inline.flat_map(|(line, text)| {
            paths_in(text)
                .into_iter()
                .map(move |path| (line, path.to_owned()))
        });
        let mut found = Vec::new();
        for (line, path) in inline.chain(self.imports.iter().cloned()) {
            found.extend(self.path_from_root(&path).map(|path| (line, path)));
        }
        found.sort();
        found.dedup();
        found
    }

    /// `crate::http::X` is `http::X`; so is `super::http::X` in a file at the top of src/.
    fn path_from_root(&self, path: &str) -> Option<String> {
        if let Some(rest) = path.strip_prefix("crate::") {
            return Some(rest.to_owned());
        }
        let mut module = self.module();
        let mut rest = path;
        while let Some(above) = rest.strip_prefix("super::") {
            module.pop();
            rest = above;
        }
        let climbed_out = rest.len() < path.len() && module.is_empty();
        climbed_out.then(|| rest.to_owned())
    }
}

/// Comments, string and character literals become blanks; lines stay where they are.
fn blank_comments_and_literals(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let skipped = comment_or_literal_len(rest);
        if skipped == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            // A word is taken whole, so that the r of `for"` is not the start of a raw string.
            let word = rest.len() - rest.trim_start_matches(is_word).len();
            let taken = if is_raw_string(rest) {
                next
            } else {
                word.max(next)
            };
            blanked.push_str(&rest[..taken]);
            rest = &rest[taken..];
        } else {
            blanked.extend(
                rest[..skipped]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            rest = &rest[skipped..];
        }
    }
    blanked
}

fn is_raw_string(rest: &str) -> bool {
    let rest = rest.strip_prefix('b').unwrap_or(rest);
    rest.strip_prefix('r')
        .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
}

/// How long the comment or literal is that stands at the start; 0 if none does.
fn comment_or_literal_len(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if is_raw_string(rest) {
        let hashes = rest.chars().skip_while(|c| *c != '#' && *c != '"');
        let end = format!("\"{}", "#".repeat(hashes.take_while(|c| *c == '#').count()));
        let start = rest.find('"').map_or(rest.len(), |start| start + 1);
        let close = rest[start..].find(&end);
        return close.map_or(rest.len(), |close| start + close + end.len());
    }
    let quote = rest.strip_prefix('b').unwrap_or(rest);
    let prefix = rest.len() - quote.len();
    if quote.starts_with('"') {
        return prefix + closing_quote(quote, '"');
    }
    // A lifetime has no closing quote behind its first character.
    let mut chars = quote.chars();
    if chars.next() == Some('\'') && (chars.next() == Some('\\') || chars.next() == Some('\'')) {
        return prefix + closing_quote(quote, '\'');
    }
    0
}

fn closing_quote(quoted: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in quoted.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    quoted.len()
}

/// Blanks each item under `#[cfg(test)]`; also says over how many lines.
fn blank_unit_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut lines = 0;
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let end = start + item_len(&rest[start..]);
        let item = &rest[start..end];
        kept.push_str(&rest[..start]);
        kept.extend(item.chars().filter(|c| *c == '\n'));
        lines += item.lines().count();
        rest = &rest[end..];
    }
    kept.push_str(rest);
    (kept, lines)
}

/// To the end of the item at the start: its `;`, or the brace that closes its first one.
fn item_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = code[at..].find("use ").map(|start| at + start) {
        at = start + "use ".len();
        let is_word_end = code[..start].ends_with(is_word);
        let Some(end) = code[at..].find(';').map(|end| at + end) else {
            break;
        };
        if !is_word_end {
            let line = code[..start].lines().count().max(1);
            let line = line + usize::from(code[..start].ends_with('\n'));
            let mut paths = Vec::new();
            write_out(String::new(), &code[at..end], &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// `a::{b, c::{self, d as e}}` is `a::b`, `a::c` and `a::c::d`.
fn write_out(prefix: String, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        let path = format!("{prefix}{path}");
        found.push(path.trim_end_matches("::self").to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inside = tree[open + 1..].trim_end().trim_end_matches('}');
    // `trim_end_matches` takes all closing braces; those of inner groups are given back.
    let missing = inside.matches('{').count() - inside.matches('}').count();
    let inside = format!("{inside}{}", "}".repeat(missing));
    let mut depth = 0_usize;
    let branches = inside.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for branch in branches.filter(|branch| !branch.trim().is_empty()) {
        write_out(prefix.clone(), branch, found);
    }
}

/// Every `crate::…` and `super::…` in a line of code.
fn paths_in(line: &str) -> Vec<&str> {
    let starts = line
        .match_indices("crate::")
        .chain(line.match_indices("super::"));
    let whole = starts.filter(|(at, _)| {
        let before = &line[..*at];
        !before.ends_with(is_word) && !before.ends_with("::")
    });
    whole
        .map(|(at, _)| {
            let path = &line[at..];
            let end = path.find(|c| !is_word(c) && c != ':').unwrap_or(path.len());
            &path[..end]
        })
        .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let starts_inside = |at: usize| word.starts_with(is_word) && text[..at].ends_with(is_word);
    text.match_indices(word).any(|(at, _)| !starts_inside(at))
}

fn first_word(path: &str) -> &str {
    let end = path.find(|c| !is_word(c)).unwrap_or(path.len());
    &path[..end]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every source file but those of unit tests.
fn sources() -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src/ can be read") {
            let path = entry.expect("an entry of src/").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no source file below {}", src.display());
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file can be read");
        let path = path.strip_prefix(&src).expect("below src/");
        (path.display().to_string(), text)
    };
    tree(paths.iter().map(read))
}

/// Unit tests may stand in `tests.rs`, or below a folder `tests`, of the module that they test.
fn tree(files: impl Iterator<Item = (String, String)>) -> Vec<Source> {
    let is_tests = |path: &str| {
        path.split('/')
            .skip(1)
            .any(|part| part == "tests" || part == "tests.rs")
    };
    files
        .filter(|(path, _)| !is_tests(path))
        .map(|(path, text)| Source::new(&path, &text))
        .collect()
}

// ── the rules can fail ─────────────────────────────────────────────────────────────────────────

fn made_up(files: &[(&str, &str)]) -> Vec<Source> {
    tree(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned())),
    )
}

#[test]
fn a_room_without_a_floor_is_found() {
    let tree = made_up(&[
        ("lib.rs", "mod attic;"),
        ("attic/mod.rs", ""),
        ("sys/mod.rs", ""),
    ]);
    assert_eq!(
        homeless(&tree),
        ["src/attic/mod.rs: put the room attic on a floor in FLOORS"]
    );
}

#[test]
fn imports_of_lower_floors_and_of_the_own_room_are_right() {
    let tree = made_up(&[
        ("lib.rs", "pub use client::Client;"),
        (
            "client/mod.rs",
            "use crate::error::{Error, Result};\nuse crate::model::*;\nuse crate::client::call::Call;\n\
             // use crate::producer::Producer;\n/// See [`crate::producer::Producer`].\n\
             const A: &str = \"crate::consumer::Consumer\";\n\
             #[cfg(test)]\nmod tests {\n    use crate::fake::FakeKinesis;\n}\n",
        ),
        (
            "client/call.rs",
            "use super::wire::Request;\nfn a() -> crate::error::Error {}\n",
        ),
        ("client/tests.rs", "use crate::fake::FakeKinesis;"),
    ]);
    assert_eq!(upward_imports(&tree), [""; 0]);
}

#[test]
fn imports_of_the_same_or_a_higher_floor_are_found() {
    let rows = [
        (
            "consumer/mod.rs",
            "use crate::producer::Producer;",
            "consumer may not import producer",
        ),
        (
            "http.rs",
            "use crate::client::Client;",
            "http may not import client",
        ),
        (
            "sign.rs",
            "fn a(_: &crate::credentials::Chain) {}",
            "sign may not import credentials",
        ),
        (
            "retry.rs",
            "use super::client::Client;",
            "retry may not import client",
        ),
        (
            "sys/clock.rs",
            "use super::super::http;",
            "sys may not import http",
        ),
        (
            "fake/state.rs",
            "pub(crate) use crate::consumer::{\n    Record,\n};",
            "fake may not import consumer",
        ),
        (
            "model/a/b.rs",
            "use crate::error::Error;",
            "model may not import error",
        ),
        (
            "config/mod.rs",
            "use crate::Client;",
            "`crate::Client` is no room: name the room it comes from",
        ),
    ];
    for (path, text, complaint) in rows {
        let found = upward_imports(&made_up(&[(path, text)]));
        assert_eq!(found, [format!("src/{path}:1: {complaint}")], "{text}");
    }
}

#[test]
fn what_stands_at_its_gate_is_right() {
    let tree = made_up(&[
        (
            "sys/thread.rs",
            "use std::thread::{self, Builder};\nfn a() { thread::Builder::new() }",
        ),
        (
            "sys/clock.rs",
            "fn a() { Instant::now(); SystemTime::now() }",
        ),
        ("sys/env.rs", "fn a() { std::env::var_os(NAME) }"),
        (
            "consumer/threads.rs",
            "use crate::sys::thread;\nfn a() { thread::spawn(b) }",
        ),
        ("http.rs", "use ureq::Agent;"),
        (
            "http/resolve.rs",
            "use ureq::unversioned::resolver::Resolver;",
        ),
        (
            "sign.rs",
            "use aws_credential_types::Credentials;\nuse aws_sigv4::http_request::sign;",
        ),
        ("client/call.rs", "use crate::client::wire::Request;"),
        (
            "producer/mod.rs",
            "// no unbounded() here, and no .unwrap()\nuse std::thread::JoinHandle;\n\
             const A: &str = r#\"Instant::now \"ureq\" \"#;\nfn bounded(a: u8) { a.unwrap_or(b'\"') }\n\
             #[cfg(test)]\nmod tests {\n    #[test]\n    fn a() { b().unwrap(); { std::thread::sleep(c) } }\n}\n",
        ),
    ]);
    assert_eq!(open_gates(&tree), [""; 0]);
}

#[test]
fn what_stands_outside_its_gate_is_found() {
    let rows = [
        (
            "client/call.rs",
            "fn a() { std::thread::spawn(b) }",
            "thread::spawn",
        ),
        (
            "client/call.rs",
            "use crate::sys::thread::spawn;",
            "thread::spawn",
        ),
        (
            "consumer/mod.rs",
            "fn a() { thread::spawn(b) }",
            "thread::spawn",
        ),
        ("producer/threads.rs", "use std::thread;", "std::thread"),
        (
            "producer/threads.rs",
            "use std::{sync::Arc, thread};",
            "std::thread",
        ),
        (
            "sys/stop.rs",
            "use std::thread::{Builder, JoinHandle};",
            "thread::Builder",
        ),
        (
            "fake/server.rs",
            "fn a() { std::thread::scope(b) }",
            "thread::scope",
        ),
        (
            "consumer/threads.rs",
            "fn a() { std::thread::sleep(b) }",
            "thread::sleep",
        ),
        (
            "consumer/threads.rs",
            "use std::{thread::{sleep, JoinHandle}, time};",
            "thread::sleep",
        ),
        (
            "producer/limiter.rs",
            "fn a() { Instant::now() }",
            "Instant::now",
        ),
        (
            "sign.rs",
            "fn a() { std::time::SystemTime::now() }",
            "SystemTime::now",
        ),
        (
            "credentials/profile.rs",
            "fn a() { env::var_os(B) }",
            "env::var",
        ),
        (
            "consumer/queue.rs",
            "fn a() { let (b, c) = unbounded(); }",
            "unbounded(",
        ),
        (
            "consumer/queue.rs",
            "fn a() { channel::unbounded::<u8>() }",
            "unbounded::<",
        ),
        ("client/mod.rs", "use ureq::Agent;", "ureq"),
        ("client/mod.rs", "fn a(_: aws_sigv4::Error) {}", "aws_sigv4"),
        (
            "credentials/mod.rs",
            "use aws_credential_types::Credentials;",
            "aws_credential_types",
        ),
        (
            "fake/read.rs",
            "use crate::client::wire::Request;",
            "client::wire",
        ),
        (
            "fake/read.rs",
            "use crate::client::{Client, wire};",
            "client::wire",
        ),
        ("fake/read.rs", "use crate::{model};", "use crate::{"),
        ("config/mod.rs", "fn a() { b().unwrap() }", ".unwrap()"),
        (
            "config/mod.rs",
            "#[cfg(test)]\nuse a::b;\nfn a(c: &'a str) { b().unwrap() }",
            ".unwrap()",
        ),
    ];
    for (path, text, word) in rows {
        let found = open_gates(&made_up(&[(path, text)]));
        let place = format!("src/{path}:{}: `{word}`: ", text.lines().count());
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].starts_with(&place), "{path}: {text}: {found:?}");
    }
}

#[test]
fn a_file_is_measured_without_its_tests() {
    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "// a line\n".repeat(300)
    );
    let at = format!("{}{tests}", "//! a line\n".repeat(500));
    let above = format!("{}{tests}", "//! a line\n".repeat(501));
    assert_eq!(long_files(&made_up(&[("model/mod.rs", &at)])), [""; 0]);
    assert_eq!(
        long_files(&made_up(&[("model/mod.rs", &above)])),
        ["src/model/mod.rs: 501 lines without its tests, more than 500: it is two ideas"]
    );
}
