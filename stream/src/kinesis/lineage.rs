//! Which shards a stream has, and which came from which.
//!
//! **Listing**: all shards at one time, closed ones included for as long as their records are kept.

use super::Api;
use super::error::read_error;
use crate::{ReadError, Shard};
use aws::Failure;
use aws_sdk_kinesis::operation::list_shards::ListShardsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType};
use schema::{HashKey, HashRange, ShardId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Most pages of a listing: at 1,000 shards a page, ten times what an account may have open by default.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const PAGES_MAX: usize = 200;

/// Times a listing is begun anew because it took longer than its token lives, 300 s.
const LISTINGS_MAX: u32 = 3;

/// Listings that are older than they may be are made anew; one at a time, for all who wait.
#[derive(Debug)]
pub(super) struct Lineage {
    api: Api,
    age_max: Duration,
    listing: Mutex<Option<Listing>>,
    /// Something has been seen that the listing does not know.
    is_outdated: AtomicBool,
    /// Ids in the listing, for who can't wait for it.
    ids: std::sync::RwLock<BTreeSet<ShardId>>,
}

#[derive(Debug, Clone)]
struct Listing {
    made_at: Instant,
    shards: Arc<[Shard]>,
}

enum Page {
    Answer(ListShardsOutput),
    TokenExpired,
}

impl Lineage {
    pub(super) fn new(api: Api, age_max: Duration) -> Lineage {
        let (listing, ids) = (Mutex::default(), std::sync::RwLock::default());
        Lineage { api, age_max, listing, is_outdated: AtomicBool::new(false), ids }
    }

    /// All shards, parents before children; not older than the age that was set.
    pub(super) async fn shards(&self) -> Result<Arc<[Shard]>, ReadError> {
        let mut listing = self.listing.lock().await;
        match listing.as_ref() {
            Some(known) if known.made_at.elapsed() < self.age_max && !self.is_outdated.load(Ordering::Acquire) => {
                Ok(known.shards.clone())
            }
            _ => self.list(&mut listing).await,
        }
    }

    /// All shards as they are now.
    pub(super) async fn shards_now(&self) -> Result<Arc<[Shard]>, ReadError> {
        self.is_outdated.store(true, Ordering::Release);
        self.shards().await
    }

    /// Has the shards listed anew where one of `seen` is not known.
    pub(super) fn notice<'a>(&self, mut seen: impl Iterator<Item = &'a ShardId>) {
        let ids = self.ids.read().expect("nobody panics while holding it");
        if !ids.is_empty() && seen.any(|shard| !ids.contains(shard)) {
            self.is_outdated.store(true, Ordering::Release);
        }
    }

    async fn list(&self, listing: &mut MutexGuard<'_, Option<Listing>>) -> Result<Arc<[Shard]>, ReadError> {
        self.is_outdated.store(false, Ordering::Release);
        let made_at = Instant::now();
        let listed = self.api.list_shards(None).await.map_err(|failure| {
            self.is_outdated.store(true, Ordering::Release);
            read_error(&failure)
        })?;
        let shards: Arc<[Shard]> = parents_first(listed).into();
        *self.ids.write().expect("nobody panics while holding it") = shards.iter().map(|s| s.id.clone()).collect();
        **listing = Some(Listing { made_at, shards: shards.clone() });
        Ok(shards)
    }
}

/// Those of `shards` that come from `parent`.
pub(super) fn children(shards: &[Shard], parent: &ShardId) -> Vec<ShardId> {
    shards.iter().filter(|shard| shard.parents.contains(parent)).map(|shard| shard.id.clone()).collect()
}

impl Api {
    /// Whether a shard took records at this time, in Unix milliseconds.
    pub(super) async fn was_open(&self, shard: &ShardId, at: i64) -> Result<bool, Failure> {
        let open_then =
            ShardFilter::builder().r#type(ShardFilterType::AtTimestamp).timestamp(DateTime::from_millis(at));
        let open_then = self.list_shards(Some(open_then.build().expect("it has a type"))).await?;
        Ok(open_then.iter().any(|open| open.id == *shard))
    }

