//! The results, the place in the stream, and the number of whoever may write both.

use std::path::Path;
use std::time::Duration;

use kinesis_blocking::{Checkpoint, Record};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::Failure;

/// A connection that may write until another takes over.
pub struct Database {
    connection: Connection,
    /// The fencing token: greater than that of everyone before.
    token: i64,
}

/// One line of the results.
pub struct Row {
    shard_id: String,
    sequence_number: String,
    sub_sequence_number: Option<i64>,
    partition_key: String,
    data: Vec<u8>,
}

impl Row {
    pub fn of(record: &Record) -> Row {
        Row {
            shard_id: record.shard().shard_id.to_string(),
            sequence_number: record.sequence_number().to_string(),
            sub_sequence_number: record.sub_sequence_number().map(|sub| sub as i64),
            partition_key: record.partition_key().to_owned(),
            data: record.data().to_vec(),
        }
    }
}

impl Database {
    /// Opens the database and takes it over from whoever had it, who may not know of it yet.
    ///
    /// Returns the place in the stream that belongs to the results that are there.
    pub fn take_over(path: &Path) -> Result<(Database, Checkpoint), Failure> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_WAIT_MAX)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        let (token, json): (i64, Option<String>) = transaction.query_row(
            "UPDATE place SET token = token + 1 RETURNING token, checkpoint",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        transaction.commit()?;
        let checkpoint = json.map_or(Ok(Checkpoint::default()), |json| {
            Checkpoint::from_json(&json)
        })?;
        Ok((Database { connection, token }, checkpoint))
    }

    /// Adds results and moves the place past them: both or neither, and only while it is ours.
    pub fn commit(&mut self, rows: &[Row], checkpoint: &Checkpoint) -> Result<(), Failure> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let moved = transaction.execute(
            "UPDATE place SET checkpoint = ?1 WHERE token = ?2",
            params![checkpoint.to_json(), self.token],
        )?;
        if moved == 0 {
            return Err(Failure::TakenOver);
        }
        let mut insert =
            transaction.prepare_cached("INSERT INTO results VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for row in rows {
            insert.execute(params![
                row.shard_id,
                row.sequence_number,
                row.sub_sequence_number,
                row.partition_key,
                row.data
            ])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }
}

/// Without a key that would refuse a record's second coming: that there is none is for others to see.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS results (
        shard_id TEXT NOT NULL,
        sequence_number TEXT NOT NULL,
        sub_sequence_number INTEGER,
        partition_key TEXT NOT NULL,
        data BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS place (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        token INTEGER NOT NULL,
        checkpoint TEXT
    );
    INSERT OR IGNORE INTO place VALUES (1, 0, NULL);
";

const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);
