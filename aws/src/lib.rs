//! How every process talks to AWS: one configuration, bounded calls, and a count of what each call costs.
//!
//! **Call**: one request and its answer. The SDK never repeats one by itself; [`Calls`] does, within a deadline, and
//! only where it is told to. **Unit**: what AWS bills a call by.

mod calls;
mod charge;
mod failure;
mod meter;
pub mod metrics;
mod outcome;
mod prices;
mod settings;
mod summary;

pub use calls::Calls;
pub use charge::{Charge, KB_PER_GB, Plan, charge};
pub use failure::{Failure, code};
pub use meter::{Count, Meter};
pub use outcome::Outcomes;
pub use prices::{Price, Prices};
pub use settings::Settings;
pub use summary::Summary;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};

/// What a backend needs to reach AWS.
#[derive(Clone, Debug)]
pub struct Aws {
    /// For the SDK's clients. Each is built with the interceptor [`Outcomes`], so that its calls are counted by what they
    /// came to.
    pub config: SdkConfig,
    pub calls: Calls,
    pub meter: Meter,
}

impl Aws {
    /// Finds region, endpoints and credentials as every AWS tool does (environment, profile, web identity, container,
    /// instance), with `settings` above them. `seed` spreads the pauses of this process apart from those of others.
    pub async fn connect(settings: &Settings, seed: u64) -> Aws {
        metrics::register();
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        Aws::over(loader.load().await, settings, seed)
    }

    /// What region, endpoints and credentials that were found already make with `settings`: every call is bounded, and none
    /// is repeated by the SDK.
    pub fn over(found: SdkConfig, settings: &Settings, seed: u64) -> Aws {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .operation_attempt_timeout(settings.call_timeout);
        let config = found.into_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts.build());
        Aws { config: config.build(), calls: Calls::new(settings.call_deadline, seed), meter: Meter::default() }
    }
}
