//! What is shown on a terminal, and not in a pipe.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use kinesis_blocking::fake::FakeKinesis;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{run, text, tool_for};

/// A terminal: what is written to the second is read from the first.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("its name");
    let end = open(
        name.as_c_str(),
        OFlags::RDWR | OFlags::NOCTTY,
        Mode::empty(),
    );
    (File::from(master), end.expect("its other end"))
}

/// Everything that is written to a terminal until nobody has it open any more.
fn read_all(mut master: File) -> String {
    let mut shown = Vec::new();
    // Linux says at the end that the terminal is broken.
    let _ = master.read_to_end(&mut shown);
    text(&shown)
}

/// What a command shows whose standard output and error are a terminal.
fn shown(command: &mut Command, input: &'static [u8]) -> String {
    let (master, end) = terminal();
    let error = end.try_clone().expect("another handle");
    command.stdin(Stdio::piped()).stdout(end).stderr(error);
    command.env("TERM", "xterm");
    let mut child = command.spawn().expect("started");
    // The command holds the terminal open as well, until it gets others.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, input)));
    let shown = read_all(master);
    writer.join().expect("written");
    assert!(child.wait().expect("ended").success(), "{shown}");
    shown
}

const ESCAPE: char = '\x1b';

#[test]
fn colours_and_progress_are_for_terminals() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let server = kinesis.serve().expect("a socket");
    let mut put = tool_for(&server, "put");
    let told = shown(put.arg("--stream=orders"), b"one\ntwo\n");
    assert!(told.contains("lines, "), "no progress in {told:?}");
    for (tool, arguments) in [
        (
            "tail",
            &["--from=trim_horizon", "--until-caught-up", "--format=json"][..],
        ),
        ("shards", &[]),
        ("shards", &["--format=json"]),
    ] {
        let command = |more: &[&str]| {
            let mut command = tool_for(&server, tool);
            command.arg("--stream=orders").args(arguments).args(more);
            command
        };
        let on_terminal = shown(&mut command(&[]), b"");
        assert!(on_terminal.contains(ESCAPE), "{tool}: {on_terminal:?}");
        let plain = shown(command(&[]).env("NO_COLOR", "1"), b"");
        assert!(!plain.contains(ESCAPE), "{tool}: {plain:?}");
        let never = shown(&mut command(&["--color=never"]), b"");
        assert!(!never.contains(ESCAPE), "{tool}: {never:?}");
        let piped = run(&mut command(&[]), "");
        assert!(!text(&piped.stdout).contains(ESCAPE), "{tool}");
        let always = run(&mut command(&["--color=always"]), "");
        assert!(text(&always.stdout).contains(ESCAPE), "{tool}");
        assert_eq!(text(&piped.stderr), "", "{tool}");
    }
}

#[test]
fn in_a_pipe_there_is_no_progress() {
    let kinesis = FakeKinesis::new().with_stream("orders", 2);
    let server = kinesis.serve().expect("a socket");
    let put = run(
        tool_for(&server, "put").arg("--stream=orders"),
        "one\ntwo\n",
    );
    let told = text(&put.stderr);
    assert!(told.starts_with("put: 2 records delivered"), "{told:?}");
    assert_eq!(told.lines().count(), 1, "{told:?}");
    assert_eq!(text(&put.stdout), "");
}
