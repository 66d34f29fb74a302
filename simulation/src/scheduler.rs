//! Runs actors in an order that the seed alone decides.
//!
//! **Actor**: a task that is driven by hand: polled when chance wants it, starved for a while, or killed by dropping it.

use crate::world::World;
use service::Stop;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// What an actor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A producer: lives until its events are acknowledged.
    Client,
    /// A part of a service: may be killed at any await.
    Service,
}

/// Says that an actor can go on.
#[derive(Debug, Default)]
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Ready>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Actor {
    name: String,
    role: Role,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    ready: Arc<Ready>,
    stop: Stop,
    /// Not polled before this step.
    starved_until: u64,
}

/// All actors of a world.
pub(crate) struct Scheduler {
    world: Arc<World>,
    actors: Vec<Actor>,
    born: u64,
}

impl Scheduler {
    pub(crate) fn new(world: Arc<World>) -> Scheduler {
        Scheduler { world, actors: Vec::new(), born: 0 }
    }

    /// Adds an actor; it is first polled when its turn comes.
    pub(crate) fn start<F>(&mut self, role: Role, name: &str, work: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.born += 1;
        let stop = Stop::new();
        self.actors.push(Actor {
            name: format!("{name} #{}", self.born),
            role,
            work: Box::pin(work(stop.clone())),
            ready: Arc::new(Ready(AtomicBool::new(true))),
            stop,
            starved_until: 0,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.actors.is_empty()
    }

    /// Lets one actor that can go on do so; false where none can.
    pub(crate) fn poll_one(&mut self, step: u64) -> bool {
        let can = |actor: &Actor| actor.starved_until <= step && actor.ready.0.load(Ordering::Relaxed);
        let able: Vec<usize> = (0..self.actors.len()).filter(|&k| can(&self.actors[k])).collect();
        if able.is_empty() {
            return false;
        }
        let which = able[self.world.draw(|dice| dice.below(able.len()))];
        self.poll(which, step);
        true
    }

    fn poll(&mut self, which: usize, step: u64) {
        let actor = &mut self.actors[which];
        self.world.turn(step, &actor.name);
        actor.ready.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(actor.ready.clone());
        let polled = catch_unwind(AssertUnwindSafe(|| actor.work.as_mut().poll(&mut Context::from_waker(&waker))));
        if polled.is_err() {
            self.world.find("panic");
        }
        if !matches!(polled, Ok(std::task::Poll::Pending)) {
            drop(self.actors.remove(which));
        }
        self.world.turn(step, "world");
    }

    /// Drops an actor of a service where it stands, as SIGKILL does.
    pub(crate) fn kill_one(&mut self) {
        if let Some(which) = self.any_service() {
            self.world.note(format_args!("kills {}", self.actors[which].name));
            drop(self.actors.remove(which));
            self.world.count("kills");
        }
    }

    /// Asks an actor of a service to drain and end.
    pub(crate) fn stop_one(&mut self) {
        if let Some(which) = self.any_service() {
            self.world.note(format_args!("stops {}", self.actors[which].name));
            self.actors[which].stop.cancel();
            self.world.count("stops");
        }
    }

    /// Starves an actor for some steps: it may come back as a zombie.
    pub(crate) fn starve_one(&mut self, until: u64) {
        if let Some(which) = self.any_service() {
            self.world.note(format_args!("starves {} until step {until}", self.actors[which].name));
            self.actors[which].starved_until = until;
            self.world.count("pauses");
        }
    }

    pub(crate) fn feed_all(&mut self) {
        self.actors.iter_mut().for_each(|actor| actor.starved_until = 0);
    }

    pub(crate) fn stop_all(&mut self) {
        self.actors.iter().for_each(|actor| actor.stop.cancel());
    }

    fn any_service(&self) -> Option<usize> {
        let services: Vec<usize> = (0..self.actors.len()).filter(|&k| self.actors[k].role == Role::Service).collect();
        (!services.is_empty()).then(|| services[self.world.draw(|dice| dice.below(services.len()))])
    }

    /// Whether any client still waits for an acknowledgement.
    pub(crate) fn has_clients(&self) -> bool {
        self.actors.iter().any(|actor| actor.role == Role::Client)
    }

    /// Names of the actors that live.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.actors.iter().map(|actor| actor.name.as_str()).collect()
    }
}
