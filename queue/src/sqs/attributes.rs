//! What a queue says of itself.

use super::error;
use super::meter::Billing;
use crate::QueueError;
use aws::{Aws, Failure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// Bytes of text of the largest message, as [`crate::MESSAGE_BYTES_MAX`] has it.
pub(super) const BODY_BYTES_MAX: u64 = 1 << 20;

pub(super) const TARGET: &str = "deadLetterTargetArn";
pub(super) const RECEIVES_MAX: &str = "maxReceiveCount";

/// Where messages go that were handed out too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// ARN of the queue.
    pub queue: String,
    /// How often a message is handed out before it goes there.
    pub receives_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) arn: String,
    pub(super) retention: Duration,
    pub(super) body_bytes_max: u64,
    pub(super) dead_letters: Option<DeadLetters>,
}

impl Attributes {
    pub(super) async fn read(
        aws: &Aws,
        client: &Client,
        billing: &Billing,
        url: &str,
    ) -> Result<Attributes, QueueError> {
        let read = async || {
            billing.count("GetQueueAttributes", 0);
            let get = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
            let answer = get.send().await.map_err(|error| Failure::of(&error))?;
            Attributes::of(&answer.attributes.unwrap_or_default()).map_err(Failure::Refused)
        };
        aws.calls.repeat(read).await.map_err(|failure| error(url, &failure))
    }

    fn of(map: &HashMap<QueueAttributeName, String>) -> Result<Attributes, String> {
        let text = |name: QueueAttributeName| map.get(&name).ok_or_else(|| format!("it has no {name}"));
        let number = |name: QueueAttributeName| {
            text(name.clone())?.parse::<u64>().map_err(|_| format!("its {name} is no number"))
        };
        Ok(Attributes {
            arn: text(QueueAttributeName::QueueArn)?.clone(),
            retention: Duration::from_secs(number(QueueAttributeName::MessageRetentionPeriod)?),
            body_bytes_max: number(QueueAttributeName::MaximumMessageSize)?,
            dead_letters: map.get(&QueueAttributeName::RedrivePolicy).map(|policy| dead_letters(policy)).transpose()?,
        })
    }

    /// Refuses a queue that would refuse messages which the port takes, as queues do that were made when SQS took less.
    pub(super) fn check(&self, url: &str) -> Result<(), QueueError> {
        let Attributes { body_bytes_max, .. } = self;
        if *body_bytes_max >= BODY_BYTES_MAX {
            return Ok(());
        }
        let why = format!("it takes {body_bytes_max} bytes a message: set its MaximumMessageSize to {BODY_BYTES_MAX}");
        Err(QueueError::Refused(format!("queue {url}: {why}")))
    }
}

/// Reads a redrive policy; the count is a number or a text.
fn dead_letters(policy: &str) -> Result<DeadLetters, String> {
    let wrong = || format!("its redrive policy is {policy}");
    let policy: Value = serde_json::from_str(policy).map_err(|_| wrong())?;
    let queue = policy[TARGET].as_str().ok_or_else(wrong)?.to_string();
    let count = &policy[RECEIVES_MAX];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
    let receives_max = count.and_then(|count| u32::try_from(count).ok()).ok_or_else(wrong)?;
    Ok(DeadLetters { queue, receives_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redrive_policies_are_read_in_both_ways_of_writing_and_refused_in_others() {
        let expected = DeadLetters { queue: "arn:aws:sqs:::dead".to_string(), receives_max: 5 };
        for count in ["5", "\"5\""] {
            let policy = format!("{{\"deadLetterTargetArn\":\"arn:aws:sqs:::dead\",\"maxReceiveCount\":{count}}}");
            assert_eq!(dead_letters(&policy), Ok(expected.clone()));
        }
        for wrong in ["", "{}", "[]", "{\"deadLetterTargetArn\":\"a\",\"maxReceiveCount\":-1}"] {
            assert!(dead_letters(wrong).is_err(), "{wrong}");
        }
    }
}
