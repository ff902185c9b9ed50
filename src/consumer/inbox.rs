//! What discovery has found, on its way to the emitter and to the caller.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use crate::consumer::emitter::Emitter;
use crate::consumer::news::News;
use crate::consumer::record::Event;
use crate::consumer::shelf::Shelf;
use crate::error::{Error, Result};
use crate::model::GapCause;

/// Passes discovery's news on in an order in which no checkpoint covers what the caller was not told.
///
/// News that follow from a gap change positions: a shard that is gone counts as ended. So the news of a
/// stream wait behind a gap of that stream until the caller has the gap. An error waits until the caller
/// has every event.
pub(super) struct Inbox {
    shelf: Arc<Shelf<News>>,
    /// What waits behind a gap of its stream.
    held: VecDeque<News>,
    /// Streams of which a gap is among the events.
    gapped: BTreeSet<Arc<str>>,
    events: VecDeque<Event>,
    failed: Option<Error>,
}

impl Inbox {
    pub fn new(shelf: Arc<Shelf<News>>) -> Inbox {
        Inbox {
            shelf,
            held: VecDeque::new(),
            gapped: BTreeSet::new(),
            events: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes in what has come, so that the emitter's checkpoint is as whole as it may be.
    pub fn take_in(&mut self, emitter: &mut Emitter) {
        self.held.extend(self.shelf.take());
        self.learn_held(emitter);
    }

    /// Returns the next event for the caller. Once the caller has a gap, the emitter's checkpoint covers
    /// what follows from it.
    ///
    /// # Errors
    /// Discovery cannot go on, and the caller has every event before that.
    pub fn next(&mut self, emitter: &mut Emitter) -> Result<Option<Event>> {
        self.take_in(emitter);
        let event = self.events.pop_front();
        if let Some(Event::Gap(gap)) = &event {
            self.gapped.remove(&gap.shard.stream);
            if gap.cause == GapCause::StreamRecreated {
                emitter.on_told_anew(&gap.shard);
            }
            self.learn_held(emitter);
        }
        match self.failed.take_if(|_| event.is_none()) {
            Some(error) => Err(error),
            None => Ok(event),
        }
    }

    /// Lets go of everything. Queues of shards are part of it.
    pub fn clear(&mut self) {
        self.shelf.take();
        self.held.clear();
        self.events.clear();
    }

    fn learn_held(&mut self, emitter: &mut Emitter) {
        for news in mem::take(&mut self.held) {
            let waits = match news.stream() {
                Some(stream) => self.gapped.contains(stream),
                None => !self.held.is_empty(),
            };
            match waits {
                true => self.held.push_back(news),
                false => self.learn(news, emitter),
            }
        }
    }

    fn learn(&mut self, news: News, emitter: &mut Emitter) {
        match news {
            News::Known(shard, place) => emitter.know(shard, place),
            News::Started(shard, position, queue) => {
                self.events.push_back(Event::ShardStarted(shard.clone()));
                emitter.start(shard, position, queue);
            }
            News::Born(child, parents) => emitter.learn_birth(child, &parents),
            News::Left(shard, watermark) => emitter.learn_end(shard, watermark),
            News::Complete => emitter.set_expecting(false),
            News::Settled(shard) => emitter.settle(&shard),
            News::Foreign(shard) => emitter.forget(&shard),
            News::Vanished(shard) => emitter.vanish(shard),
            News::Awaited(shard) => emitter.expect([shard]),
            News::Moved(shard) => emitter.identify(shard),
            News::Gap(gap) => {
                self.gapped.insert(gap.shard.stream.clone());
                self.events.push_back(Event::Gap(gap));
            }
            News::Reported(event) => self.events.push_back(event),
            News::Lineage(stream, parents) => emitter.learn_parents(&stream, &parents),
            News::Listed(stream, now, shards) => emitter.on_listing(stream, now, shards),
            News::Failed(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::checkpoint::Checkpoint;
    use crate::consumer::shelf::Bell;
    use crate::error::ErrorKind;
    use crate::model::{Gap, ShardPosition, ShardRef, StartPosition, Timestamp};

    const START: ShardPosition = ShardPosition::Start(StartPosition::TrimHorizon);

    fn shard(stream: &str) -> ShardRef {
        ShardRef::new(stream, "shardId-000000000000")
    }

    fn gap(stream: &str) -> News {
        News::Gap(Gap::new(shard(stream), GapCause::ShardVanished))
    }

    fn known(stream: &str) -> News {
        News::Known(shard(stream), (START, None))
    }

    fn vanished(stream: &str) -> News {
        News::Vanished(shard(stream))
    }

    fn failed() -> News {
        News::Failed(Error::new(ErrorKind::Closed))
    }

    fn inbox(news: impl IntoIterator<Item = News>) -> (Inbox, Emitter) {
        let shelf = Arc::new(Shelf::new(Bell::new().0));
        shelf.put(news);
        let emitter = Emitter::new(Checkpoint::default(), Vec::new());
        (Inbox::new(shelf), emitter)
    }

    fn at(emitter: &Emitter, stream: &str) -> Option<ShardPosition> {
        emitter.checkpoint().position(&shard(stream)).cloned()
    }

    fn next(inbox: &mut Inbox, emitter: &mut Emitter) -> String {
        match inbox.next(emitter) {
            Ok(Some(Event::Gap(gap))) => format!("gap in {}", gap.shard.stream),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_follows_from_a_gap_counts_once_the_caller_has_it() {
        let (mut inbox, mut emitter) = inbox([
            known("orders"),
            gap("orders"),
            vanished("orders"),
            gap("orders"),
            News::Listed("orders".into(), Timestamp::from_millis(7), Arc::default()),
        ]);
        inbox.take_in(&mut emitter);
        assert_eq!(at(&emitter, "orders"), Some(START));
        assert_eq!(next(&mut inbox, &mut emitter), "gap in orders");
        assert_eq!(at(&emitter, "orders"), Some(ShardPosition::ShardEnd));
        assert_eq!(emitter.checkpoint().listed("orders"), None);
        assert_eq!(next(&mut inbox, &mut emitter), "gap in orders");
        let listed = emitter.checkpoint().listed("orders");
        assert_eq!(listed, Some(Timestamp::from_millis(7)));
        assert_eq!(next(&mut inbox, &mut emitter), "None");
    }

    #[test]
    fn a_gap_holds_back_the_news_of_its_own_stream_only() {
        let news = [
            gap("orders"),
            vanished("orders"),
            known("returns"),
            gap("returns"),
        ];
        let (mut inbox, mut emitter) = inbox(news);
        inbox.take_in(&mut emitter);
        assert_eq!(at(&emitter, "orders"), None);
        assert_eq!(at(&emitter, "returns"), Some(START));
        assert_eq!(next(&mut inbox, &mut emitter), "gap in orders");
        assert_eq!(at(&emitter, "orders"), Some(ShardPosition::ShardEnd));
        assert_eq!(next(&mut inbox, &mut emitter), "gap in returns");
    }

    #[test]
    fn an_error_comes_once_the_caller_has_every_event_before_it() {
        let (mut inbox, mut emitter) = inbox([
            gap("orders"),
            vanished("orders"),
            gap("orders"),
            failed(),
            failed(),
        ]);
        for expected in [
            "gap in orders",
            "gap in orders",
            "the producer or consumer was closed",
        ] {
            assert_eq!(next(&mut inbox, &mut emitter), expected);
        }
        assert_eq!(at(&emitter, "orders"), Some(ShardPosition::ShardEnd));
    }

    #[test]
    fn what_concerns_all_streams_waits_for_what_is_held() {
        let (mut inbox, mut emitter) = inbox([gap("orders"), known("orders"), News::Complete]);
        emitter.set_expecting(true);
        inbox.take_in(&mut emitter);
        assert!(matches!(
            emitter.next_turn(),
            crate::consumer::emitter::Next::Nothing
        ));
        assert_eq!(next(&mut inbox, &mut emitter), "gap in orders");
        assert!(matches!(
            emitter.next_turn(),
            crate::consumer::emitter::Next::Done
        ));
    }
}
