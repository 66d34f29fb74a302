//! A client that costs as little as it can: requests are bytes made before, answers are read and nothing more.

use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of an answer: a hundred quarantined events with their reasons, many times over.
const ANSWER_BYTES_MAX: usize = 1 << 20;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// A keep-alive connection, one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// Where the parts of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
}

impl Connection {
    pub(super) async fn open(addr: SocketAddr) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
        socket.set_nodelay(true).context("send at once")?;
        Ok(Connection { socket, received: Vec::with_capacity(16 << 10) })
    }

    /// Sends a whole request, and reads the whole answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.socket.write_all(request).await.context("send a request")?;
        self.received.clear();
        let head = loop {
            ensure!(self.read_more().await? > 0, "the connection ended in the middle of an answer");
            if let Some(head) = Head::read(&self.received)? {
                break head;
            }
        };
        let end = head.head_bytes + head.body_bytes;
        while self.received.len() < end {
            ensure!(self.read_more().await? > 0, "the connection ended in the middle of an answer");
        }
        ensure!(self.received.len() == end, "an answer is followed by something that nobody asked for");
        Ok(Answer { status: head.status, body: &self.received[head.head_bytes..] })
    }

    async fn read_more(&mut self) -> anyhow::Result<usize> {
        ensure!(self.received.len() <= ANSWER_BYTES_MAX, "an answer has more than {ANSWER_BYTES_MAX} bytes");
        self.socket.read_buf(&mut self.received).await.context("read an answer")
    }
}

impl Head {
    /// Reads the head of an answer; `None` where it is not all there yet.
    fn read(received: &[u8]) -> anyhow::Result<Option<Head>> {
        let Some(end) = received.windows(HEAD_END.len()).position(|window| window == HEAD_END) else { return Ok(None) };
        let head = std::str::from_utf8(&received[..end]).context("read the head of an answer")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let length = lines.find_map(content_length);
        let Some((status, body_bytes)) = status.zip(length) else { bail!("an answer is not as expected:\n{head}") };
        ensure!(body_bytes <= ANSWER_BYTES_MAX, "an answer has {body_bytes} bytes");
        Ok(Some(Head { status, head_bytes: end + HEAD_END.len(), body_bytes }))
    }
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
}

/// Appends the head of a request with a body of so many bytes.
pub(super) fn put_head(request: &mut Vec<u8>, content_type: &str, body_bytes: usize) {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: {content_type}\r\ncontent-length: {body_bytes}\r\n\r\n"
    );
    request.extend_from_slice(head.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 202 Accepted\r\ndate: x\r\nContent-Length:  5\r\n\r\nhello";
        let head = Head { status: 202, head_bytes: answer.len() - 5, body_bytes: 5 };
        assert_eq!(Head::read(answer).expect("an answer"), Some(head));
        for end in 0..answer.len() - 5 {
            assert_eq!(Head::read(&answer[..end]).expect("part of an answer"), None);
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        for answer in [
            "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 2\r\ncontent-length: 0\r\n\r\n",
            "SSH-2.0\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        ] {
            assert!(Head::read(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[tokio::test]
    async fn an_answer_in_pieces_is_put_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut connection = Connection::open(listener.local_addr().expect("bound")).await.expect("connected");
        let mut request = Vec::new();
        put_head(&mut request, "application/json", 2);
        request.extend_from_slice(b"{}");
        let serve = async {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut received = vec![0; request.len()];
            socket.read_exact(&mut received).await.expect("a request");
            for piece in ["HTTP/1.1 202 Acc", "epted\r\ncontent-length: 4\r\n", "\r\nab", "cd"] {
                socket.write_all(piece.as_bytes()).await.expect("sent");
                tokio::task::yield_now().await;
            }
            received
        };
        let (received, answer) = tokio::join!(serve, connection.exchange(&request));
        assert_eq!(answer.expect("an answer"), Answer { status: 202, body: b"abcd" });
        assert_eq!(received, request);
    }
}
