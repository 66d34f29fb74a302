//! What processes show of themselves, as others get it.

mod collector;
mod health;
mod pushes;
mod traces;
