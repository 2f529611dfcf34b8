//! What llama.cpp's server has beside OpenAI's API.

pub mod tokenize;
