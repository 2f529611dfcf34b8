//! What only the engine itself can bring about.

use super::*;
use crate::cost::CostCurve;
use crate::forward::Model;
use crate::policy::PolicyConfig;
use crate::synthetic::{Synthetic, SyntheticConfig};

const LIMITS: Limits = Limits {
    context: 100,
    cells: 200,
    rows: 3,
    leaves: 4,
};
const VOCAB: usize = 20;
const SEQUENCE: SequenceId = SequenceId(1);

#[test]
fn what_does_not_fit_one_forward_is_decoded_in_several() {
    let config = PolicyConfig {
        mode: Mode::Auto,
        lanes: Lanes::Shared,
        draft_len: 4,
    };
    let curves = || [CostCurve::default(), CostCurve::default()];
    let mut engine = Engine::new(
        EngineConfig {
            limits: LIMITS,
            vocab: VOCAB,
            shapes: Shapes::FREE,
            prefill_rows: 7,
            cache_bytes: 1 << 14,
            parked: 1,
            free_sources: false,
            trace: false,
            near_tie: 0.0,
        },
        Policy::new(config, CostCurve::default(), curves()),
        Memory::default(),
    );
    let mut model = Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise: 0.0,
        noise_seed: 1,
        limits: LIMITS,
    });
    let request = Request {
        sequence: SEQUENCE,
        prompt: vec![3],
        tenant: Tenant::SHARED,
        params: Sampling::default(),
        max_tokens: 50,
        stop_tokens: Vec::new(),
        prediction: Vec::new(),
        logprobs: None,
        constraint: None,
        plain: false,
    };
    engine.open(request, Duration::ZERO).unwrap();
    let mut round = |engine: &mut Engine| {
        let Action::Forward(forward) = engine.poll(Duration::ZERO, &[]) else {
            panic!("there is nothing to wait for");
        };
        let mut ops = Vec::new();
        engine.take_ops(&mut ops);
        for op in ops {
            model.apply(op).unwrap();
        }
        model.forward(&forward).unwrap();
        engine.complete(&forward, &model, Duration::from_millis(1));
        forward.rows.len()
    };
    assert_eq!(round(&mut engine), 1);
    // A long side branch was taken, say: its tokens are to be decoded again.
    let seq = engine.sequences.get_mut(&SEQUENCE).unwrap();
    let branch = [1, 2, 3, 4, 5, 6];
    seq.tokens.extend(branch);
    seq.cache.correct(&branch);
    // With the one that was written, seven tokens in forwards of three rows.
    let written = seq.tokens.len();
    let rows: Vec<usize> = (0..4).map(|_| round(&mut engine)).collect();
    assert_eq!(rows, [3, 3, 1, 1]);
    assert_eq!(engine.tokens(SEQUENCE).map(<[_]>::len), Some(written + 2));
}
