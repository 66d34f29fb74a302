//! A worker of the fleet: takes tasks, one after the other, and carries them out.
//!
//! **Over**: there is nothing left to do for a task, since its plan is complete or is not there. **Poison**: a task that
//! fails each time, or ends its worker. It goes to the dead letters with the reason; nothing is lost by that, as the plan
//! stays open and the next planning asks for it again.

use crate::chain::{self, DayPlans};
use crate::compact::{Done, Work, completed_at};
use crate::config::WorkerConfig;
use crate::copies::Copies;
use crate::error::CompactError;
use crate::fleet::IfOpen;
use crate::group::{Group, missing};
use crate::metrics::METRICS;
use crate::task::{DeadLetter, Task};
use crate::{Compactor, Summary};
use bytes::Bytes;
use queue::{Delivery, Queue, QueueError};
use schema::{Day, Table};
use service::{Halt, Stop};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for a task: as long as SQS waits.
const WAIT: Duration = Duration::from_secs(20);

/// Pause after a queue did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The visibility is prolonged when this part of it has passed: two failures to do so are survived.
const PROLONGED_AT: u32 = 3;

/// Most bytes of a reason and of a message in a dead letter, so that both fit one, were every byte escaped with six.
const QUOTED_BYTES_MAX: usize = queue::MESSAGE_BYTES_MAX / 16;

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs exist; other groups of the plan do not yet.
    Done,
    /// Its outputs exist, and with them the plan is complete.
    Completed,
    /// There was nothing to do.
    Over,
    /// It failed, and comes again.
    Failed,
    /// It is with the dead letters.
    Dead,
}

impl Outcome {
    const ALL: [Outcome; 5] = [Outcome::Done, Outcome::Completed, Outcome::Over, Outcome::Failed, Outcome::Dead];

    fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Completed => "completed",
            Outcome::Over => "over",
            Outcome::Failed => "failed",
            Outcome::Dead => "dead",
        }
    }
}

/// Takes tasks from a queue. Clones share what they know of the last plan.
#[derive(Clone, Debug)]
pub struct Worker {
    compactor: Compactor,
    config: WorkerConfig,
    tasks: Arc<dyn Queue>,
    dead: Arc<dyn Queue>,
    known: Arc<Mutex<Option<Known>>>,
}

/// The copies among the rows of a plan: finding them takes a reading of all ids, and a worker often has several tasks of
/// one plan.
#[derive(Clone, Debug)]
struct Known {
    day: (Table, Day),
    number: u64,
    copies: Arc<Copies>,
}

/// A plan as a worker finds it.
struct Found {
    plans: DayPlans,
    day: (Table, Day),
    number: u64,
}

impl Worker {
    /// A worker that takes `tasks`, and gives up those that fail too often as `dead` letters.
    pub fn new(compactor: Compactor, config: WorkerConfig, tasks: Arc<dyn Queue>, dead: Arc<dyn Queue>) -> Worker {
        for outcome in Outcome::ALL {
            // Shown as 0 before the first, so that the first is a rise that an alarm sees.
            METRICS.tasks.with_label_values(&[outcome.name()]);
        }
        Worker { compactor, config, tasks, dead, known: Arc::default() }
    }

