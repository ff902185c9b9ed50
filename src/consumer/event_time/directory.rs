//! One file a participant, `orders-0.watermark`, put in its place whole by a rename:
//!
//! ```text
//! {"subtask":"orders-0","run":123,"beat":17,"watermark_ms":1700000000000}
//! ```
//!
//! A beat is a report. No time of another machine is looked at: whoever reads the file notes by its own
//! clock when the beat last changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::consumer::event_time::participants::Participants;
use crate::consumer::event_time::tracker::{WatermarkReport, WatermarkTracker};
use crate::model::{Escaped, Timestamp};
use crate::sys::lock::lock;
use crate::sys::percent;

/// Aligns consumers of several processes that have a directory in common, each with a small file in it.
///
/// Clocks of machines are not compared, and a reader never sees half a file. A process that was killed
/// leaves its file, which nobody waits for after the timeout.
///
/// ```
/// # fn main() -> kinesis_blocking::Result<()> {
/// use kinesis_blocking::fake::FakeKinesis;
/// use kinesis_blocking::{Consumer, DirectoryWatermarkTracker};
///
/// let client = FakeKinesis::new().with_stream("orders", 2).client();
/// let folder = tempfile::tempdir().expect("a temporary folder");
/// let tracker = DirectoryWatermarkTracker::new(folder.path());
/// let builder = Consumer::builder(client).stream("orders").subtask(0, 2);
/// let first_of_two = builder.watermark_tracker(tracker).start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DirectoryWatermarkTracker {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    participants: Participants,
    /// The run and beat of each participant, as of the last look.
    beats: BTreeMap<String, (u64, u64)>,
    /// Reports made by this tracker.
    beat: u64,
    /// The last of each subtask that reports here.
    own: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    subtask: String,
    run: u64,
    beat: u64,
    /// `None`: not to be waited for.
    watermark_ms: Option<i64>,
}

impl DirectoryWatermarkTracker {
    /// Names the directory, which has to exist.
    pub fn new(directory: impl Into<PathBuf>) -> DirectoryWatermarkTracker {
        DirectoryWatermarkTracker {
            directory: directory.into(),
            state: Mutex::default(),
        }
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        let name = file_name(&entry.subtask);
        let text = serde_json::to_string(entry)?;
        // Of this run alone: a process that is just being replaced may still write.
        let temporary = self.directory.join(format!("{name}.{}.tmp", entry.run));
        fs::write(&temporary, text)?;
        fs::rename(
            &temporary,
            self.directory.join(format!("{name}.{EXTENSION}")),
        )
    }

    /// Everybody's last report. What cannot be read is of nobody who is alive.
    fn read(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.directory)? {
            let path = file?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != EXTENSION)
            {
                continue;
            }
            match entry(&path) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    let said = format!("{}: {error}; it is left out", path.display());
                    log::warn!("{}", Escaped(said));
                }
            }
        }
        Ok(entries)
    }
}

impl WatermarkTracker for DirectoryWatermarkTracker {
    fn update(&self, report: &WatermarkReport<'_>) -> io::Result<Option<Timestamp>> {
        let mut state = lock(&self.state);
        if let Some(entry) = state.next_entry(report) {
            self.write(&entry)?;
            state.own.insert(entry.subtask.clone(), entry);
        }
        for entry in self.read()? {
            state.take(&entry, report);
        }
        state.participants.report(report);
        Ok(state.participants.lowest(report))
    }

    fn withdraw(&self, report: &WatermarkReport<'_>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.participants.withdraw(report);
        state.beat += 1;
        let beat = state.beat;
        let own = state.own.get_mut(report.subtask);
        let Some(entry) = own.filter(|own| own.run == report.run) else {
            return Ok(());
        };
        (entry.beat, entry.watermark_ms) = (beat, None);
        self.write(&entry.clone())
    }
}

impl State {
    /// Who only asks lets its last watermark grow old, and if there is none, says that it is there.
    fn next_entry(&mut self, report: &WatermarkReport<'_>) -> Option<Entry> {
        let last = self.own.get(report.subtask);
        let last = last.filter(|last| last.run == report.run);
        if report.watermark.is_none() && last.is_some_and(|last| last.watermark_ms.is_some()) {
            return None;
        }
        self.beat += 1;
        Some(Entry {
            subtask: report.subtask.to_owned(),
            run: report.run,
            beat: self.beat,
            watermark_ms: report.watermark.map(Timestamp::as_millis),
        })
    }

