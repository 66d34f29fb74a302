//! A lake in memory, as unreliable as a real one may be, that forgets nothing it ever held.

use crate::network::Backend;
use crate::scenario::Off;
use crate::world::World;
use async_trait::async_trait;
use bytes::Bytes;
use lake::{Created, Lake, LakeError, ObjectMeta};
use service::Clock;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// Percent of creates that are told of a conflict; nothing lands then.
const CONFLICT_PERCENT: f64 = 10.0;

/// A lake of a simulated world.
#[derive(Clone, Debug)]
pub(crate) struct SimLake {
    world: Arc<World>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// What each key held first.
    history: BTreeMap<String, Bytes>,
}

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    modified_at: i64,
}

impl SimLake {
    pub(crate) fn new(world: Arc<World>) -> SimLake {
        SimLake { world, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the objects")
    }

    /// Everything that ever was in the lake.
    pub(crate) fn history(&self) -> BTreeMap<String, Bytes> {
        self.lock().history.clone()
    }

    pub(crate) fn holds(&self, key: &str) -> bool {
        self.lock().objects.contains_key(key)
    }

    /// Keys that are there now.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    fn put(&self, key: &str, bytes: Bytes) -> Created {
        let mut state = self.lock();
        if state.objects.contains_key(key) {
            return Created::Exists;
        }
        match state.history.get(key) {
            Some(first) if *first != bytes => self.world.find(format!("object {key} came back with other content")),
            Some(_) => self.world.count("resurrected objects"),
            None => drop(state.history.insert(key.to_string(), bytes.clone())),
        }
        state.objects.insert(key.to_string(), Object { bytes, modified_at: self.world.now() });
        self.world.changed();
        Created::New
    }

    async fn look<T: Send>(&self, key: &str, question: impl FnOnce(&Object) -> T + Send) -> Result<T, LakeError> {
        let found = self
            .world
            .ask(Backend::Lake, format!("look at {key}"), || self.lock().objects.get(key).map(question))
            .await;
        found.map_err(|_| no_answer(key))?.ok_or_else(|| LakeError::NotFound(key.to_string()))
    }
}

fn no_answer(key: &str) -> LakeError {
    LakeError::Unavailable { key: key.to_string(), detail: "no answer".to_string() }
}

#[async_trait]
impl Lake for SimLake {
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, LakeError> {
        if self.world.fault(CONFLICT_PERCENT) {
            self.world.count("conflicts");
            self.world.note(format_args!("create {key}: conflict"));
            crate::network::pause().await;
            if self.world.is_off(Off::ConflictIsRetried) {
                return Ok(Created::New);
            }
            return Err(LakeError::Unavailable { key: key.to_string(), detail: "conflict, try again".to_string() });
        }
        let (lake, named) = (self.clone(), key.to_string());
        let name = format!("create {key} of {} bytes, hash {:016x}", bytes.len(), hash_of(&bytes));
        self.world.call(Backend::Lake, name, move || lake.put(&named, bytes)).await.map_err(|_| no_answer(key))
    }

    async fn create_from_file(&self, key: &str, file: &Path) -> Result<Created, LakeError> {
        let refused = |error: std::io::Error| LakeError::Refused { key: key.to_string(), detail: error.to_string() };
        let bytes = std::fs::read(file).map_err(refused)?;
        self.create(key, Bytes::from(bytes)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        self.look(key, |object| object.bytes.clone()).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        let cut =
            |object: &Object, at: u64| usize::try_from(at).map_or(object.bytes.len(), |at| at.min(object.bytes.len()));
        self.look(key, |object| object.bytes.slice(cut(object, range.start)..cut(object, range.end))).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, LakeError> {
        self.look(key, |object| meta(key, object)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        let found = || {
            let state = self.lock();
            let from = state.objects.range(prefix.to_string()..);
            from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, object)| meta(key, object)).collect()
        };
        self.world.ask(Backend::Lake, format!("list {prefix}"), found).await.map_err(|_| no_answer(prefix))
    }

    async fn delete(&self, key: &str) -> Result<(), LakeError> {
        let (lake, named) = (self.clone(), key.to_string());
        let delete = move || {
            if lake.lock().objects.remove(&named).is_some() {
                lake.world.changed();
            }
        };
        self.world.call(Backend::Lake, format!("delete {key}"), delete).await.map_err(|_| no_answer(key))
    }
}

/// Stands for the content of an object in the schedule.
fn hash_of(bytes: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn meta(key: &str, object: &Object) -> ObjectMeta {
    ObjectMeta { key: key.to_string(), bytes: object.bytes.len() as u64, modified_at: object.modified_at }
}
