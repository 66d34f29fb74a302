//! A queue in SQS.
//!
//! **Body**: a message in base64, since SQS takes text only. **Entry**: a message among those of one call. **Dead
//! letters**: the queue to which SQS moves a message that was handed out too often.
//!
//! A message whose body is no base64 is a foreign one, put in by hand or by another program: it is handed out as the bytes
//! of its text, so that whoever receives it decides what becomes of it and it stands in nobody's way.

mod attributes;
mod body;
mod meter;
mod send;
mod setup;

pub use attributes::DeadLetters;
pub use setup::{SqsSetup, dead_letters_of, setup};

use crate::{Delivery, Queue, QueueError};
use async_trait::async_trait;
use attributes::Attributes;
use aws::{Aws, Calls, Failure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use meter::Billing;
use std::error::Error;
use std::time::Duration;

/// Most messages of one call. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MESSAGES_MAX: usize = 10;

/// Longest wait for a message. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Longest visibility. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
const VISIBILITY_MAX: Duration = Duration::from_secs(12 * 3600);

/// Longest wait for an answer where the settings have none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Codes of a receipt that no longer holds its message, or never did. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html#API_ChangeMessageVisibility_Errors>
const GONE: [&str; 4] = [
    "AWS.SimpleQueueService.MessageNotInflight",
    "MessageNotInflight",
    "ReceiptHandleIsInvalid",
    "AWS.SimpleQueueService.ReceiptHandleIsInvalid",
];

/// SQS says by this code, and the parameter's name, that the message of a receipt was deleted or is visible again.
const INVALID_PARAMETER: &str = "InvalidParameterValue";

/// A queue of SQS. Clones share their connections.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    attributes: Attributes,
    calls: Calls,
    billing: Billing,
    answer_timeout: Duration,
}

/// A client whose calls are counted.
fn client(aws: &Aws) -> Client {
    Client::from_conf(aws_sdk_sqs::config::Builder::from(&aws.config).interceptor(aws::Outcomes).build())
}

