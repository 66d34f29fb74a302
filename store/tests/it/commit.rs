use super::*;
use tempfile::tempdir;

#[tokio::test]
async fn many_waiting_appends_share_a_sync() {
    let dir = tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut tasks = tokio::task::JoinSet::new();
    for k in 0..1000 {
        let store = store.clone();
        tasks.spawn(async move { append(&store, vec![record("raw/raw-0000", &k.to_string())]).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.frames, 1000);
    assert!(stats.commits < 500, "{stats:?}");
    assert_eq!(stats.pending_bytes, 0);
}

#[tokio::test]
async fn a_slot_has_one_winner_and_the_same_nonce_wins_again() {
    let dir = tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut tasks = tokio::task::JoinSet::new();
    for nonce in 0..50 {
        let store = store.clone();
        tasks.spawn(async move { (nonce, store.append(vec![slot("dedup/a", 0, nonce, "x")]).await.unwrap()) });
    }
    let winners: Vec<u128> =
        tasks.join_all().await.into_iter().filter(|(_, answers)| answers[0].is_ok()).map(|(nonce, _)| nonce).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.append(vec![slot("dedup/a", 0, winners[0], "x")]).await.unwrap(), [Ok(0)]);
}

#[tokio::test]
async fn a_second_open_is_refused_and_names_the_holder() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    store.describe_holder("http://127.0.0.1:8080").unwrap();
    let refused = Store::open(dir.path(), Hand::default().options()).unwrap_err().to_string();
    let holder = format!("process {}, a test, http://127.0.0.1:8080", std::process::id());
    assert!(refused.ends_with(&format!("is in use by {holder}")), "{refused}");
    store.close();
    open(dir.path());
}

#[tokio::test]
async fn a_closed_store_takes_nothing_and_has_written_what_waited() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "kept")]).await;
    store.close();
    let refused = store.append(vec![record("raw/raw-0000", "late")]).await;
    assert!(matches!(refused, Err(StoreError::Stopped(_))), "{refused:?}");
    assert_eq!(content(open(dir.path()).view()), ["record raw/raw-0000 0 kept"]);
}

#[tokio::test]
async fn a_closed_log_refuses_records_in_the_moment_of_the_note() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let close = |seen| Append::Note {
        key: "stream/raw".into(),
        seen,
        bytes: Bytes::from_static(b"closed"),
        closes: vec!["raw/raw-0000".into()],
    };
    let answers =
        store.append(vec![record("raw/raw-0000", "a"), close(1), close(0), record("raw/raw-0000", "b")]).await.unwrap();
    use store::Refusal::{Changed, Closed};
    assert_eq!(answers, [Ok(0), Err(Changed), Ok(1), Err(Closed)]);
}

#[tokio::test]
async fn a_call_larger_than_a_commit_is_written_in_parts() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let big = "x".repeat(1 << 20);
    let answers = store.append((0..20).map(|_| record("raw/raw-0000", &big)).collect()).await.unwrap();
    assert_eq!(answers, (0..20).map(Ok).collect::<Vec<_>>());
    let page = store.view().records("raw/raw-0000", 0, 100, 3 << 20);
    assert!(page.frames.load().await.frames.len() <= 3);
}
