//! A runtime for the stages behind the gateway. Its threads give way to the gateway's and to the log's where the processor
//! is short: producers wait for an answer, nobody waits for the lake.

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

/// How much its threads give way: they still get a quarter of a processor that everybody wants, so that the lake goes on.
const NICENESS: i32 = 5;

/// Runs what may wait. Whatever still runs when it is dropped is left behind.
#[derive(Debug)]
pub(crate) struct Background(Option<Runtime>);

impl Background {
    pub(crate) fn start() -> anyhow::Result<Background> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.enable_all().thread_name("background").on_thread_start(give_way);
        Ok(Background(Some(builder.build().context("start the threads of the stages behind the gateway")?)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread. Where that is not allowed, all threads are equal.
fn give_way() {
    let this_thread = None;
    if let Err(error) = rustix::process::setpriority_process(this_thread, NICENESS) {
        tracing::debug!(%error, "the stages behind the gateway run at its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_threads_give_way_and_others_do_not() {
        let niceness = || rustix::process::getpriority_process(None).expect("known");
        let (before, background) = (niceness(), Background::start().expect("threads"));
        let within = background.handle().block_on(async { tokio::spawn(async move { niceness() }).await });
        assert_eq!(within.expect("it does not panic"), (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }
}
