//! What is committed, when, and by whom.

use kinesis_blocking::{CheckpointStore, Commit, Error, ErrorKind, MemoryCheckpointStore};

use super::*;

fn with_store(client: &Client, store: impl CheckpointStore + 'static) -> Result<Consumer> {
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(all());
    builder.checkpoint_store(store).start()
}

/// Counts the records it reads, up to `count`, on from a state that says how many there were.
fn count(consumer: &mut Consumer, count: usize) -> u64 {
    let counted = consumer.state().map_or(0, |state| {
        let state: [u8; 8] = state[..].try_into().expect("eight bytes");
        u64::from_be_bytes(state)
    });
    let records = consumer.by_ref().take(count);
    records.fold(counted, |counted, record| {
        record.expect("a record");
        counted + 1
    })
}

#[test]
fn a_state_and_its_checkpoint_are_one() {
    let client = client(2);
    put(&client, named("r", 100));
    let store = MemoryCheckpointStore::new();
    let start = || with_store(&client, store.clone()).expect("started");
    let mut first = start();
    assert_eq!(first.state(), None);
    let counted = count(&mut first, 30);
    first
        .commit_with(counted.to_be_bytes().to_vec())
        .expect("committed");
    // What is done since is not committed, and so done again.
    count(&mut first, 20);
    drop(first);
    let mut second = start();
    let counted = count(&mut second, 40);
    assert_eq!(counted, 70);
    second
        .commit_with(counted.to_be_bytes().to_vec())
        .expect("committed");
    count(&mut second, 10);
    let torn = second.commit().expect_err("the state is missing");
    assert!(torn.to_string().starts_with("checkpoint: "), "{torn}");
    let before = store.last();
    second.close().expect("closed");
    assert_eq!(
        store.last(),
        before,
        "closing commits no checkpoint without its state"
    );
    assert_eq!(count(&mut start(), usize::MAX), 100);
}

#[test]
fn a_checkpoint_that_is_given_has_no_state() {
    let client = client(1);
    put(&client, named("r", 3));
    let store = MemoryCheckpointStore::new();
    let mut first = with_store(&client, store.clone()).expect("started");
    first.next().expect("more").expect("a record");
    let checkpoint = first.checkpoint();
    first.commit_with("one").expect("committed");
    drop(first);
    let start = |given: Checkpoint| {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        let builder = builder.checkpoint_store(store.clone()).restore(given);
        builder.start().expect("started")
    };
    let given_nothing = start(Checkpoint::default());
    assert_eq!(
        given_nothing.state().map(|state| &state[..]),
        Some(&b"one"[..])
    );
    drop(given_nothing);
    let mut given = start(checkpoint);
    assert_eq!(given.state(), None);
    assert_eq!(read(&mut given), ["r1", "r2"]);
    given.close().expect("committed");
    assert_eq!(store.last().expect("a commit").state, None);
}

#[test]
fn whoever_started_later_ends_the_one_before() {
    let client = client(1);
    put(&client, named("r", 10));
    let store = MemoryCheckpointStore::new();
    let start = || {
        let builder = Consumer::builder(client.clone())
            .stream("orders")
            .config(all());
        let builder = builder.checkpoint_store(store.clone());
        builder
            .commit_interval(Duration::ZERO)
            .start()
            .expect("started")
    };
    let (mut first, mut second) = (start(), start());
    let fenced = first.next().expect("an end").expect_err("taken over");
    assert!(
        matches!(fenced.kind(), ErrorKind::Fenced { .. }),
        "{fenced}"
    );
    assert!(first.next().is_none(), "nothing follows");
    assert_eq!(read(&mut second).len(), 10);
    second.close().expect("committed");
}

#[test]
fn two_consumers_of_one_file_are_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.checkpoint");
    let client = client(1);
    put(&client, named("r", 3));
    let start = || with_store(&client, FileCheckpointStore::new(&path));
    let mut first = start().expect("started");
    let refused = start().expect_err("one at a time").to_string();
    assert!(refused.contains("another consumer uses it"), "{refused}");
    assert_eq!(read(&mut first).len(), 3);
    first.close().expect("committed");
    assert_eq!(read(&mut start().expect("started")), Vec::<String>::new());
}

/// A disk that is full from some save on.
struct Full {
    saves_left: u32,
    last: MemoryCheckpointStore,
}

impl CheckpointStore for Full {
    fn load(&mut self) -> Result<Option<Commit>> {
        self.last.load()
    }

    fn save(&mut self, commit: &Commit) -> Result<()> {
        match self.saves_left.checked_sub(1) {
            Some(left) => {
                self.saves_left = left;
                self.last.save(commit)
            }
            None => Err(Error::store("writing the table", "no space left")),
        }
    }
}

#[test]
fn a_commit_that_fails_ends_the_consumer_and_leaves_the_one_before() {
    let client = client(1);
    put(&client, named("r", 10));
    let last = MemoryCheckpointStore::new();
    let store = Full {
        saves_left: 5,
        last: last.clone(),
    };
    let builder = Consumer::builder(client.clone())
        .stream("orders")
        .config(all());
    let builder = builder
        .checkpoint_store(store)
        .commit_interval(Duration::ZERO);
    let mut consumer = builder.start().expect("started");
    let outcomes: Vec<_> = consumer.by_ref().collect();
    let (error, records) = outcomes.split_last().expect("outcomes");
    assert_eq!(
        error.as_ref().expect_err("full").to_string(),
        "writing the table: no space left"
    );
    assert!(consumer.next().is_none(), "nothing follows");
    drop(consumer);
    // The last save that went well covered all but the last record that came before the failure.
    let rest = read(&mut with_store(&client, last).expect("started"));
    assert!(rest.len() + records.len() >= 10, "{rest:?}");
    assert!(rest.len() + records.len() <= 11, "{rest:?}");
}
