//! How many tasks were given up.

use crate::metrics::METRICS;
use queue::Queue;
use service::Stop;
use std::sync::Arc;
use std::time::Duration;

/// How often the queue of dead letters is asked: each time is a request that AWS bills.
const ASKED_EVERY: Duration = Duration::from_secs(60);

/// Shows how many dead letters there are, until `stop`. While the queue does not answer, the last count stands.
pub(crate) async fn watch(dead: Arc<dyn Queue>, stop: Stop) -> anyhow::Result<()> {
    let ask = async {
        loop {
            match dead.depth().await {
                Ok(count) => METRICS.dead_letters.set(i64::try_from(count).unwrap_or(i64::MAX)),
                Err(error) => tracing::warn!(%error, "the queue of dead letters is asked again"),
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    };
    stop.run_until_cancelled(ask).await;
    Ok(())
}
