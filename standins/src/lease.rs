//! The use of a stand-in: a connection to the supervisor, which counts the processes that have one.

use crate::Endpoint;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The longest answer: the end of a log.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Longer than two installs and three starts, which have bounds of their own.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30 * 60);

/// Keeps a stand-in running for as long as it, and the process, live.
#[derive(Debug)]
pub struct Lease {
    endpoint: Endpoint,
    // The kernel closes it with the process.
    connection: TcpStream,
}

/// Where a supervisor listens, as it wrote it down.
#[derive(Deserialize)]
pub(crate) struct Announcement {
    port: u16,
    token: String,
}

#[derive(Serialize)]
struct Request<'a> {
    token: &'a str,
    server: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Url(String),
    Error(String),
    Died(String),
}

impl Lease {
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Asks a supervisor for a stand-in; `Ok(Err)` is its refusal.
    ///
    /// # Errors
    /// There is no supervisor there, or it went while it was asked.
    pub(crate) fn request(at: &Announcement, server: &str) -> std::io::Result<Result<Lease, String>> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, at.port))?;
        connection.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        let mut request = serde_json::to_vec(&Request { token: &at.token, server })?;
        request.push(b'\n');
        connection.write_all(&request)?;
        match answer(&connection)? {
            Answer::Url(url) => Ok(Ok(Lease::keep(Endpoint { url }, connection)?)),
            Answer::Error(why) | Answer::Died(why) => Ok(Err(why)),
        }
    }

    fn keep(endpoint: Endpoint, connection: TcpStream) -> std::io::Result<Lease> {
        let news = connection.try_clone()?;
        news.set_read_timeout(None)?;
        // Ends with the connection. Nobody waits for it: it only says why calls of a test fail from now on.
        std::thread::Builder::new().name("stand-in".into()).spawn(move || {
            if let Ok(Answer::Died(why)) = answer(&news) {
                eprintln!("{why}");
            }
        })?;
        Ok(Lease { endpoint, connection })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The thread that listens holds the connection too.
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
    }
}

fn answer(connection: &TcpStream) -> std::io::Result<Answer> {
    let mut line = String::new();
    BufReader::new(connection.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