impl SqsQueue {
    /// Opens a queue by its name or URL and reads its attributes.
    ///
    /// # Errors
    /// [`QueueError::Refused`]: the queue is not there, may not be used, or takes smaller messages than
    /// [`crate::MESSAGE_BYTES_MAX`]. [`QueueError::Unavailable`]: no answer within the deadline.
    pub async fn open(aws: &Aws, name_or_url: &str) -> Result<SqsQueue, QueueError> {
        let (client, billing) = (client(aws), Billing(aws.meter.clone()));
        let url = if name_or_url.contains("://") {
            name_or_url.to_string()
        } else {
            Box::pin(url_of(aws, &client, &billing, name_or_url)).await?
        };
        let attributes = Box::pin(Attributes::read(aws, &client, &billing, &url)).await?;
        attributes.check(&url)?;
        let answer_timeout = aws.config.timeout_config().and_then(TimeoutConfig::operation_attempt_timeout);
        let (calls, answer_timeout) = (aws.calls.clone(), answer_timeout.unwrap_or(ANSWER_TIMEOUT));
        Ok(SqsQueue { client, url, attributes, calls, billing, answer_timeout })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long a message waits before SQS throws it away.
    pub fn retention(&self) -> Duration {
        self.attributes.retention
    }

    /// Where messages go that were handed out too often; `None` where they come again for ever.
    pub fn dead_letters(&self) -> Option<&DeadLetters> {
        self.attributes.dead_letters.as_ref()
    }

    async fn receive_messages(
        &self,
        count_max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, Failure> {
        // An answer that is waited for takes longer than others.
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(self.answer_timeout + wait).build();
        let receive = async || {
            let receive = self.client.receive_message().queue_url(&self.url);
            let receive = receive.max_number_of_messages(count_max.clamp(1, MESSAGES_MAX) as i32);
            let receive = receive.visibility_timeout(seconds(visibility)).wait_time_seconds(seconds(wait));
            let receive = receive.message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
            let override_timeouts = Builder::default().timeout_config(timeouts.clone());
            let received = receive.customize().config_override(override_timeouts).send().await;
            let messages = received.as_ref().map_or(&[][..], |received| received.messages());
            self.billing.count("ReceiveMessage", messages.iter().filter_map(Message::body).map(str::len).sum());
            received.map(|received| received.messages.unwrap_or_default()).map_err(|error| Failure::of(&error))
        };
        self.calls.longer(wait).repeat(receive).await
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, messages: Vec<Bytes>) -> Vec<Result<(), QueueError>> {
        Box::pin(send::send(self, &messages)).await
    }

    /// Hands out at most ten messages. SQS counts in whole seconds: `visibility` and `wait` are rounded up, to no more
    /// than twelve hours and twenty seconds.
    async fn receive(
        &self,
        count_max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let received = Box::pin(self.receive_messages(count_max, visibility.min(VISIBILITY_MAX), wait.min(WAIT_MAX)));
        let messages = received.await.map_err(|failure| self::error(&self.url, &failure))?;
        Ok(messages.into_iter().filter_map(delivery).collect())
    }

    /// Succeeds as well, as SQS does, for a receipt that has run out while nobody else holds its message; the message may
    /// then come again, as any may.
    async fn ack(&self, receipt: &str) -> Result<(), QueueError> {
        let ack = async || {
            self.billing.count("DeleteMessage", 0);
            let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
            held(delete.send().await)
        };
        settled(&self.url, receipt, Box::pin(self.calls.repeat(ack)).await)
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        let visibility = seconds(visibility.min(VISIBILITY_MAX));
        let extend = async || {
            self.billing.count("ChangeMessageVisibility", 0);
            let change = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
            held(change.visibility_timeout(visibility).send().await)
        };
        settled(&self.url, receipt, Box::pin(self.calls.repeat(extend)).await)
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        let depth = async || {
            self.billing.count("GetQueueAttributes", 0);
            let get = self.client.get_queue_attributes().queue_url(&self.url);
            let get = get.set_attribute_names(Some(COUNTS.to_vec())).send().await;
            get.map(|answer| answer.attributes.unwrap_or_default()).map_err(|error| Failure::of(&error))
        };
        let counts = Box::pin(self.calls.repeat(depth)).await.map_err(|failure| error(&self.url, &failure))?;
        Ok(counts.values().filter_map(|count| count.parse::<u64>().ok()).sum())
    }
}

/// Messages that wait, that are held, and that were sent with a delay.
const COUNTS: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
];

async fn url_of(aws: &Aws, client: &Client, billing: &Billing, name: &str) -> Result<String, QueueError> {
    let find = async || {
        billing.count("GetQueueUrl", 0);
        let found = client.get_queue_url().queue_name(name).send().await.map_err(|error| Failure::of(&error))?;
        found.queue_url.ok_or_else(|| Failure::Refused("a queue without a URL".to_string()))
    };
    aws.calls.repeat(find).await.map_err(|failure| error(name, &failure))
}

/// `None` where nothing says what to do with the message: it is held, and comes again.
fn delivery(message: Message) -> Option<Delivery> {
    let deliveries = message.attributes.as_ref()?.get(&MessageSystemAttributeName::ApproximateReceiveCount)?;
    let (deliveries, bytes) = (deliveries.parse().ok()?, body::decode(message.body?));
    Some(Delivery { receipt: message.receipt_handle?, bytes, deliveries })
}

/// Tells a receipt that holds nothing, `None`, from calls that failed.
fn held<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Result<Option<()>, Failure>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match answer {
        Ok(_) => Ok(Some(())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(Failure::of(&error)),
    }
}

fn is_gone<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    match aws::code(error) {
        INVALID_PARAMETER => message.contains("ReceiptHandle"),
        code => GONE.contains(&code),
    }
}

fn settled(url: &str, receipt: &str, held: Result<Option<()>, Failure>) -> Result<(), QueueError> {
    held.map_err(|failure| error(url, &failure))?.ok_or_else(|| QueueError::Expired(receipt.to_string()))
}

/// Says what the caller can do about a failure, and of which queue it is.
fn error(queue: &str, failure: &Failure) -> QueueError {
    let text = format!("queue {queue}: {failure}");
    match failure {
        Failure::Refused(_) => QueueError::Refused(text),
        Failure::Throttled(_) | Failure::Unavailable(_) => QueueError::Unavailable(text),
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}
