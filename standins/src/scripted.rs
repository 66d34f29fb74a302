//! A server that answers as it is told: for what no real server can be made to say.
//!
//! **Script**: the answers in order, one for each request, whatever it asks; or a function of each request.

use crate::Endpoint;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// A body that is announced whole and of which only the first half comes.
    BreaksOff(String),
    /// The request is read, and the connection closed.
    Nothing,
    /// The request is read, and the connection stays open.
    Silence,
}

impl Answer {
    pub fn says(status: u16, body: impl Into<String>) -> Answer {
        Answer::Says(status, body.into())
    }
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `PUT /bucket/key?partNumber=1`.
    pub line: String,
    /// `PutRecords`, where a header says so.
    pub operation: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// A server with a script; it ends when this is dropped.
#[derive(Debug)]
pub struct Scripted {
    endpoint: Endpoint,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

struct Script {
    answers: VecDeque<Answer>,
    /// What is answered once these are used up.
    otherwise: Box<dyn FnMut(&Request) -> Answer + Send>,
    requests: Vec<Request>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("answers", &self.answers).finish_non_exhaustive()
    }
}

impl Scripted {
    /// Starts a server that gives these answers in turn. Requests beyond the script get no answer.
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Scripted {
        let scripted = Scripted::answering(|_| Answer::Nothing).await;
        scripted.then(answers);
        scripted
    }

    /// Starts a server that answers each request as `script` says.
    pub async fn answering(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let script = Script { answers: VecDeque::new(), otherwise: Box::new(script), requests: Vec::new() };
        let script = Arc::new(Mutex::new(script));
        let server = tokio::spawn(serve(listener, script.clone()));
        Scripted { endpoint: Endpoint { url }, script, server }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.script.lock().expect("no holder panics").requests.clone()
    }

    /// The requests so far, which are forgotten here.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.script.lock().expect("no holder panics").requests)
    }

    /// Adds answers to the end of the script.
    pub fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().expect("no holder panics").answers.extend(answers);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves each connection for one request. The connections end with this.
async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let script = script.clone();
        connections.spawn(async move {
            // A client that has gone away meanwhile is no failure of the server.
            let _ = answer(connection, &script).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(connection: TcpStream, script: &Mutex<Script>) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let Some(request) = read(&mut connection).await? else { return Ok(()) };
    let answer = {
        let mut script = script.lock().expect("no holder panics");
        let scripted = script.answers.pop_front();
        let answer = scripted.unwrap_or_else(|| (script.otherwise)(&request));
        script.requests.push(request);
        answer
    };
    let (status, body, sent) = match &answer {
        Answer::Says(status, body) => (*status, body, body.len()),
        Answer::BreaksOff(body) => (200, body, body.len() / 2),
        Answer::Nothing => return Ok(()),
        Answer::Silence => std::future::pending().await,
    };
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&body.as_bytes()[..sent]).await?;
    connection.flush().await
}

/// Reads a request; `None` where a connection was opened and not used.
async fn read(connection: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let Some((line, _)) = line.trim_end().rsplit_once(' ') else { return Ok(None) };
    let headers = read_headers(connection).await?;
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse()).map_err(io::Error::other)?;
    let target = headers.get("x-amz-target").and_then(|target| target.rsplit('.').next());
    let operation = target.unwrap_or_default().to_string();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Request { line: line.to_string(), operation, headers, body }))
}

async fn read_headers(connection: &mut BufReader<TcpStream>) -> io::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { return Ok(headers) };
        headers.insert(name.to_ascii_lowercase(), value.to_string());
    }
}
