//! The network between a service and its backends, on which every call may go wrong.
//!
//! **Fate**: what becomes of a call: it is answered, refused, applied with its answer lost, or applied much later.
//! **Outage**: a time in which a backend refuses everything, longer than owners are patient.

use crate::world::World;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The answer did not come: the call may have been applied, may be applied later, or never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoAnswer;

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Stream,
    Ledger,
    Lake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Refused,
    AnswerLost,
    Late,
}

/// Percent of calls that are never applied.
const REFUSED_PERCENT: f64 = 8.0;

/// Percent of questions that are not answered: an owner asks many before it decides anything.
const UNANSWERED_PERCENT: f64 = 1.0;

/// Percent of calls that are applied after their caller was told that they failed.
const LATE_PERCENT: f64 = 8.0;

/// Percent of the applied calls whose answer is lost.
const ANSWER_LOST_PERCENT: f64 = 10.0;

impl World {
    /// Applies `call` as chance wants it. The caller may be stopped, killed or starved before and after.
    pub(crate) async fn call<T, C>(self: &Arc<World>, whom: Backend, name: String, call: C) -> Result<T, NoAnswer>
    where
        T: Send,
        C: FnOnce() -> T + Send + 'static,
    {
        pause().await;
        let fate = self.fate(whom);
        self.note(format_args!("{name}: {fate:?}"));
        match fate {
            Fate::Refused => return Err(NoAnswer),
            Fate::Late => {
                let world = self.clone();
                self.land_later(Box::new(move || {
                    world.note(format_args!("{name}: lands late"));
                    call();
                }));
                return Err(NoAnswer);
            }
            Fate::Answered | Fate::AnswerLost => {}
        }
        let answer = call();
        pause().await;
        if fate == Fate::AnswerLost { Err(NoAnswer) } else { Ok(answer) }
    }

    /// Looks at something: as [`World::call`], but without effect, so that it is never late.
    pub(crate) async fn ask<T: Send>(
        &self,
        whom: Backend,
        name: String,
        question: impl FnOnce() -> T + Send,
    ) -> Result<T, NoAnswer> {
        pause().await;
        if self.is_out(whom) || self.fault(UNANSWERED_PERCENT) {
            self.note(format_args!("{name}: {:?}", Fate::Refused));
            return Err(NoAnswer);
        }
        self.note(format_args!("{name}: {:?}", Fate::Answered));
        let answer = question();
        pause().await;
        Ok(answer)
    }

    fn fate(&self, whom: Backend) -> Fate {
        if self.is_out(whom) {
            self.count("calls amid an outage");
            Fate::Refused
        } else if self.fault(REFUSED_PERCENT) {
            self.count("refused calls");
            Fate::Refused
        } else if self.fault(LATE_PERCENT) {
            self.count("late calls");
            Fate::Late
        } else if self.fault(ANSWER_LOST_PERCENT) {
            self.count("lost answers");
            Fate::AnswerLost
        } else {
            Fate::Answered
        }
    }
}

/// Gives the scheduler a chance to go on with somebody else.
pub(crate) fn pause() -> Pause {
    Pause { paused: false }
}

#[derive(Debug)]
pub(crate) struct Pause {
    paused: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Pause>, context: &mut Context<'_>) -> Poll<()> {
        if self.paused {
            return Poll::Ready(());
        }
        self.paused = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