    /// Takes tasks until `stop`; the one at hand is given back then.
    ///
    /// # Errors
    /// [`Halt`], and the task is given back; a queue that refuses. What else a task fails with is logged and becomes its
    /// reason.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        self.compactor.show_ready();
        while let Some(received) = stop.run_until_cancelled(self.receive(WAIT)).await {
            match received {
                Ok(Some(delivery)) => self.take_until(&delivery, &stop).await?,
                Ok(None) => self.compactor.show_ready(),
                Err(error) => self.pass_over(error.into(), &stop).await?,
            }
        }
        Ok(())
    }

    /// Takes one task, if there is one within `wait`; what became of it.
    ///
    /// # Errors
    /// [`CompactError::Halt`], and the task is given back; [`CompactError::Queue`]: the queue of tasks or of dead letters
    /// does not answer, or refuses.
    pub async fn take_one(&self, wait: Duration) -> Result<Option<Outcome>, CompactError> {
        match self.receive(wait).await? {
            Some(delivery) => self.take(&delivery).await.map(Some),
            None => Ok(None),
        }
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        Ok(self.tasks.receive(1, self.config.task_visibility, wait).await?.into_iter().next())
    }

    async fn take_until(&self, delivery: &Delivery, stop: &Stop) -> anyhow::Result<()> {
        match stop.run_until_cancelled(self.take(delivery)).await {
            None => self.hide(delivery, Duration::ZERO).await,
            Some(Ok(_)) => self.compactor.show_ready(),
            Some(Err(error)) => self.pass_over(error, stop).await?,
        }
        Ok(())
    }

    /// Rests after a queue did not answer, so that it is asked again.
    async fn pass_over(&self, error: CompactError, stop: &Stop) -> anyhow::Result<()> {
        if matches!(error, CompactError::Halt(_) | CompactError::Queue(QueueError::Refused(_))) {
            return Err(error.into());
        }
        tracing::warn!(%error, "the queue of tasks is asked again");
        if let Some(part) = &self.compactor.ready {
            part.not_ready(&error.to_string());
        }
        stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        Ok(())
    }

    async fn take(&self, delivery: &Delivery) -> Result<Outcome, CompactError> {
        let outcome = self.judge(delivery).await?;
        METRICS.tasks.with_label_values(&[outcome.name()]).inc();
        tracing::info!(outcome = outcome.name(), deliveries = delivery.deliveries, "took a task");
        Ok(outcome)
    }

    async fn judge(&self, delivery: &Delivery) -> Result<Outcome, CompactError> {
        if delivery.deliveries > self.config.task_attempts_max.get() {
            return Ok(self.bury(delivery, "none of its workers lived to say what became of it").await?);
        }
        let task = Task::decode(&delivery.bytes).and_then(|task| Ok((task.of_day()?, task)));
        let (day, task) = match task {
            Ok(task) => task,
            Err(reason) => return Ok(self.bury(delivery, &reason).await?),
        };
        match self.while_hidden(delivery, self.carry_out(day, task, IfOpen::after(delivery.deliveries))).await {
            Ok(outcome) => {
                self.ack(delivery).await?;
                Ok(outcome)
            }
            // Trying again won't help, nor would a letter: a person must look, and then the task goes on.
            Err(CompactError::Halt(halt)) => {
                self.hide(delivery, Duration::ZERO).await;
                Err(halt.into())
            }
            Err(error) => Ok(self.try_again(delivery, error).await?),
        }
    }

    /// Lets a task that failed rest, or gives it up.
    async fn try_again(&self, delivery: &Delivery, error: CompactError) -> Result<Outcome, QueueError> {
        let reason = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(reason, deliveries = delivery.deliveries, "a task failed");
        if delivery.deliveries >= self.config.task_attempts_max.get() {
            return self.bury(delivery, &reason).await;
        }
        self.hide(delivery, self.config.task_retry_after).await;
        Ok(Outcome::Failed)
    }

    /// Works, and keeps the task hidden from others meanwhile.
    async fn while_hidden<T>(&self, delivery: &Delivery, work: impl Future<Output = T>) -> T {
        let prolong = async {
            loop {
                tokio::time::sleep(self.config.task_visibility / PROLONGED_AT).await;
                self.hide(delivery, self.config.task_visibility).await;
            }
        };
        tokio::select! {
            done = work => done,
            never = prolong => never,
        }
    }

    /// Where it fails another worker takes the task as well, which does no harm.
    async fn hide(&self, delivery: &Delivery, visibility: Duration) {
        if let Err(error) = self.tasks.extend(&delivery.receipt, visibility).await {
            tracing::warn!(%error, "a task may be taken twice");
        }
    }

    /// A task that is no longer held comes again and is over then.
    async fn ack(&self, delivery: &Delivery) -> Result<(), QueueError> {
        match self.tasks.ack(&delivery.receipt).await {
            Err(QueueError::Expired(_)) => Ok(()),
            acked => acked,
        }
    }

    /// Puts a task among the dead letters, with the reason.
    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<Outcome, QueueError> {
        let task = String::from_utf8_lossy(&delivery.bytes);
        tracing::error!(reason, %task, deliveries = delivery.deliveries, "a task goes to the dead letters");
        let (reason, task) = (quoted(reason), quoted(&task));
        let letter = DeadLetter { reason, deliveries: delivery.deliveries, task };
        self.dead.send(vec![Bytes::from(letter.encode())]).await.into_iter().collect::<Result<(), _>>()?;
        self.ack(delivery).await?;
        Ok(Outcome::Dead)
    }

    async fn carry_out(&self, day: (Table, Day), task: Task, if_open: IfOpen) -> Result<Outcome, CompactError> {
        let (worker, more, tasks) = (self.clone(), task.more, self.tasks.clone());
        let number = task.plan;
        let labour = Box::pin(async move { worker.carry_out_here(day, &task).await });
        let outcome = self.compactor.labour(labour).await.map_err(|error| located(error, day, number))?;
        if more && outcome != Outcome::Done {
            self.compactor.plan_on(day, &*tasks, if_open).await?;
        }
        Ok(outcome)
    }

    async fn carry_out_here(&self, day: (Table, Day), task: &Task) -> Result<Outcome, CompactError> {
        let ledger = &*self.compactor.parts.ledger;
        let plans = DayPlans::load(ledger, &chain::of_day(day.0, day.1)).await?;
        // A later plan is only appended when this one is complete.
        if plans.next() != task.plan + 1 {
            return Ok(Outcome::Over);
        }
        let found = Found { plans, day, number: task.plan };
        let work = found.work(&self.compactor);
        if completed_at(work.lake, work.plan).await?.is_some() {
            return Ok(Outcome::Over);
        }
        let Some(copies) = self.copies(&found, &work).await? else { return Ok(Outcome::Over) };
        let missing = missing(work.lake, work.plan).await?;
        if missing.keys().any(|partition| task.partitions.contains(partition)) {
            let partitions = task.partitions.iter().filter(|partition| missing.contains_key(*partition));
            let group = Group::new(work.plan, &partitions.cloned().collect());
            if !work.carry_out_group(&group, &copies).await? {
                return Ok(Outcome::Over);
            }
        }
        match work.finish(&copies).await? {
            Some(done) => Ok(found.completed(&done)),
            None => Ok(Outcome::Done),
        }
    }

    /// The plan's copies, found once for each plan.
    async fn copies(&self, found: &Found, work: &Work<'_>) -> Result<Option<Arc<Copies>>, CompactError> {
        let known = self.known.lock().expect("nobody panics while holding it").clone();
        if let Some(known) = known.filter(|known| (known.day, known.number) == (found.day, found.number)) {
            return Ok(Some(known.copies));
        }
        let Some(copies) = work.find_copies().await?.map(Arc::new) else { return Ok(None) };
        let known = Known { day: found.day, number: found.number, copies: copies.clone() };
        *self.known.lock().expect("nobody panics while holding it") = Some(known);
        Ok(Some(copies))
    }
}

impl Found {
    fn work<'a>(&'a self, compactor: &'a Compactor) -> Work<'a> {
        let (plan, earlier) = self.plans.plans.split_last().expect("it has the task's plan");
        Work { lake: &compactor.lake, config: &compactor.parts.config, table: self.day.0, plan, earlier }
    }

    fn completed(&self, done: &Done) -> Outcome {
        let mut summary = Summary::default();
        summary.add(done);
        let ((table, day), number) = (self.day, self.number);
        tracing::info!(%table, %day, number, %summary, "plan is complete");
        Outcome::Completed
    }
}

/// A halt with the plan that it came of.
fn located(error: CompactError, (table, day): (Table, Day), number: u64) -> CompactError {
    match error {
        CompactError::Halt(Halt(reason)) => {
            Halt(format!("chain {}, plan {number}: {reason}", chain::of_day(table, day))).into()
        }
        other => other,
    }
}

/// As much of a text as a dead letter takes.
fn quoted(text: &str) -> &str {
    &text[..text.floor_char_boundary(QUOTED_BYTES_MAX)]
}