    /// Takes in what another has written, if that is new.
    fn take(&mut self, entry: &Entry, asks: &WatermarkReport<'_>) {
        let beat = (entry.run, entry.beat);
        let is_own = entry.subtask == asks.subtask;
        if is_own || self.beats.insert(entry.subtask.clone(), beat) == Some(beat) {
            return;
        }
        let watermark = entry.watermark_ms.map(Timestamp::from_millis);
        let report = WatermarkReport {
            run: entry.run,
            timeout: asks.timeout,
            ..WatermarkReport::new(&entry.subtask, watermark, asks.now)
        };
        self.participants.report(&report);
        if watermark.is_none() {
            self.participants.withdraw(&report);
        }
    }
}

/// Reads one file, of which there is always all or nothing.
fn entry(path: &Path) -> io::Result<Entry> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(ENTRY_BYTES_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// A name that every file system takes, and that no other subtask has.
fn file_name(subtask: &str) -> String {
    percent::encoded(subtask)
}

const EXTENSION: &str = "watermark";

/// Twice the longest subtask that a file name has room for, and the numbers.
const ENTRY_BYTES_MAX: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn update(
        tracker: &DirectoryWatermarkTracker,
        subtask: &str,
        watermark: impl Into<Option<i64>>,
        now: Instant,
    ) -> Option<i64> {
        let watermark = watermark.into().map(Timestamp::from_millis);
        let report = WatermarkReport::new(subtask, watermark, now);
        let lowest = tracker.update(&report).expect("answered");
        lowest.map(Timestamp::as_millis)
    }

    /// Two processes, as far as a directory can tell.
    fn two() -> (tempfile::TempDir, [DirectoryWatermarkTracker; 2]) {
        let folder = tempfile::tempdir().expect("a folder");
        let trackers = [0, 1].map(|_| DirectoryWatermarkTracker::new(folder.path()));
        (folder, trackers)
    }

    #[test]
    fn processes_see_each_others_watermarks() {
        let (folder, [one, other]) = two();
        let now = Instant::now();
        assert_eq!(update(&one, "orders-0", 9, now), Some(9));
        assert_eq!(update(&other, "orders-1", 4, now), Some(4));
        assert_eq!(update(&one, "orders-0", 9, now), Some(4));
        assert_eq!(update(&other, "orders-1", 3, now), Some(4), "never back");
        assert_eq!(update(&other, "orders-1", 12, now), Some(9));
        let files = fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!(files, 2, "nothing is left of the writing");
    }

    #[test]
    fn a_process_that_stopped_is_not_waited_for_by_anybodys_own_clock() {
        let (_folder, [one, other]) = two();
        let now = Instant::now();
        update(&other, "orders-1", 4, now);
        assert_eq!(update(&one, "orders-0", 9, now), Some(4));
        for seconds in [30, 60] {
            let later = now + Duration::from_secs(seconds);
            assert_eq!(update(&one, "orders-0", 9, later), Some(4), "{seconds}");
        }
        let later = now + TIMEOUT + Duration::from_millis(1);
        assert_eq!(update(&one, "orders-0", 9, later), Some(9));
        assert_eq!(update(&other, "orders-1", 5, later), Some(5));
        assert_eq!(update(&one, "orders-0", 9, later), Some(5), "it is back");
    }

    #[test]
    fn who_withdraws_is_not_waited_for_and_who_only_asks_grows_old() {
        let (_folder, [one, other]) = two();
        let now = Instant::now();
        update(&other, "orders-1", 4, now);
        assert_eq!(update(&one, "orders-0", 9, now), Some(4));
        let done = WatermarkReport::new("orders-1", None, now);
        other.withdraw(&done).expect("withdrawn");
        assert_eq!(update(&one, "orders-0", 9, now), Some(9));
        assert_eq!(update(&other, "orders-1", 6, now), Some(6));
        let later = now + TIMEOUT;
        assert_eq!(update(&one, "orders-0", 9, later), Some(6));
        assert_eq!(update(&other, "orders-1", None, later), Some(6));
        let too_late = later + TIMEOUT + Duration::from_millis(1);
        assert_eq!(update(&one, "orders-0", 9, too_late), Some(9));
    }

    #[test]
    fn what_is_no_report_is_passed_over() {
        let (folder, [one, _]) = two();
        for (name, text) in [
            ("half.watermark", "{\"subtask\":\"orders"),
            ("empty.watermark", ""),
            ("long.watermark", &"x".repeat(1 << 20)),
            ("notes.txt", "not ours"),
        ] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        assert_eq!(update(&one, "orders-0", 9, Instant::now()), Some(9));
    }

    #[test]
    fn without_its_directory_it_says_so() {
        let tracker = DirectoryWatermarkTracker::new("/no/such/directory");
        let report = WatermarkReport::new("orders-0", None, Instant::now());
        let error = tracker.update(&report).expect_err("no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn names_of_files_tell_subtasks_apart() {
        assert_eq!(file_name("orders-0"), "orders-0");
        assert_eq!(file_name("../a b%"), "..%2Fa%20b%25");
    }
}
