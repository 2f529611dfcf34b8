//! The commands, each in a file of its own.

pub mod audit;
pub mod bench;
pub mod calibrate;
pub mod chat;
mod chat_line;
pub mod devices;
pub mod draft;
pub mod edge;
pub mod explain;
pub mod export_pairs;
pub mod generate;
pub mod list;
pub mod plan;
pub mod pull;
pub mod quantize;
mod remote;
pub mod remove;
pub mod report;
pub mod rpc_worker;
mod run_server;
pub mod selftest;
pub mod serve;
pub mod sim;
mod vectors;