    /// All shards that are kept, or those that the filter lets through.
    async fn list_shards(&self, filter: Option<ShardFilter>) -> Result<Vec<Shard>, Failure> {
        for _ in 0..LISTINGS_MAX {
            if let Some(shards) = self.list_all_pages(filter.as_ref()).await? {
                return Ok(shards);
            }
        }
        Err(Failure::Unavailable("the token of the list of shards keeps expiring".to_owned()))
    }

    /// `None` where the listing has to begin anew. Never a part of the shards.
    async fn list_all_pages(&self, filter: Option<&ShardFilter>) -> Result<Option<Vec<Shard>>, Failure> {
        let (mut shards, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.calls.repeat(async || self.list_page(token.as_deref(), filter).await).await?;
            let Page::Answer(page) = page else { return Ok(None) };
            for listed in page.shards.unwrap_or_default() {
                shards.push(shard(&listed).ok_or_else(|| Failure::Refused(format!("{listed:?} is no shard")))?);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(Some(shards));
            }
        }
        Err(Failure::Refused(format!("the list of shards has more than {PAGES_MAX} pages")))
    }

    async fn list_page(&self, token: Option<&str>, filter: Option<&ShardFilter>) -> Result<Page, Failure> {
        self.called("ListShards");
        let list = self.client.list_shards();
        // Whoever has a token must not name the stream again, nor the filter.
        let list = match token {
            Some(token) => list.next_token(token),
            None => list.stream_name(&self.stream).set_shard_filter(filter.cloned()),
        };
        match list.send().await {
            Ok(answer) => Ok(Page::Answer(answer)),
            Err(error) if aws::code(&error) == "ExpiredNextTokenException" => Ok(Page::TokenExpired),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

fn shard(listed: &aws_sdk_kinesis::types::Shard) -> Option<Shard> {
    let range = listed.hash_key_range()?;
    let key = |text: &str| Some(HashKey(text.parse::<u128>().ok()?));
    let range = HashRange { low: key(range.starting_hash_key())?, high: key(range.ending_hash_key())? };
    let parents = [listed.parent_shard_id(), listed.adjacent_parent_shard_id()];
    Some(Shard {
        id: ShardId::new(listed.shard_id()),
        range,
        parents: parents.into_iter().flatten().map(ShardId::new).collect(),
        closed: listed.sequence_number_range()?.ending_sequence_number().is_some(),
    })
}

/// Orders shards so that those whose parents are listed as well come after them.
fn parents_first(mut shards: Vec<Shard>) -> Vec<Shard> {
    let mut waiting: BTreeSet<ShardId> = shards.iter().map(|shard| shard.id.clone()).collect();
    let mut ordered = Vec::with_capacity(shards.len());
    while !shards.is_empty() {
        let is_ready = |shard: &mut Shard| shard.parents.iter().all(|parent| !waiting.contains(parent));
        let ready: Vec<Shard> = shards.extract_if(.., is_ready).collect();
        if ready.is_empty() {
            // Shards that are their own ancestors: no order is better than another.
            ordered.append(&mut shards);
        }
        for shard in &ready {
            waiting.remove(&shard.id);
        }
        ordered.extend(ready);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, parents: &[&str]) -> Shard {
        let parents = parents.iter().map(ShardId::new).collect();
        Shard { id: ShardId::new(id), range: HashRange::ALL, parents, closed: false }
    }

    #[test]
    fn parents_come_before_their_children_wherever_they_were_listed() {
        let listed = vec![of("d", &["b", "c"]), of("b", &["a"]), of("a", &["gone"]), of("c", &["a"])];
        let ordered = parents_first(listed);
        let ids: Vec<&str> = ordered.iter().map(|shard| shard.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert_eq!(ordered[0].parents, [ShardId::new("gone")], "a parent that is gone is named all the same");
    }

    #[test]
    fn no_list_of_shards_hangs_the_order() {
        assert_eq!(parents_first(vec![of("a", &["b"]), of("b", &["a"])]).len(), 2);
    }
}
