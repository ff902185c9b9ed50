//! Shows and changes checkpoint files.
//!
//! ```text
//! cargo run --release --example checkpoint -- show orders.checkpoint
//! cargo run --release --example checkpoint -- rewind orders.checkpoint --to 2026-01-31T12:00:00Z --dry-run
//! ```
//!
//! What is looked at only may be in use. What is changed may not, and what was there before is kept
//! in `….previous`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kinesis_blocking::{
    Checkpoint, CheckpointStore, Commit, Error, FileCheckpointStore, ShardPosition, ShardRef,
    StartPosition, Timestamp,
};

mod common {
    pub mod calendar;
    pub mod logging;
    pub mod moment;
    pub mod saved;
    pub mod table;
}

use common::calendar;
use common::logging;
use common::moment;
use common::saved;
use common::table::table;

/// Shows, compares, merges, edits and rewinds checkpoint files
#[derive(Parser)]
#[command(name = "checkpoint", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print how far each shard has been read
    Show {
        file: PathBuf,
        /// What to print
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Print the shards whose positions differ
    Compare { before: PathBuf, after: PathBuf },
    /// Put several into one: of a shard that several know, the position that covers most counts
    Merge {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where to write; what is there already is merged as well
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        change: Change,
    },
    /// Set or forget positions of single shards, or give a stream another name
    Edit {
        file: PathBuf,
        /// The position is latest, trim_horizon, shard_end, a time, or a sequence number up to which
        /// all is done, with :N up to its user record N
        #[arg(long, value_name = "STREAM/SHARD=POSITION")]
        set: Vec<String>,
        /// Read a shard, or all shards of a stream, as if they were new
        #[arg(long, value_name = "STREAM[/SHARD]")]
        forget: Vec<String>,
        /// Take the positions over for a stream of another name
        #[arg(long, value_name = "STREAM=NAME")]
        rename: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Let everything that arrived since a time be read again
    Rewind {
        file: PathBuf,
        /// Such as 2026-01-31T12:00:00Z, or in seconds since 1970
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Only this stream; may be given several times
        #[arg(long = "stream", value_name = "NAME")]
        streams: Vec<String>,
        /// Rewind also shards of which the file does not say how old their position is
        #[arg(long)]
        assume_later: bool,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args)]
struct Change {
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the state that was committed with the positions, though it will not belong to them
    #[arg(long, conflicts_with = "drop_state")]
    keep_state: bool,
    /// Throw the state away that was committed with the positions
    #[arg(long)]
    drop_state: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    /// The checkpoint as Checkpoint::to_json writes it
    Json,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, or compared and equal; 1 something failed, or compared and different;
2 wrong arguments.";

fn main() -> ExitCode {
    logging::init();
    match run(Arguments::parse().what) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("checkpoint: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<ExitCode, String> {
    match what {
        What::Show { file, format } => show(&saved::read(&file)?, format),
        What::Compare { before, after } => return compare(&before, &after),
        What::Merge {
            files,
            output,
            change,
        } => merge(&files, &output, &change)?,
        What::Edit {
            file,
            set,
            forget,
            rename,
            change,
        } => {
            let edits = Edits::parse(&set, &forget, &rename)?;
            change.apply(&file, |checkpoint| edits.apply(checkpoint))?;
        }
        What::Rewind {
            file,
            to,
            streams,
            assume_later,
            change,
        } => {
            let rewind = Rewind {
                to: moment::read(&to).map_err(told)?,
                streams,
                assume_later,
            };
            change.apply(&file, |checkpoint| rewind.apply(checkpoint))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(error: Error) -> String {
    error.to_string()
}

fn show(commit: &Commit, format: Format) {
    let checkpoint = &commit.checkpoint;
    if let Format::Json = format {
        println!("{}", checkpoint.to_json());
        return;
    }
    let mut rows = vec![cells(&["STREAM", "SHARD", "COMPLETE TO", "POSITION"])];
    rows.extend(checkpoint.iter().map(|(shard, position)| {
        let time = checkpoint.complete_to(shard).map(calendar::show);
        let time = time.unwrap_or_else(|| "not known".to_owned());
        cells(&[
            &shard.stream,
            shard.shard_id.as_str(),
            &time,
            &shown(position),
        ])
    }));
    print!("{}", table(&rows));
    if let Some(state) = &commit.state {
        println!("and a state of {} bytes", state.len());
    }
}

fn cells(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn shown(position: &ShardPosition) -> String {
    match position {
        ShardPosition::Start(StartPosition::Latest) => "LATEST".to_owned(),
        ShardPosition::Start(StartPosition::TrimHorizon) => "TRIM_HORIZON".to_owned(),
        ShardPosition::Start(StartPosition::AtTimestamp(time)) => {
            format!("AT_TIMESTAMP {}", calendar::show(*time))
        }
        ShardPosition::After {
            sequence_number,
            sub_sequence_number,
        } => match sub_sequence_number {
            Some(sub) => format!("after {sequence_number}:{sub}"),
            None => format!("after {sequence_number}"),
        },
        ShardPosition::ShardEnd => "SHARD_END".to_owned(),
        _ => format!("{position:?}"),
    }
}

fn compare(before: &Path, after: &Path) -> Result<ExitCode, String> {
    let (before, after) = (saved::read(before)?, saved::read(after)?);
    let differences = differences(&before.checkpoint, &after.checkpoint);
    print!("{differences}");
    if before.state != after.state {
        println!("their states differ");
    }
    Ok(match before == after {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A table of the shards that differ; empty if none does.
fn differences(before: &Checkpoint, after: &Checkpoint) -> String {
    let shards = |checkpoint: &Checkpoint| {
        let shards = checkpoint.iter().map(|(shard, _)| shard.clone());
        shards.collect::<BTreeSet<_>>()
    };
    let position = |checkpoint: &Checkpoint, shard: &ShardRef| {
        checkpoint.position(shard).map_or("–".to_owned(), shown)
    };
    let all = shards(before).into_iter().chain(shards(after));
    let mut rows = Vec::new();
    for shard in all.collect::<BTreeSet<_>>() {
        let (old, new) = (position(before, &shard), position(after, &shard));
        if old != new {
            rows.push(cells(&[
                &shard.stream,
                shard.shard_id.as_str(),
                &old,
                "→",
                &new,
            ]));
        }
    }
    table(&rows)
}

fn merge(files: &[PathBuf], output: &Path, change: &Change) -> Result<(), String> {
    let mut commits = Vec::new();
    for file in files {
        commits.push((file, saved::read(file)?));
    }
    let with_state = commits.iter().find(|(_, commit)| commit.state.is_some());
    if let (Some((file, _)), false) = (with_state, change.drop_state) {
        return Err(format!(
            "{} has a state, and states cannot be merged: --drop-state leaves it out",
            file.display()
        ));
    }
    change.apply(output, |checkpoint| {
        let merged = commits
            .into_iter()
            .fold(checkpoint, |all, (_, commit)| all.merge(commit.checkpoint));
        Ok(merged)
    })
}

impl Change {
    /// Changes a file and prints how.
    fn apply(
        &self,
        file: &Path,
        change: impl FnOnce(Checkpoint) -> Result<Checkpoint, String>,
    ) -> Result<(), String> {
        let mut store = FileCheckpointStore::new(file);
        let before = match self.dry_run {
            true if !file.exists() => Commit::default(),
            true => saved::read(file)?,
            false => store.load().map_err(told)?.unwrap_or_default(),
        };
        let after = change(before.checkpoint.clone())?;
        let differences = differences(&before.checkpoint, &after);
        print!("{differences}");
        if differences.is_empty() {
            println!("nothing changes");
            return Ok(());
        }
        let state = self.state(before)?;
        if !self.dry_run {
            store.save(&Commit::new(after, state)).map_err(told)?;
        }
        Ok(())
    }

    fn state(&self, before: Commit) -> Result<Option<bytes::Bytes>, String> {
        match before.state {
            Some(_) if !self.keep_state && !self.drop_state => Err(
                "a state was committed with these positions, and would no longer belong to them: \
                 say --keep-state or --drop-state"
                    .to_owned(),
            ),
            state => Ok(state.filter(|_| self.keep_state)),
        }
    }
}

#[derive(Default)]
struct Edits {
    set: Vec<(ShardRef, ShardPosition)>,
    /// Without a shard, all of the stream.
    forget: Vec<(String, Option<String>)>,
    rename: Vec<(String, String)>,
}

impl Edits {
    fn parse(set: &[String], forget: &[String], rename: &[String]) -> Result<Edits, String> {
        let wrong = |text: &str, form: &str| format!("{text:?} is not of the form {form}");
        let mut edits = Edits::default();
        for text in set {
            let parts = text.rsplit_once('=');
            let parts =
                parts.and_then(|(shard, position)| Some((shard.rsplit_once('/')?, position)));
            let ((stream, shard), position) =
                parts.ok_or_else(|| wrong(text, "STREAM/SHARD=POSITION"))?;
            edits
                .set
                .push((ShardRef::new(stream, shard), parse_position(position)?));
        }
        for text in forget {
            let (stream, shard) = match text.rsplit_once('/') {
                // The name in an ARN stands behind a slash as well.
                Some((stream, shard)) if !stream.ends_with(":stream") => {
                    (stream, Some(shard.to_owned()))
                }
                _ => (text.as_str(), None),
            };
            edits.forget.push((stream.to_owned(), shard));
        }
        for text in rename {
            let (old, new) = text
                .split_once('=')
                .ok_or_else(|| wrong(text, "STREAM=NAME"))?;
            edits.rename.push((old.to_owned(), new.to_owned()));
        }
        Ok(edits)
    }

    fn apply(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint, String> {
        for (stream, shard) in &self.forget {
            let mut found = matching(&checkpoint, stream);
            found.retain(|one| {
                shard
                    .as_ref()
                    .is_none_or(|shard| one.shard_id.as_str() == shard)
            });
            if found.is_empty() {
                return Err(unknown(stream, shard.as_deref()));
            }
            for shard in found {
                checkpoint.remove(&shard);
            }
        }
        for (old, new) in &self.rename {
            let found = matching(&checkpoint, old);
            if found.is_empty() {
                return Err(unknown(old, None));
            }
            for shard in found {
                let time = checkpoint.complete_to(&shard);
                let renamed = ShardRef::new(new.as_str(), shard.shard_id.clone());
                let position = checkpoint.remove(&shard);
                if let Some(position) = position {
                    checkpoint.insert(renamed, position, time);
                }
            }
        }
        for (shard, position) in &self.set {
            checkpoint.insert(shard.clone(), position.clone(), None);
        }
        Ok(checkpoint)
    }
}

fn matching(checkpoint: &Checkpoint, stream: &str) -> Vec<ShardRef> {
    let shards = checkpoint.iter().map(|(shard, _)| shard);
    shards
        .filter(|shard| &*shard.stream == stream)
        .cloned()
        .collect()
}

fn unknown(stream: &str, shard: Option<&str>) -> String {
    let shard = shard.map(|shard| format!(", shard {shard}"));
    format!(
        "the checkpoint has nothing of stream {stream}{}",
        shard.unwrap_or_default()
    )
}

fn parse_position(text: &str) -> Result<ShardPosition, String> {
    match text.to_ascii_lowercase().as_str() {
        "latest" => return Ok(ShardPosition::Start(StartPosition::Latest)),
        "trim_horizon" => return Ok(ShardPosition::Start(StartPosition::TrimHorizon)),
        "shard_end" => return Ok(ShardPosition::ShardEnd),
        _ => {}
    }
    let (number, sub) = match text.split_once(':') {
        Some((number, sub)) => (number, sub.parse().ok()),
        None => (text, None),
    };
    // A number as short as that is a time in seconds.
    if number.len() > SECONDS_DIGITS_MAX && number.bytes().all(|byte| byte.is_ascii_digit()) {
        if sub.is_none() && number.len() < text.len() {
            return Err(format!("{text:?}: what follows the colon is no number"));
        }
        let sequence_number = number.parse();
        return Ok(ShardPosition::After {
            sequence_number: sequence_number.map_err(|error| format!("{text:?}: {error}"))?,
            sub_sequence_number: sub,
        });
    }
    let time = moment::read(text).map_err(told)?;
    Ok(ShardPosition::Start(StartPosition::AtTimestamp(time)))
}

struct Rewind {
    to: Timestamp,
    streams: Vec<String>,
    assume_later: bool,
}

impl Rewind {
    /// Never moves a position forward: what it has not come to yet would be lost.
    fn apply(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint, String> {
        let mut undated = Vec::new();
        for (shard, position) in checkpoint.clone().iter() {
            let wanted =
                self.streams.is_empty() || self.streams.iter().any(|one| **one == *shard.stream);
            if !wanted {
                continue;
            }
            match self.is_later(position, checkpoint.complete_to(shard)) {
                Some(false) => {}
                Some(true) => {
                    let start = ShardPosition::Start(StartPosition::AtTimestamp(self.to));
                    checkpoint.insert(shard.clone(), start, Some(self.to));
                }
                None => undated.push(shard.to_string()),
            }
        }
        match undated.is_empty() {
            true => Ok(checkpoint),
            false => Err(format!(
                "how old these positions are is not known, and a rewind could leave records out: \
                 {}: --assume-later rewinds them all the same",
                undated.join("; ")
            )),
        }
    }

    /// Says whether a position covers anything from then on; `None` if that is not known.
    fn is_later(&self, position: &ShardPosition, complete_to: Option<Timestamp>) -> Option<bool> {
        match position {
            ShardPosition::Start(StartPosition::TrimHorizon) => Some(false),
            ShardPosition::Start(StartPosition::AtTimestamp(time)) => Some(*time > self.to),
            ShardPosition::Start(_) => Some(true),
            _ => {
                let known = complete_to.map(|time| time > self.to);
                known.or(self.assume_later.then_some(true))
            }
        }
    }
}

/// Seconds since 1970 have ten digits until 2286, and sequence numbers 56.
const SECONDS_DIGITS_MAX: usize = 14;
