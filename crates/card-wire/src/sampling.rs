//! Sampling settings as fields.

use card_core::sampler::{Bias, LogitBias, Sampling, SamplingParams};
use card_core::types::Token;

use crate::proto::{self, token_bias};

/// Settings to send.
pub(crate) fn sampling_out(sampling: &Sampling) -> proto::Sampling {
    // Every field by name: a new one does not compile until it is sent.
    let SamplingParams {
        temperature,
        top_k,
        top_p,
        min_p,
        repeat_penalty,
        frequency_penalty,
        presence_penalty,
        penalty_window,
        generated_from,
        logit_bias,
        seed,
    } = &**sampling;
    proto::Sampling {
        temperature: *temperature,
        top_k: *top_k,
        top_p: *top_p,
        min_p: *min_p,
        repeat_penalty: *repeat_penalty,
        frequency_penalty: *frequency_penalty,
        presence_penalty: *presence_penalty,
        penalty_window: *penalty_window,
        generated_from: *generated_from,
        logit_bias: logit_bias.iter().map(bias_out).collect(),
        seed: *seed,
    }
}

fn bias_out((token, bias): (Token, Bias)) -> proto::TokenBias {
    let bias = match bias {
        Bias::Ban => token_bias::Bias::Ban(true),
        other => token_bias::Bias::Add(other.shift()),
    };
    proto::TokenBias {
        token,
        bias: Some(bias),
    }
}

/// Settings that came.
///
/// # Errors
/// Says which setting cannot be.
pub(crate) fn sampling_in(message: proto::Sampling) -> Result<Sampling, String> {
    let many = || format!("more than {} biases", LogitBias::MOST);
    if message.logit_bias.len() > LogitBias::MOST {
        return Err(many());
    }
    let biases = message.logit_bias.into_iter().map(bias_in);
    let biases: Vec<(Token, Bias)> = biases.collect::<Result<_, String>>()?;
    let params = SamplingParams {
        temperature: message.temperature,
        top_k: message.top_k,
        top_p: message.top_p,
        min_p: message.min_p,
        repeat_penalty: message.repeat_penalty,
        frequency_penalty: message.frequency_penalty,
        presence_penalty: message.presence_penalty,
        penalty_window: message.penalty_window,
        generated_from: message.generated_from,
        logit_bias: LogitBias::new(biases).ok_or_else(many)?,
        seed: message.seed,
    };
    params.checked().map_err(|e| e.to_string())
}

fn bias_in(message: proto::TokenBias) -> Result<(Token, Bias), String> {
    let token = message.token;
    let bias = match message.bias {
        Some(token_bias::Bias::Ban(true)) => Bias::Ban,
        Some(token_bias::Bias::Add(shift)) => {
            Bias::add(shift).ok_or_else(|| format!("a bias of {shift} for token {token}"))?
        }
        Some(token_bias::Bias::Ban(false)) | None => {
            return Err(format!("no bias for token {token}"));
        }
    };
    Ok((token, bias))
}
