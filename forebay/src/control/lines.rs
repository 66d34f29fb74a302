//! Lines of bounded length.

use super::LINE_BYTES_MAX;
use std::io::{self, ErrorKind};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads a line, without its newline.
///
/// # Errors
/// [`ErrorKind::UnexpectedEof`] where there is no whole line any more, [`ErrorKind::InvalidData`] for one that is too long.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() + 1 == LINE_BYTES_MAX => {
            Err(io::Error::new(ErrorKind::InvalidData, format!("a line of more than {LINE_BYTES_MAX} bytes")))
        }
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), mut line: Vec<u8>) -> io::Result<()> {
    line.push(b'\n');
    to.write_all(&line).await
}
