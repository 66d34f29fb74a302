//! A stream in Kinesis keeps the contract of streams, and what it promises beyond it.

#[path = "kinesis/contract.rs"]
mod contract;
#[path = "kinesis/house.rs"]
mod house;
#[path = "kinesis/incarnation.rs"]
mod incarnation;
#[path = "kinesis/lineage.rs"]
mod lineage;
#[path = "kinesis/reading.rs"]
mod reading;
#[path = "kinesis/scripted.rs"]
mod scripted;
#[path = "kinesis/units.rs"]
mod units;
#[path = "kinesis/weather.rs"]
mod weather;
