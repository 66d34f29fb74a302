//! A Kinesis that answers as it is told: for what no stand-in does.

use aws::{Aws, Calls};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long a call is repeated here.
const CALL_DEADLINE: Duration = Duration::from_millis(300);

/// A status that stands for no answer at all.
pub(crate) const SILENCE: u16 = 0;

/// Status and body of an answer.
pub(crate) type Reply = (u16, Value);

type Script = Arc<Mutex<dyn FnMut(&str, &Value) -> Option<Reply> + Send>>;

/// What was asked: operation and body.
pub(crate) type Asked = Arc<Mutex<Vec<(String, Value)>>>;

pub(crate) struct Scripted {
    pub(crate) aws: Aws,
    asked: Asked,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Scripted {
    /// Answers by `script`; where that gives nothing, as a stream with one open shard and no records.
    pub(crate) async fn start(script: impl FnMut(&str, &Value) -> Option<Reply> + Send + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (asked, script): (Asked, Script) = (Asked::default(), Arc::new(Mutex::new(script)));
        let server = tokio::spawn({
            let asked = asked.clone();
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    tokio::spawn(serve(connection, script.clone(), asked.clone()));
                }
            }
        });
        let calls = Calls::new(CALL_DEADLINE, 0);
        let aws = Aws { calls, ..standins::connect(&standins::Endpoint { url }) };
        Scripted { aws, asked, server }
    }

    /// Bodies of the calls of an operation so far.
    pub(crate) fn asked(&self, operation: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("no script panics");
        asked.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }
}

async fn serve(connection: TcpStream, script: Script, asked: Asked) {
    let mut connection = BufReader::new(connection);
    while let Some((operation, body)) = request(&mut connection).await {
        asked.lock().expect("no script panics").push((operation.clone(), body.clone()));
        let reply = script.lock().expect("no script panics")(&operation, &body);
        let (status, body) = reply.unwrap_or_else(|| (200, quiet(&operation)));
        if status == SILENCE {
            std::future::pending::<()>().await;
        }
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if connection.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(connection: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let (mut operation, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            _ if line == "\r\n" => break,
            Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => {
                operation = value.rsplit('.').next()?.to_owned();
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some((operation, serde_json::from_slice(&body).ok()?))
}

pub(crate) fn quiet(operation: &str) -> Value {
    match operation {
        "DescribeStreamSummary" => json!({"StreamDescriptionSummary": {
            "StreamName": "raw", "StreamARN": "arn:aws:kinesis:us-east-1:1:stream/raw", "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_795_415_120.5, "EnhancedMonitoring": [],
            "OpenShardCount": 1, "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        }}),
        "ListShards" => json!({"Shards": [shard("shard", &[])]}),
        "GetShardIterator" => json!({"ShardIterator": "iterator"}),
        "GetRecords" => records(&[], "next", 0),
        _ => json!({}),
    }
}

pub(crate) fn shard(id: &str, parents: &[&str]) -> Value {
    json!({
        "ShardId": id, "ParentShardId": parents.first(), "AdjacentParentShardId": parents.get(1),
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    })
}

/// An answer of GetRecords with records at `positions`, all of which say `x`.
pub(crate) fn records(positions: &[u64], next: &str, behind_millis: u64) -> Value {
    let record = |position: &u64| {
        json!({
            "SequenceNumber": position.to_string(), "Data": "eA==", "PartitionKey": "-",
            "ApproximateArrivalTimestamp": 1_795_415_121.0,
        })
    };
    let records: Vec<Value> = positions.iter().map(record).collect();
    json!({"Records": records, "NextShardIterator": next, "MillisBehindLatest": behind_millis})
}

pub(crate) fn error(code: &str) -> Reply {
    let status = if code.contains("Internal") { 500 } else { 400 };
    (status, json!({"__type": code, "message": "as scripted"}))
}
