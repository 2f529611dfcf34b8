//! Paths of other servers that gateways and probes ask for, and what there is here in their place.
//!
//! None of them is answered as the other server does: by `/version` and `/server_info` a gateway
//! tells vLLM and SGLang from others, and would then ask for the rest of what these have.

/// Paths, and what there is in their place.
const ELSEWHERE: [(&str, &str); 11] = [
    ("/health_generate", HEALTH),
    ("/ping", HEALTH),
    ("/version", "GET /api/version tells the version"),
    ("/server_info", FACTS),
    ("/get_server_info", FACTS),
    ("/model_info", FACTS),
    ("/get_model_info", FACTS),
    ("/loads", LOADS),
    ("/get_load", LOADS),
    (
        "/flush_cache",
        "what is kept of prompts is bounded and apart for each key, and goes when room is needed; a \
         restart drops it",
    ),
    ("/generate", "POST /v1/completions goes on with a text"),
];

const HEALTH: &str = "GET /health watches the engine without a request to it, and says 503 when it \
                      has stopped";
const FACTS: &str = "GET /v1/models and GET /props tell what is served";
const LOADS: &str = "GET /v1/loads tells how much there is to do";

/// What there is in place of another server's path; `None` for a path that nobody is known to have.
pub(super) fn in_place_of(path: &str) -> Option<&'static str> {
    let found = ELSEWHERE.iter().find(|(other, _)| *other == path);
    found.map(|(_, words)| *words)
}
