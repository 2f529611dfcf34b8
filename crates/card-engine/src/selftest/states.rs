//! What changes of a state take, of a model that cannot take back any token: saving it, putting it
//! back, and taking a rejected candidate back.

use std::fmt;
use std::time::Instant;

use card_core::forward::{Forward, KvOp, Model, ModelError, Rollback, StateName};
use card_core::types::Token;
use serde::Serialize;

use super::measure::{BODY, STEM, begin_body, commit, end_body, read_head};
use crate::placement::median;

/// Tokens that the states are of.
const HEAD: usize = 8;
/// How often each change is timed.
const TIMES: StateName = 7;

/// What the state behind a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StateTimes {
    /// Bytes of a saved state.
    pub bytes: usize,
    /// Milliseconds to save it.
    pub save_ms: f64,
    /// Milliseconds to put it back.
    pub resume_ms: f64,
    /// Milliseconds to take back a candidate that was rejected, beside what the next forward decodes
    /// again.
    pub take_back_ms: f64,
}

impl fmt::Display for StateTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a state: {:.2} MiB, saved in {:.3} ms, put back in {:.3} ms; a rejected candidate is taken \
             back in {:.3} ms, beside what is decoded again",
            self.bytes as f64 / f64::from(1 << 20),
            self.save_ms,
            self.resume_ms,
            self.take_back_ms
        )
    }
}

/// Times changes of a model's state on a passage of at least eleven tokens, each several times, and
/// gives the medians. `None` if the model saves no states. Its KV cache must be free for it, and is
/// free again afterwards.
///
/// # Errors
/// If the passage is too short or the model fails.
pub fn state_times(
    model: &mut dyn Model,
    passage: &[Token],
) -> Result<Option<StateTimes>, ModelError> {
    let Some(bytes) = model.state_bytes() else {
        return Ok(None);
    };
    let (Some(head), Some(chain)) = (passage.get(..HEAD), passage.get(HEAD..HEAD + 3)) else {
        let why = format!("states are measured on {} tokens", HEAD + 3);
        return Err(ModelError::Failed(why));
    };
    read_head(model, head)?;
    let (mut save, mut resume, mut take_back) = (Vec::new(), Vec::new(), Vec::new());
    for state in 0..TIMES {
        let sequence = STEM;
        save.push(timed(model, KvOp::Save { sequence, state })?);
        let begin = KvOp::Resume {
            sequence: BODY,
            from: STEM,
            keep: HEAD as u32,
            state,
        };
        resume.push(timed(model, begin)?);
        end_body(model, HEAD)?;
        model.apply(KvOp::Forget { state })?;
        begin_body(model, HEAD)?;
        model.forward(&Forward::chain(BODY, HEAD, chain, 0))?;
        let rejected = match model.limits().rollback {
            // One of the rows stays, and the model leaves the others out.
            Rollback::Bounded { rows } if rows >= 2 => commit(BODY, HEAD as u64 + 1),
            _ => KvOp::Prune { sequence: BODY },
        };
        take_back.push(timed(model, rejected)?);
        end_body(model, HEAD)?;
    }
    model.apply(KvOp::Release { sequence: STEM })?;
    Ok(Some(StateTimes {
        bytes,
        save_ms: median(save),
        resume_ms: median(resume),
        take_back_ms: median(take_back),
    }))
}

/// Milliseconds that a change takes.
fn timed(model: &mut dyn Model, op: KvOp) -> Result<f64, ModelError> {
    let start = Instant::now();
    model.apply(op)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use card_core::forward::Limits;
    use card_core::synthetic::{Synthetic, SyntheticConfig};

    use super::*;

    fn model(rollback: Rollback) -> Synthetic {
        Synthetic::new(SyntheticConfig {
            vocab: 20,
            seed: 1,
            spread: 1.0,
            noise: 0.0,
            noise_seed: 2,
            limits: Limits {
                context: 100,
                cells: 100,
                rows: 16,
                leaves: 4,
                rollback,
            },
        })
    }

    #[test]
    fn what_a_state_takes_is_said_in_one_line() {
        let times = StateTimes {
            bytes: 3 << 19,
            save_ms: 0.25,
            resume_ms: 0.125,
            take_back_ms: 2.0,
        };
        let expected = "a state: 1.50 MiB, saved in 0.250 ms, put back in 0.125 ms; a rejected \
                        candidate is taken back in 2.000 ms, beside what is decoded again";
        assert_eq!(times.to_string(), expected);
    }

    #[test]
    fn every_kind_of_state_is_measured_and_nothing_is_left() {
        let passage: Vec<Token> = (0..12).collect();
        let bounded = [1, 2, 4].map(|rows| Rollback::Bounded { rows });
        for rollback in bounded.into_iter().chain([Rollback::Checkpoint]) {
            let mut model = model(rollback);
            let times = state_times(&mut model, &passage).unwrap().unwrap();
            assert_eq!(Some(times.bytes), model.state_bytes());
            for ms in [times.save_ms, times.resume_ms, times.take_back_ms] {
                assert!((0.0..1e3).contains(&ms), "{times:?}");
            }
            // And again, as on a model that was just made.
            assert!(state_times(&mut model, &passage).unwrap().is_some());
            assert!(state_times(&mut model, &passage[..10]).is_err());
        }
        let mut free = model(Rollback::Free);
        assert_eq!(state_times(&mut free, &passage).unwrap(), None);
    }
}
