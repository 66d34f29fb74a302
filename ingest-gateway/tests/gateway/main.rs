//! The gateway from the outside: real sockets before it, a stream in memory behind it.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod client;
mod durable;
mod embedded;
mod faulty_queue;
mod grpc;
mod house;
mod memory;
mod overflow;
mod publish;
mod tls;
