//! Write keys: who may send, and which source sent.
//!
//! Several keys are valid at once, also for one source, so that keys can be rotated. The source of a key is stamped on
//! events that name no source of their own; an event's own `source` stays.

use axum::http::{HeaderMap, Uri, header};
use schema::validate::SOURCE_BYTES_MAX;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Shortest key: what can be guessed is no key.
const KEY_BYTES_MIN: usize = 16;

/// Longest key: it has to fit a URL.
const KEY_BYTES_MAX: usize = 200;

/// A key and the source it stands for, written `SOURCE=KEY`. The key never prints.
#[derive(Clone)]
pub struct WriteKey {
    source: Arc<str>,
    key: Arc<[u8]>,
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.source)
    }
}

impl FromStr for WriteKey {
    type Err = String;

    fn from_str(text: &str) -> Result<WriteKey, String> {
        let (source, key) = text.split_once('=').ok_or("a write key is written SOURCE=KEY")?;
        if source.is_empty() || source.len() > SOURCE_BYTES_MAX {
            return Err(format!("the source of a write key has 1 to {SOURCE_BYTES_MAX} bytes"));
        }
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) || !key.bytes().all(unreserved) {
            return Err(format!("a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} letters, digits and -._~"));
        }
        Ok(WriteKey { source: source.into(), key: key.as_bytes().into() })
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// No keys are asked for.
    Anyone,
    Source(Arc<str>),
}

impl Sender {
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Sender::Anyone => None,
            Sender::Source(source) => Some(source),
        }
    }
}

/// Who may send by these keys; `None` for nobody. The time it takes tells nothing about the keys but their lengths.
pub(crate) fn sender(keys: &[WriteKey], presented: Option<&[u8]>) -> Option<Sender> {
    if keys.is_empty() {
        return Some(Sender::Anyone);
    }
    let presented = presented?;
    let (mut found, mut place) = (Choice::from(0), 0u64);
    for (k, key) in keys.iter().enumerate() {
        let equal = key.key.ct_eq(presented);
        found |= equal;
        place.conditional_assign(&(k as u64), equal);
    }
    bool::from(found).then(|| Sender::Source(keys[place as usize].source.clone()))
}

/// The key in `Authorization: Bearer`, in `X-Write-Key`, or in `?write_key=`, where a beacon has to put it.
pub(crate) fn presented<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a [u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let header = || headers.get("x-write-key").map(|value| value.as_bytes());
    let query = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("write_key=")).map(str::as_bytes);
    bearer.or_else(header).or_else(query)
}

/// The token of an `Authorization: Bearer` value.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<WriteKey> {
        let keys = ["web=0123456789abcdef", "app=fedcba9876543210", "web=0123456789abcdef-new"];
        keys.iter().map(|text| text.parse().expect("a key")).collect()
    }

    #[test]
    fn every_key_stands_for_its_source_and_nothing_else_passes() {
        let source = |presented: &str| {
            sender(&keys(), Some(presented.as_bytes())).map(|sender| sender.source().map(str::to_string))
        };
        assert_eq!(source("0123456789abcdef"), Some(Some("web".into())));
        assert_eq!(source("0123456789abcdef-new"), Some(Some("web".into())));
        assert_eq!(source("fedcba9876543210"), Some(Some("app".into())));
        for wrong in ["", "0123456789abcde", "0123456789abcdeg", "web"] {
            assert_eq!(source(wrong), None, "{wrong}");
        }
        assert_eq!(sender(&keys(), None), None);
        assert_eq!(sender(&[], None), Some(Sender::Anyone));
    }

    #[test]
    fn a_key_is_found_in_each_of_its_places() {
        let uri: Uri = "/v1/events?a=b&write_key=k".parse().expect("a URI");
        let mut headers = HeaderMap::new();
        assert_eq!(presented(&headers, &uri), Some(b"k".as_slice()));
        headers.insert("x-write-key", "h".parse().expect("a value"));
        assert_eq!(presented(&headers, &uri), Some(b"h".as_slice()));
        headers.insert("authorization", "bearer  t".parse().expect("a value"));
        assert_eq!(presented(&headers, &uri), Some(b"t".as_slice()));
    }
}
