//! Takes events over HTTP and gRPC and answers once they are durable in the raw stream.
//!
//! What is invalid is durable too, in quarantine. The way of an event: [`http`] or [`grpc`] read a request, [`accept`]
//! validates its events and sorts them by shard, [`pack`] joins those of all requests into records, [`flush`] appends
//! these and answers. What the stream does not take goes to the [`overflow`] queue, from where [`drain`] takes it later.

mod accept;
mod answer;
mod breaker;
mod budget;
pub mod config;
mod connections;
mod cors;
mod crowd;
mod drain;
mod flush;
pub mod grpc;
mod http;
mod inflate;
mod keys;
pub mod metrics;
mod overflow;
mod pace;
mod pack;
mod parcel;
mod refusal;
mod reload;
mod shards;
mod surge;
mod tls;
mod trace;

use accept::Acceptor;
use anyhow::Context;
use budget::Budget;
use crowd::Crowd;
use drain::Drainer;
use flush::Flusher;
use grpc::Publisher;
use http::Front;
use keys::Keys;
use overflow::Detour;
use pack::Packer;
use service::{Env, Health, Stop};
use shards::ShardMap;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use tls::Identity;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

pub use config::{Config, FILES_RESERVED};
pub use overflow::Overflow;

/// The gateway, ready to run.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    /// Where clients speak TLS.
    identity: Option<Arc<Identity>>,
    keys: Arc<Keys>,
    shards: Arc<ShardMap>,
    packer: Packer,
    /// Where there is an overflow queue.
    drainer: Option<Drainer>,
    acceptor: Arc<Acceptor>,
    budget: Arc<Budget>,
    health: Health,
    admin_is_elsewhere: bool,
}

impl Gateway {
    /// Puts a gateway before `stream`; `overflow` takes the records that the stream does not take in time. The settings are
    /// checked ([`Config::check`]).
    ///
    /// # Errors
    /// Settings that contradict the overflow queue, or files that can't be had any more.
    pub fn new(
        config: Config,
        stream: Arc<dyn Stream>,
        overflow: Option<Overflow>,
        env: Env,
        health: Health,
    ) -> anyhow::Result<Gateway> {
        let Config { body_bytes_max, in_flight_bytes_max, .. } = config;
        overflow.as_ref().map_or(Ok(()), |overflow| overflow.check(config.dedup_window))?;
        let (identity, keys) = (config.identity()?, config.keys()?);
        let shards = ShardMap::new(stream.clone());
        let (sender, inbox) = mpsc::channel(pack::INBOX_MAX);
        let part = health.part("raw stream");
        let patience = config.patience(overflow.as_ref());
        let detour = overflow.map(|overflow| Detour::new(overflow, &config));
        let drainer = detour.clone().map(|detour| Drainer::new(stream.clone(), detour, part.clone()));
        let flusher = Flusher { stream, detour, shards: shards.clone(), env: env.clone(), patience };
        let crowd = Arc::new(Crowd::default());
        let packer = Packer::new(inbox, crowd.clone(), flusher, &config, part);
        let acceptor = Arc::new(Acceptor {
            rules: config.rules(),
            body_bytes_max,
            batch_events_max: config.batch_events_max.get(),
            shards: shards.clone(),
            env,
            inbox: sender,
            crowd,
            sorts: Semaphore::new(accept::SORTS_MAX),
        });
        let budget = Budget::new(in_flight_bytes_max);
        metrics::show_bounds(&budget, &acceptor.inbox, &config);
        let admin_is_elsewhere = false;
        Ok(Gateway { config, identity, keys, shards, packer, drainer, acceptor, budget, health, admin_is_elsewhere })
    }

    /// Leaves metrics, and the reasons for not being ready, to the admin routes of the process, where it has them.
    #[must_use]
    pub fn with_admin_elsewhere(self, admin_is_elsewhere: bool) -> Gateway {
        Gateway { admin_is_elsewhere, ..self }
    }

    /// Serves until `stop`, then drains: says that it is not ready, and after the notice accepts nothing more, finishes the
    /// requests at hand, makes durable what it took.
    pub async fn run(self, http: TcpListener, grpc: TcpListener, stop: Stop) -> anyhow::Result<()> {
        let (asked, stop) = (stop, Stop::new());
        let notice = give_notice(self.health.clone(), self.config.drain_notice, asked.clone(), stop.clone());
        let Gateway { config, identity, keys, shards, packer, drainer, acceptor, budget, health, admin_is_elsewhere } =
            self;
        let publisher = Publisher {
            acceptor: acceptor.clone(),
            budget: budget.clone(),
            keys: keys.clone(),
            body_timeout: config.body_timeout,
        };
        let manners = grpc::Manners {
            body_bytes_max: config.body_bytes_max,
            connections_max: config.grpc_connections_max,
            drain_timeout: config.drain_timeout,
            tls: identity.as_ref().map(|identity| identity.acceptor("h2")),
        };
        let tls = identity.as_ref().map(|identity| identity.acceptor("http/1.1"));
        let routes = health.part("raw stream's shards");
        let others = http::others(health.clone(), admin_is_elsewhere);
        let front = Arc::new(Front::new(config, keys.clone(), acceptor, budget, others));
        shards.look_up_first(asked).await;
        tracing::info!(http = ?http.local_addr()?, grpc = ?grpc.local_addr()?, "taking events");
        let closing = Stop::new();
        let serve = async {
            let _packer_closes_after_the_servers = closing.clone().drop_guard();
            tokio::try_join!(
                notice,
                http::serve(http, front, tls, stop.clone()),
                grpc::serve(grpc, publisher, manners, health, stop.clone()),
                shards.keep_fresh(routes, stop.clone()),
                drained(drainer, stop.clone()),
                surge::watch(stop.clone()),
                reload::keep_fresh(identity, keys, stop),
            )
        };
        // A task of its own: nothing else is looked at each time that it is woken.
        let packing = AbortOnDropHandle::new(tokio::spawn(packer.run(closing.clone())));
        let packed = async { packing.await.context("the packer panicked")? };
        tokio::try_join!(serve, packed)?;
        Ok(())
    }
}

/// Once it is `asked` to, says that the process drains; and has the gateway `stop` when whoever sends had the time to see it.
async fn give_notice(health: Health, time: Duration, asked: Stop, stop: Stop) -> anyhow::Result<()> {
    asked.cancelled().await;
    health.drain();
    tokio::time::sleep(time).await;
    stop.cancel();
    Ok(())
}

async fn drained(drainer: Option<Drainer>, stop: Stop) -> anyhow::Result<()> {
    if let Some(drainer) = drainer {
        drainer.run(stop).await;
    }
    Ok(())
}
