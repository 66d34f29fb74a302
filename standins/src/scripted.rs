//! A server that answers as it is told: for what no real server can be made to say.
//!
//! **Script**: the answers in order, one for each request, whatever it asks.

use crate::Endpoint;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// A body that is announced whole and of which only the first half comes.
    BreaksOff(String),
    /// The request is read, and the connection closed.
    Nothing,
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
    pub body: String,
}

/// A server with a script; it ends when this is dropped.
#[derive(Debug)]
pub struct Scripted {
    endpoint: Endpoint,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Answer>,
    requests: Vec<Request>,
}

impl Scripted {
    /// Starts a server. Requests beyond the script get no answer.
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let script = Arc::new(Mutex::new(Script { answers: answers.into_iter().collect(), requests: Vec::new() }));
        let server = tokio::spawn(serve(listener, script.clone()));
        Scripted { endpoint: Endpoint { url }, script, server }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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

/// Serves one connection after another, and one request on each.
async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((connection, _)) = listener.accept().await {
        // A client that has gone away meanwhile is no failure of the server.
        let _ = answer(connection, &script).await;
    }
}

async fn answer(connection: TcpStream, script: &Mutex<Script>) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let Some(request) = read(&mut connection).await? else { return Ok(()) };
    let answer = {
        let mut script = script.lock().expect("no holder panics");
        script.requests.push(request);
        script.answers.pop_front().unwrap_or(Answer::Nothing)
    };
    let (status, body, sent) = match &answer {
        Answer::Says(status, body) => (*status, body, body.len()),
        Answer::BreaksOff(body) => (200, body, body.len() / 2),
        Answer::Nothing => return Ok(()),
    };
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&body.as_bytes()[..sent]).await?;
    connection.flush().await
}

/// Reads a request; `None` where a connection was opened and not used.
async fn read(connection: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let (mut line, mut length) = (String::new(), 0);
    connection.read_line(&mut line).await?;
    let Some((line, _)) = line.trim_end().rsplit_once(' ') else { return Ok(None) };
    loop {
        let mut header = String::new();
        connection.read_line(&mut header).await?;
        match header.to_ascii_lowercase().trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok(Some(Request { line: line.to_string(), body: String::from_utf8_lossy(&body).into_owned() }))
}
