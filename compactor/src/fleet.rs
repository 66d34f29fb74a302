//! The planner of a fleet: writes plans down and asks workers to carry them out.
//!
//! A day has one open plan at a time (PROTOCOL rule 27). Where more is settled than one plan takes, the worker that makes
//! it complete writes down the next one; what nobody does, because a worker died, the next planning asks for again.

use crate::day::{DayWork, OpenPlan};
use crate::error::CompactError;
use crate::group;
use crate::task::{self, Task};
use crate::{Compactor, Selection};
use anyhow::Context;
use bytes::Bytes;
use queue::Queue;
use schema::{Day, Table};
use service::Stop;
use std::fmt;

/// What a planning came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Plans that were written down.
    pub appended: u64,
    /// Plans that were open already.
    pub open: u64,
    /// Tasks that were sent.
    pub tasks: u64,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Planned { appended, open, tasks } = self;
        write!(f, "{appended} plans appended, {open} open already, {tasks} tasks sent")
    }
}

/// Whether tasks of a plan that was open already are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfOpen {
    SendAgain,
    Leave,
}

impl IfOpen {
    /// As a task that was handed out so often has it. Who had it before may have appended the next plan and not sent all its
    /// tasks; tasks sent anew are first deliveries, so that they don't multiply.
    pub(crate) fn after(deliveries: u32) -> IfOpen {
        if deliveries > 1 { IfOpen::SendAgain } else { IfOpen::Leave }
    }
}

impl Compactor {
    /// Plans the selected days and sends the tasks of each plan that is open; ends early at `stop`.
    ///
    /// Safe to repeat, by several at once as well: tasks of what is missing are sent again.
    ///
    /// # Errors
    /// [`CompactError`]; what was planned stays planned.
    pub async fn plan(&self, selection: Selection, tasks: &dyn Queue, stop: &Stop) -> anyhow::Result<Planned> {
        let mut all = Planned::default();
        for day in self.days(selection).await.context("look for days to compact")? {
            if stop.is_cancelled() {
                break;
            }
            let planned = self.plan_day(day, tasks, IfOpen::SendAgain).await;
            let planned = planned.with_context(|| format!("plan {} of {}", day.0, day.1))?;
            all.appended += planned.appended;
            all.open += planned.open;
            all.tasks += planned.tasks;
        }
        Ok(all)
    }

    /// Plans what is left of a day whose last plan was made complete.
    pub(crate) async fn plan_on(
        &self,
        day: (Table, Day),
        tasks: &dyn Queue,
        if_open: IfOpen,
    ) -> Result<(), CompactError> {
        let planned = self.plan_day(day, tasks, if_open).await?;
        tracing::info!(table = %day.0, day = %day.1, %planned, "planned on");
        Ok(())
    }

    async fn plan_day(&self, day: (Table, Day), tasks: &dyn Queue, if_open: IfOpen) -> Result<Planned, CompactError> {
        let (settled, hints) = self.outlook(day).await?;
        let work = DayWork::new(&self.parts, &self.lake, day, settled.clone(), hints);
        let Some(OpenPlan { number, plan, more, is_new }) = work.open_plan().await? else {
            self.discovered(|discovery| discovery.done(day, &settled));
            return Ok(Planned::default());
        };
        let mut planned = Planned { appended: u64::from(is_new), open: u64::from(!is_new), tasks: 0 };
        if is_new || if_open == IfOpen::SendAgain {
            let groups = task::groups(&group::missing(&self.lake, &plan).await?);
            let messages = groups.into_iter().map(|group| Task::new(day, number, more, group).encode());
            for sent in tasks.send(messages.map(Bytes::from).collect()).await {
                sent?;
                planned.tasks += 1;
            }
        }
        Ok(planned)
    }
}
