//! Content encodings of request bodies, with a bound on what comes out.

use axum::http::{HeaderMap, header};
use std::io::{self, Read};

/// Largest zstd window that is allocated: 8 MiB, what every decoder must support.
/// Source: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.2>
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

const BROTLI_BUFFER_BYTES: usize = 4096;

/// A content encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

/// Why a body does not decompress.
#[derive(Debug)]
pub(crate) enum InflateError {
    TooLarge,
    Broken(io::Error),
}

impl Encoding {
    /// The encoding that the headers name; in the error, what they say that is not understood, stacks of encodings
    /// included.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Encoding, String> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(first) = values.next() else {
            return Ok(Encoding::Identity);
        };
        let name = String::from_utf8_lossy(first.as_bytes()).trim().to_ascii_lowercase();
        if values.next().is_some() {
            return Err(format!("{name}, …"));
        }
        match name.as_str() {
            "" | "identity" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "deflate" => Ok(Encoding::Deflate),
            "zstd" => Ok(Encoding::Zstd),
            "br" => Ok(Encoding::Brotli),
            _ => Err(name),
        }
    }

    /// Decompresses, and stops as soon as there are more than `bytes_max` bytes.
    pub(crate) fn inflate(self, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
        let mut plain = Vec::with_capacity((body.len() * 4).min(bytes_max) + 1);
        let limit = bytes_max as u64 + 1;
        let read = match self {
            Encoding::Identity => body.take(limit).read_to_end(&mut plain),
            Encoding::Gzip => flate2::bufread::MultiGzDecoder::new(body).take(limit).read_to_end(&mut plain),
            Encoding::Deflate if is_zlib(body) => {
                flate2::bufread::ZlibDecoder::new(body).take(limit).read_to_end(&mut plain)
            }
            Encoding::Deflate => flate2::bufread::DeflateDecoder::new(body).take(limit).read_to_end(&mut plain),
            Encoding::Zstd => zstd_decoder(body).and_then(|decoder| decoder.take(limit).read_to_end(&mut plain)),
            Encoding::Brotli => {
                brotli_decompressor::Decompressor::new(body, BROTLI_BUFFER_BYTES).take(limit).read_to_end(&mut plain)
            }
        };
        match read {
            _ if plain.len() > bytes_max => Err(InflateError::TooLarge),
            Ok(_) => Ok(plain),
            Err(error) => Err(InflateError::Broken(error)),
        }
    }
}

/// `deflate` means the zlib format, but some clients send the bare stream.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 15 == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31))
}

fn zstd_decoder(body: &[u8]) -> io::Result<impl Read + '_> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};

    fn read(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("memory");
        bytes
    }

    fn encoded(plain: &[u8]) -> [(Encoding, Vec<u8>); 4] {
        [
            (Encoding::Gzip, read(GzEncoder::new(plain, Compression::fast()))),
            (Encoding::Deflate, read(ZlibEncoder::new(plain, Compression::fast()))),
            (Encoding::Deflate, read(DeflateEncoder::new(plain, Compression::fast()))),
            (Encoding::Zstd, zstd::encode_all(plain, 1).expect("memory")),
        ]
    }

    #[test]
    fn every_encoding_opens_and_stops_at_the_bound() {
        let plain = b"hello ".repeat(1000);
        for (encoding, body) in encoded(&plain) {
            assert_eq!(encoding.inflate(&body, 6000).expect("within the bound"), plain, "{encoding:?}");
            assert!(matches!(encoding.inflate(&body, 5999), Err(InflateError::TooLarge)), "{encoding:?}");
            let broken = encoding.inflate(&body[..body.len() / 2], 6000);
            assert!(matches!(broken, Err(InflateError::Broken(_))), "{encoding:?}");
        }
    }

    #[test]
    fn brotli_opens() {
        // printf hello | brotli | xxd -i
        let body = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        assert_eq!(Encoding::Brotli.inflate(&body, 5).expect("within the bound"), b"hello");
        assert!(matches!(Encoding::Brotli.inflate(&body, 4), Err(InflateError::TooLarge)));
        assert!(matches!(Encoding::Brotli.inflate(b"xyz", 4), Err(InflateError::Broken(_))));
    }
}
