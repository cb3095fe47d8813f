//! Whole engines on the device: requests together give what each gives alone, bit for bit.

use super::in_turns;
use crate::engine::together::{Asked, Case, Drafts, crowded, hold};
use ridgepoint::backend::cuda::CudaBackend;

fn asked(i: usize) -> Asked {
    Asked {
        kind: 0,
        prompt: [70, 131, 5, 129][i],
        own: 2 + i,
        output: [6, 4, 9, 3][i],
        seed: i as u64,
        arrival: i,
        priority: 0,
        cancel: (i == 1).then_some(2),
    }
}

/// Prompts in chunks of no round size, beside decode, with shared pages.
#[test]
fn requests_together_have_the_bits_of_each_alone() {
    let case = Case {
        asked: (0..4).map(asked).collect(),
        prefill_tokens: 45,
        running: 3,
        spare_pages: 6,
        reserve_percent: 100,
        prefix_cache: true,
        drafts: None,
    };
    for (name, rig) in in_turns(&["mistral_window", "qwen2_gqa7"]) {
        hold(name, || CudaBackend::new(rig.driver().clone()).unwrap(), &case);
    }
}

/// Rows of a preempted request are computed eight at a time the second time.
#[test]
fn a_preempted_request_has_the_same_bits() {
    let mut case = crowded();
    case.asked.truncate(4);
    case.asked.iter_mut().for_each(|asked| {
        asked.prompt = 50;
        asked.output = 25 + asked.seed as usize;
    });
    case.spare_pages = 2;
    for (name, rig) in in_turns(&["llama3_gqa4", "qwen3_gqa2"]) {
        let ran = hold(name, || CudaBackend::new(rig.driver().clone()).unwrap(), &case);
        assert!(ran.preemptions > 0, "{name}: nothing was preempted");
    }
}

/// Drafts that are right and drafts that are not: several rows of a sequence in a step.
#[test]
fn drafts_change_no_bits() {
    let mut case = crowded();
    case.asked.truncate(3);
    case.asked.iter_mut().for_each(|asked| asked.output = 12);
    let rigs = in_turns(&["qwen2_gqa7", "mistral_window", "llama3_gqa4", "qwen3_gqa2"]);
    let all = [(Drafts::Model(9), Some(7)), (Drafts::Random, Some(3))];
    for ((name, rig), drafts) in rigs.into_iter().zip(all.iter().cycle()) {
        case.drafts = Some(*drafts);
        let ran = hold(name, || CudaBackend::new(rig.driver().clone()).unwrap(), &case);
        let accepted: u64 = ran.speculation.counts.accepted.iter().sum();
        assert!(ran.speculation.counts.wasted() > 0 || accepted > 0, "{name}: nothing was drafted");
        assert!(accepted > 0 || drafts.0 == Drafts::Random, "{name}: {:?}", ran.speculation);
    }
}
