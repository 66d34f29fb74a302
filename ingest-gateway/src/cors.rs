//! Which web pages may send events (CORS).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::str::FromStr;

/// How long a browser may remember a preflight: a day. Browsers cap it further.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static("content-type, content-encoding, authorization, x-write-key");

/// Origins whose pages may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Any,
    These(Vec<HeaderValue>),
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Origins, String> {
        if text == "*" {
            return Ok(Origins::Any);
        }
        text.split(',').map(origin).collect::<Result<_, _>>().map(Origins::These)
    }
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.trim();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
        return Err(format!("`{text}` is not an origin, as in https://www.example.com"));
    }
    HeaderValue::from_str(text).map_err(|error| error.to_string())
}

impl Origins {
    /// Lets the page that asked read the response, if it may.
    pub(crate) fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Some(origin) = origin else {
            return;
        };
        match self {
            Origins::Any => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::These(origins) => {
                headers.insert(header::VARY, HeaderValue::from_static("origin"));
                if origins.contains(origin) {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
    }
}

/// Answers the question of a browser whether it may send.
pub(crate) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &str, asks: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        let origins: Origins = origins.parse().expect("origins");
        origins.allow(Some(&HeaderValue::from_static(asks)), &mut headers);
        let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(allowed.to_str().expect("ASCII").to_string())
    }

    #[test]
    fn only_listed_origins_are_let_in() {
        assert_eq!(allowed("*", "https://a.example").as_deref(), Some("*"));
        let list = "https://a.example, http://localhost:3000";
        assert_eq!(allowed(list, "http://localhost:3000").as_deref(), Some("http://localhost:3000"));
        assert_eq!(allowed(list, "https://b.example"), None);
    }
}
