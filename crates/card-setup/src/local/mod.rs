//! Models that other tools keep on this machine, used where they lie: Ollama's ([`ollama`]) and LM
//! Studio's ([`lmstudio`]); and what the header of any model file says ([`header`]).

pub mod header;
pub mod lmstudio;
pub mod ollama;
