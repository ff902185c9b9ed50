//! Runs a helper program, such as a profile's `credential_process`: without a shell, bounded in time and output.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam::channel::{self, Receiver};

use crate::sys::clock::{Clock, SystemClock};
use crate::sys::stop::Stop;
use crate::sys::thread;

/// Runs a program to its end and returns what it printed to standard output.
///
/// Blocks for `timeout` at most; a program that runs longer is killed. Standard input is empty.
///
/// # Errors
/// The program cannot be started, fails (the error has the first line of standard error), runs too long or prints too
/// much. Never quotes standard output: it holds credentials.
pub(crate) fn run(words: &[String], timeout: Duration) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program} could not be started: {error}"))?;
    let outcome = finish(&mut child, timeout);
    // A child that was killed and not waited for stays in the table of processes. Neither call matters for one that
    // has ended.
    let _ = child.kill();
    let _ = child.wait();
    outcome.map_err(|wrong| format!("{program} {wrong}"))
}

fn finish(child: &mut Child, timeout: Duration) -> Result<Vec<u8>, String> {
    let clock: &dyn Clock = &SystemClock;
    let deadline = clock.now() + timeout;
    let printed = read_beside("kin-cred-out", child.stdout.take())?;
    let complaint = read_beside("kin-cred-err", child.stderr.take())?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if clock.now() >= deadline => {
                return Err(format!("did not end within {} s", timeout.as_secs()));
            }
            Ok(None) => clock.wait_until(clock.now() + POLL, &Stop::never()),
            Err(error) => return Err(format!("could not be waited for: {error}")),
        };
    };
    // A process that it left behind may hold the pipes open; what it printed itself is there by now.
    let collect = |pipe: Receiver<Vec<u8>>| pipe.recv_timeout(PIPE_TIMEOUT);
    let printed = collect(printed).map_err(|_| "left its standard output open".to_owned())?;
    if !status.success() {
        return Err(failure(status, &collect(complaint).unwrap_or_default()));
    }
    match printed.len() > OUTPUT_BYTES_MAX {
        true => Err(format!("printed more than {OUTPUT_BYTES_MAX} bytes")),
        false => Ok(printed),
    }
}

/// Reads a pipe on a thread of its own: a program that fills one pipe while the other is read would never end.
fn read_beside(
    name: &str,
    pipe: Option<impl Read + Send + 'static>,
) -> Result<Receiver<Vec<u8>>, String> {
    let (sender, receiver) = channel::bounded(1);
    let body = move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before a failure is all there is.
            let _ = pipe
                .take(OUTPUT_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes);
        }
        // Nobody listens any more if the program ran too long.
        let _ = sender.send(bytes);
    };
    thread::spawn(name.to_owned(), STACK_BYTES, body).map_err(|error| error.to_string())?;
    Ok(receiver)
}

fn failure(status: ExitStatus, complaint: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint);
    let line = complaint.lines().find(|line| !line.trim().is_empty());
    match line {
        None => format!("failed ({status})"),
        Some(line) => {
            let line: String = line.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
            format!("failed ({status}): {line}")
        }
    }
}

/// A document with credentials has some 2 KB; tokens of 20 KB have been seen.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Long enough to say what is wrong, short enough for a line of a log.
const COMPLAINT_CHARS_MAX: usize = 300;

/// How often the end of the program is looked for. The standard library has no wait with a time-out.
const POLL: Duration = Duration::from_millis(10);

/// How long the end of a pipe is waited for behind the end of its program.
const PIPE_TIMEOUT: Duration = Duration::from_secs(1);

const STACK_BYTES: usize = 128 << 10;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Result<String, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        run(&words, timeout).map(|printed| String::from_utf8(printed).expect("text"))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_program_prints_is_returned() {
        assert_eq!(
            sh("echo $((6 * 7)); echo note >&2", LONG),
            Ok("42\n".to_owned())
        );
        assert_eq!(
            sh("cat", LONG),
            Ok(String::new()),
            "standard input is empty"
        );
    }

    #[test]
    fn a_failure_carries_the_first_line_of_standard_error_and_no_output() {
        let wrong = sh("echo hidden; echo >&2; echo log in first >&2; exit 3", LONG);
        assert_eq!(
            wrong,
            Err("sh failed (exit status: 3): log in first".to_owned())
        );
        let wrong = run(&["/no/such/program".to_owned()], LONG).expect_err("nothing there");
        assert!(
            wrong.starts_with("/no/such/program could not be started: "),
            "{wrong}"
        );
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let wrong = sh("exec sleep 600", Duration::from_millis(50));
        assert_eq!(wrong, Err("sh did not end within 0 s".to_owned()));
    }

    #[test]
    fn output_has_a_limit_and_blocks_nothing() {
        // Both pipes are fuller than the kernel keeps.
        let wrong = sh(
            "head -c 200000 /dev/zero >&2; head -c 200000 /dev/zero",
            LONG,
        );
        assert!(wrong.is_err_and(
            |wrong| wrong.contains("more than 65536 bytes") || wrong.contains("failed")
        ));
        let right = sh(
            "head -c 60000 /dev/zero >&2; head -c 65536 /dev/zero | tr '\\0' x",
            LONG,
        );
        assert_eq!(right.map(|text| text.len()), Ok(65_536));
    }

    #[test]
    fn a_process_left_behind_does_not_hold_the_caller() {
        let outcome = sh("sleep 3 & echo done", LONG);
        assert_eq!(outcome, Err("sh left its standard output open".to_owned()));
    }
}
