//! `/v1/loads`: how much a server has to do, in SGLang's words, by which gateways spread requests.
//!
//! The comments of these types are descriptions in the OpenAPI document.

use schemars::JsonSchema;
use serde::Serialize;

/// How much a server has to do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Loads")]
pub struct LoadsAnswer {
    /// The server and its version.
    pub version: String,
    /// How many entries `loads` has: 1.
    pub dp_rank_count: u32,
    /// All models of the server together, as one entry.
    pub loads: Vec<EngineLoad>,
}

/// How much there is to do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EngineLoad {
    /// Number of the entry: 0.
    pub dp_rank: u32,
    /// Generations at work.
    pub num_running_reqs: usize,
    /// Generations that wait for a slot.
    pub num_waiting_reqs: usize,
    /// Both together.
    pub num_total_reqs: usize,
    /// Most generations at a time.
    pub max_running_requests: usize,
    /// Share of the slots that work, 0 to 1.
    pub utilization: f64,
}
