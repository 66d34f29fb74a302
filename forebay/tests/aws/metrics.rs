//! What a process counts, as it shows it.

use crate::http::exchange;
use std::net::SocketAddr;

/// Sum of a metric over all its labels; 0 where nothing was counted yet.
pub(crate) fn total(address: SocketAddr, metric: &str) -> f64 {
    let of_metric = |line: &&str| line.split(['{', ' ']).next() == Some(metric);
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    shown(address).lines().filter(of_metric).filter_map(value).sum()
}

pub(crate) fn shown(address: SocketAddr) -> String {
    let answer = exchange(address, "GET /metrics HTTP/1.1", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{address} shows no metrics: {answer}");
    answer
}
