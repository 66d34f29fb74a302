//! Whether a stream may take another one's place.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use async_trait::async_trait;
use ledger::embedded::EmbeddedLedger;
use ledger::keeper::Ending;
use ledger::{Entry, Ledger};
use ownership::{OwnerError, Stage, Succession};
use schema::{ChainId, ShardId};
use service::{Halt, Stop};
use std::num::NonZeroU32;
use std::sync::Arc;
use store::{Options, Store};
use stream::Shard;
use stream::embedded::EmbeddedStream;
use tempfile::TempDir;

const SUCCESSION: Succession = Succession { chains: "idle/", unread: "What nobody had read is lost." };

/// A stage on a stream of incarnation `new`; its chains have ended where their head says `end`.
#[derive(Debug)]
struct Idle {
    stream: EmbeddedStream,
    ledger: EmbeddedLedger,
    _dir: TempDir,
}

#[async_trait]
impl Stage for Idle {
    const NAME: &'static str = "idle";

    fn stream(&self) -> &dyn stream::Stream {
        &self.stream
    }

    fn chain_of(&self, shard: &ShardId) -> ChainId {
        ChainId::new(format!("idle/new/{shard}/0"))
    }

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError> {
        Ok(self.ledger.head(chain).await?.is_some_and(|head| head.entry.bytes == "end"))
    }

    async fn own(&self, _shard: Shard, _stop: Stop) -> Result<Ending, OwnerError> {
        Ok(Ending::Done)
    }
}

/// With these chains in the ledger, each with what its head says.
async fn idle(chains: &[(&str, &'static str)]) -> Idle {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
    let stream = EmbeddedStream::open(&store, "raw", NonZeroU32::MIN, "new").await.unwrap();
    let ledger = EmbeddedLedger::new(store);
    for (chain, head) in chains {
        ledger.append(&ChainId::new(chain), 0, Entry { nonce: 1, bytes: (*head).into() }).await.unwrap();
    }
    Idle { stream, ledger, _dir: dir }
}

async fn check(chains: &[(&str, &'static str)]) -> anyhow::Result<()> {
    let idle = idle(chains).await;
    SUCCESSION.check(&idle, &idle.ledger).await
}

#[tokio::test]
async fn a_stream_does_not_take_the_place_of_one_that_was_not_read_to_its_end() {
    let left = [("idle/old/a/0", "end"), ("idle/old/b/0", ""), ("idle/older/a/0", ""), ("idle/oldest/a/0", "end")];
    let told = check(&left).await.unwrap_err().downcast::<Halt>().unwrap().to_string();
    for words in ["stream raw, incarnation new,", "2 of whose shards", "is lost.", "--accept-made-again old,older to"] {
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn a_stream_that_follows_none_or_one_that_was_read_or_itself_goes_on() {
    let fine: [&[(&str, &str)]; 4] = [
        &[],
        &[("other/old/a/0", "")],
        &[("idle/old/a/0", "end"), ("idle/old/b/0", "end")],
        &[("idle/old/a/0", ""), ("idle/new/a/0", "")],
    ];
    for chains in fine {
        assert!(check(chains).await.is_ok(), "{chains:?}");
    }
}
