//! A queue and its dead letters, for development and for those who have no infrastructure as code.

use super::attributes::{Attributes, BODY_BYTES_MAX, RECEIVES_MAX, TARGET};
use super::meter::Billing;
use super::{error, url_of};
use crate::QueueError;
use aws::{Aws, Failure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// Dead letters wait for a person as long as SQS lets them. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const DEAD_RETENTION: Duration = Duration::from_secs(14 * 86_400);

/// Ends the name of the queue of dead letters.
const DEAD: &str = "-dead";

/// A queue as it shall be.
#[derive(Clone, Debug)]
pub struct SqsSetup {
    pub name: String,
    /// How long a message waits before SQS throws it away: from a minute to 14 days.
    pub retention: Duration,
    /// A message that was handed out this often goes to `<name>-dead`; without a number it comes again for ever.
    pub receives_max: Option<NonZeroU32>,
}

/// The queue of the dead letters of a queue, both by name or URL.
pub fn dead_letters_of(name_or_url: &str) -> String {
    format!("{name_or_url}{DEAD}")
}

/// Creates a queue, and one for its dead letters, unless they are there, and sets their attributes. Gives the queue's URL.
///
/// Safe to repeat, with other settings as well.
///
/// # Errors
/// [`QueueError::Refused`]: a name or retention that can't be, or access denied.
pub async fn setup(aws: &Aws, settings: &SqsSetup) -> Result<String, QueueError> {
    let setter = Setter { aws, client: super::client(aws), billing: Billing(aws.meter.clone()) };
    Box::pin(setter.set_up(settings)).await
}

type Map = HashMap<QueueAttributeName, String>;

struct Setter<'a> {
    aws: &'a Aws,
    client: Client,
    billing: Billing,
}

impl Setter<'_> {
    async fn set_up(&self, settings: &SqsSetup) -> Result<String, QueueError> {
        let mut attributes = attributes(settings.retention);
        if let Some(receives_max) = settings.receives_max {
            let url = self.create(&dead_letters_of(&settings.name)).await?;
            self.set(&url, &self::attributes(DEAD_RETENTION)).await?;
            let dead = Attributes::read(self.aws, &self.client, &self.billing, &url).await?;
            let policy = serde_json::json!({ TARGET: dead.arn, RECEIVES_MAX: receives_max });
            attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
        }
        let url = self.create(&settings.name).await?;
        self.set(&url, &attributes).await?;
        Ok(url)
    }

    /// Creates a queue of default attributes. One that has others is found by its name.
    async fn create(&self, name: &str) -> Result<String, QueueError> {
        let create = async || {
            self.billing.count("CreateQueue", 0);
            match self.client.create_queue().queue_name(name).send().await {
                Ok(created) => Ok(created.queue_url),
                Err(error) if error.as_service_error().is_some_and(|error| error.is_queue_name_exists()) => Ok(None),
                Err(error) => Err(Failure::of(&error)),
            }
        };
        match self.aws.calls.repeat(create).await {
            Ok(Some(url)) => Ok(url),
            Ok(None) => url_of(self.aws, &self.client, &self.billing, name).await,
            Err(failure) => Err(error(name, &failure)),
        }
    }

    async fn set(&self, url: &str, attributes: &Map) -> Result<(), QueueError> {
        let set = async || {
            self.billing.count("SetQueueAttributes", 0);
            let set = self.client.set_queue_attributes().queue_url(url).set_attributes(Some(attributes.clone()));
            set.send().await.map(drop).map_err(|error| Failure::of(&error))
        };
        self.aws.calls.repeat(set).await.map_err(|failure| error(url, &failure))
    }
}

fn attributes(retention: Duration) -> Map {
    HashMap::from([
        (QueueAttributeName::MessageRetentionPeriod, retention.as_secs().to_string()),
        (QueueAttributeName::MaximumMessageSize, BODY_BYTES_MAX.to_string()),
    ])
}
