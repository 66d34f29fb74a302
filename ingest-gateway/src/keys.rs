//! Write keys: who may send, and which source sent.
//!
//! Several keys are valid at once, also for one source, so that keys can be rotated. The source of a key is stamped on
//! events that name no source of their own; an event's own `source` stays.
//!
//! Keys are kept as SHA-256 digests. A key is long and drawn at random, so that a digest without salt or stretching gives
//! nothing away.

use crate::metrics::METRICS;
use crate::reload;
use anyhow::{Context, anyhow, ensure};
use axum::http::{HeaderMap, Uri, header};
use schema::validate::SOURCE_BYTES_MAX;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, RwLock};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Shortest key: what can be guessed is no key.
const KEY_BYTES_MIN: usize = 16;

/// Longest key: it has to fit a URL.
const KEY_BYTES_MAX: usize = 200;

/// What a digest in place of a key begins with; no key has a colon.
const DIGEST: &str = "sha256:";

/// A key and the source it stands for, written `SOURCE=KEY`, or `SOURCE=sha256:` and the key's digest in hexadecimal. It
/// never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteKey {
    source: Arc<str>,
    digest: [u8; 32],
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
        if let Some(digest) = key.strip_prefix(DIGEST) {
            let digest = from_hex(digest).ok_or(format!("{DIGEST} is followed by 64 hexadecimal digits"))?;
            return Ok(WriteKey { source: source.into(), digest });
        }
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) || !key.bytes().all(unreserved) {
            return Err(format!("a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} letters, digits and -._~"));
        }
        Ok(WriteKey { source: source.into(), digest: Sha256::digest(key).into() })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (k, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * k..2 * k + 2], 16).ok()?;
    }
    Some(digest)
}

/// The keys that are valid now: those that were given as a setting, and those of a file that may change.
#[derive(Debug)]
pub(crate) struct Keys {
    given: Vec<WriteKey>,
    file: Option<PathBuf>,
    valid: RwLock<Arc<[WriteKey]>>,
}

impl Keys {
    /// # Errors
    /// A file that can't be read, or that has no keys: nobody is let in because a file came out empty.
    pub(crate) fn load(given: Vec<WriteKey>, file: Option<PathBuf>) -> anyhow::Result<Arc<Keys>> {
        let keys = Keys { given, file, valid: RwLock::default() };
        let valid = keys.read()?;
        Ok(Arc::new(Keys { valid: RwLock::new(valid), ..keys }))
    }

    /// Takes over what the file has become.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let valid = self.read()?;
        let mut now = self.valid.write().expect("no holder panics");
        if *now != valid {
            tracing::info!(keys = valid.len(), "the write keys have changed");
            *now = valid;
        }
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Arc<[WriteKey]>> {
        let keys = self.read_all()?;
        keys.iter().for_each(|key| METRICS.expect(&key.source));
        Ok(keys)
    }

    fn read_all(&self) -> anyhow::Result<Arc<[WriteKey]>> {
        let Some(path) = &self.file else {
            return Ok(self.given.as_slice().into());
        };
        let what = || format!("--write-keys-file {}", path.display());
        let text = String::from_utf8(reload::read("--write-keys-file", path)?).with_context(what)?;
        let mut keys = self.given.clone();
        for (k, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                let key: Result<WriteKey, String> = line.parse();
                keys.push(key.map_err(|error| anyhow!("{}: line {}: {error}", what(), k + 1))?);
            }
        }
        ensure!(keys.len() > self.given.len(), "{}: it has no keys", what());
        Ok(keys.into())
    }

    /// Who may send by these keys; `None` for nobody.
    pub(crate) fn sender(&self, presented: Option<&[u8]>) -> Option<Sender> {
        sender(&self.valid.read().expect("no holder panics"), presented)
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

/// As [`Keys::sender`]. The time it takes tells nothing about the keys.
fn sender(keys: &[WriteKey], presented: Option<&[u8]>) -> Option<Sender> {
    if keys.is_empty() {
        return Some(Sender::Anyone);
    }
    let presented: [u8; 32] = Sha256::digest(presented?).into();
    let (mut found, mut place) = (Choice::from(0), 0u64);
    for (k, key) in keys.iter().enumerate() {
        let equal = key.digest.ct_eq(&presented);
        found |= equal;
        place.conditional_assign(&(k as u64), equal);
    }
    bool::from(found).then(|| Sender::Source(keys[place as usize].source.clone()))
}

/// The key in `Authorization: Bearer`, in `X-Write-Key`, or in `?write_key=`, where a beacon has to put it.
pub(crate) fn presented<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a [u8]> {
    let query = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("write_key=")).map(str::as_bytes);
    in_headers(headers).or_else(query)
}

pub(crate) fn in_headers(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    bearer.or_else(|| headers.get("x-write-key").map(|value| value.as_bytes()))
}

/// The token of an `Authorization: Bearer` value.
fn bearer(value: &[u8]) -> Option<&[u8]> {
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
    fn a_digest_stands_for_its_key() {
        // printf %s 0123456789abcdef | sha256sum
        let digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let key: WriteKey = format!("web=sha256:{digest}").parse().expect("a digest");
        assert_eq!(Ok(key), "web=0123456789abcdef".parse());
        for wrong in ["", "9f", &digest[1..], &digest.replace('9', "x"), &format!("{digest}00")] {
            assert!(format!("web=sha256:{wrong}").parse::<WriteKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_of_a_file_come_and_go_and_an_unusable_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        write("# of the web shop\nweb=0123456789abcdef\n\n");
        let given = vec!["app=fedcba9876543210".parse().expect("a key")];
        let keys = Keys::load(given, Some(path.clone())).expect("two keys");
        let may_send = |key: &str| keys.sender(Some(key.as_bytes())).is_some();
        assert!(may_send("0123456789abcdef") && may_send("fedcba9876543210"));
        write("web=0123456789abcdef-new\n");
        keys.reload().expect("another key");
        assert!(!may_send("0123456789abcdef") && may_send("0123456789abcdef-new") && may_send("fedcba9876543210"));
        for unusable in ["", "# none\n", "web=0123456789abcdef\nweb=short\n"] {
            write(unusable);
            let error = keys.reload().expect_err("unusable").to_string();
            assert!(error.contains("--write-keys-file"), "{error}");
            assert!(may_send("0123456789abcdef-new"));
        }
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
