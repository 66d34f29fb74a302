//! What each fault does to a call.

use super::call::Call;
use super::dice::Dice;
use super::faults::Fault;
use super::forged::{self, Answer, Muted};
use super::partial;
use super::serve::{Shared, pass, reset};
use super::upstream::Upstream;
use http_body_util::Either;
use std::io;

impl Shared {
    /// The answer to a call that a fault happens to; an error is a reset. A fault is counted before the client can know.
    pub(super) async fn commit(
        &self,
        fault: Fault,
        call: &Call,
        upstream: &mut Upstream,
        dice: &mut Dice,
    ) -> io::Result<Answer> {
        let counted = |answer| {
            self.tally.count(&call.operation, fault);
            answer
        };
        match fault {
            Fault::Refuse => counted(Err(reset())),
            Fault::ServerError => counted(Ok(forged::server_error(call))),
            Fault::Throttle => counted(Ok(forged::throttled(call))),
            Fault::Conflict => counted(Ok(forged::conflict())),
            Fault::DropAnswer => {
                upstream.apply(call).await?;
                counted(Err(reset()))
            }
            Fault::Hold(delay) if self.lates.hold(call, delay) => counted(Err(reset())),
            Fault::Hold(_) => pass(call, upstream).await,
            Fault::Twice => {
                upstream.apply(call).await?;
                counted(pass(call, upstream).await)
            }
            Fault::ExistsAlready => {
                let answer = pass(call, upstream).await?;
                // What was not applied is the client's to know.
                if answer.status().is_success() { counted(Ok(forged::exists_already())) } else { Ok(answer) }
            }
            Fault::Trim => match call.after_its_record() {
                Some(after) => counted(pass(&after, upstream).await),
                None => pass(call, upstream).await,
            },
            Fault::Behind(by) | Fault::Older(by) => {
                let forge = if matches!(fault, Fault::Behind(_)) { forged::behind } else { forged::older };
                let (status, body) = upstream.apply(call).await?;
                match forge(&body, by).filter(|_| status.is_success()) {
                    Some(answer) => counted(Ok(answer)),
                    None => pass(call, upstream).await,
                }
            }
            Fault::Mute => {
                let answer = upstream.send(call).await?;
                counted(Ok(answer.map(Muted::new).map(Either::Right).map(Either::Right)))
            }
            Fault::Lose => match forged::taken(&call.body) {
                Some(answer) => counted(Ok(answer)),
                None => pass(call, upstream).await,
            },
            Fault::Split => match partial::put(call, upstream, dice).await? {
                Some(answer) => counted(Ok(answer)),
                None => pass(call, upstream).await,
            },
        }
    }
}
