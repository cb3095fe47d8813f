//! Who comes before whom: blocks, warps and lanes.

use super::stage::Stage;
use ptxsim::{FaultKind, Launch, Report};

const RIGHT: u64 = 50;
const WRONG: u64 = 20;

/// A kernel of orders.cu with buffers of 4-byte words, `None` for one without contents.
struct Case {
    stage: Stage,
    buffers: Vec<(u64, usize, Option<Vec<i32>>)>,
    entry: &'static str,
    grid: u32,
    threads: u32,
}

fn case(
    entry: &'static str,
    bug: &[&str],
    (grid, threads): (u32, u32),
    buffers: &[(usize, Option<i32>)],
) -> Case {
    let mut stage = Stage::new("orders.cu", bug);
    let mut list = Vec::new();
    for &(n, value) in buffers {
        let address = stage.output(4 * n);
        list.push((address, n, value.map(|v| vec![v; n])));
    }
    Case { stage, buffers: list, entry, grid, threads }
}

impl Case {
    fn launch(&self, seed: u64) -> Launch {
        Launch { seed, ..self.stage.launch(self.entry, [self.grid, 1, 1], self.threads) }
    }

    fn run_with(&mut self, launch: &Launch) -> Report {
        for (address, _, data) in &self.buffers {
            let bytes = data.iter().flatten().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
            self.stage.device.copy_in(*address, &bytes).unwrap();
        }
        self.stage.run(launch)
    }

    fn run(&mut self, seed: u64) -> Report {
        self.run_with(&self.launch(seed))
    }

    fn words(&mut self, buffer: usize) -> Vec<i32> {
        let (address, n, _) = self.buffers[buffer];
        self.stage.integers(address, n)
    }

    /// Schedules of `WRONG` that blame a marked line for a fault of a kind.
    fn found(&mut self, kind: FaultKind, mark: &str) -> u64 {
        let hits = (0..WRONG).filter(|&seed| {
            let report = self.run(seed);
            self.stage.blamed(&report, kind, mark)
        });
        hits.count() as u64
    }
}

fn clean(mut case: Case, check: impl Fn(&mut Case)) {
    for seed in 0..RIGHT {
        let report = case.run(seed);
        assert!(report.is_clean(), "{} seed {seed}\n{report}", case.entry);
        check(&mut case);
    }
}

fn last_block(bug: &[&str]) -> Case {
    let one = 1.0f32.to_bits() as i32;
    let buffers = [(12, Some(one)), (12, None), (1, None), (1, Some(0))];
    case("last_block", bug, (12, 32), &buffers)
}

#[test]
fn the_last_block_may_read_what_others_wrote_behind_a_fence() {
    clean(last_block(&[]), |case| {
        assert_eq!(f32::from_bits(case.words(2)[0] as u32), 12.0);
    });
    assert_eq!(last_block(&["BUG_NO_FENCE"]).found(FaultKind::ReadRace, "BUG_NO_FENCE"), WRONG);
}

fn chain(bug: &[&str]) -> Case {
    case("chain", bug, (8, 32), &[(8, None), (8, Some(0))])
}

#[test]
fn blocks_wait_for_each_other_by_flags() {
    clean(chain(&[]), |case| assert_eq!(case.words(0), (1..=8).collect::<Vec<_>>()));
    let mut bug = chain(&["BUG_NO_POLL"]);
    for seed in 0..WRONG {
        let report = bug.run(seed);
        let kinds = [FaultKind::ReadRace, FaultKind::Uninitialised, FaultKind::OverwriteRace];
        let found = kinds.iter().any(|&k| bug.stage.blamed(&report, k, "BUG_NO_POLL"));
        assert!(found, "seed {seed}\n{report}");
    }
}

#[test]
fn a_block_that_cannot_become_resident_is_a_deadlock() {
    let mut case = case("waits_for_last", &[], (40, 1024), &[(1, Some(0))]);
    for seed in 0..3 {
        // 132 multiprocessors hold all forty blocks, eight hold sixteen of them.
        let report = case.run(seed);
        assert!(report.is_clean(), "seed {seed}\n{report}");
        let small = Launch { sms: 8, ..case.launch(seed) };
        let report = case.run_with(&small);
        assert!(case.stage.blamed(&report, FaultKind::Deadlock, "DEADLOCK"), "{report}");
    }
}

#[test]
fn lanes_and_warps_take_a_lock_in_turn() {
    let locked = case("lock", &[], (3, 64), &[(1, Some(0)), (1, Some(0))]);
    clean(locked, |case| assert_eq!(case.words(1), [192]));
}

#[test]
fn lanes_need_a_warp_barrier() {
    let lanes = |bug: &[&str]| case("lanes", bug, (1, 32), &[(32, None)]);
    clean(lanes(&[]), |case| {
        assert_eq!(case.words(0), (0..32).map(|i| i ^ 1).collect::<Vec<_>>());
    });
    let name = "BUG_NO_SYNCWARP";
    assert_eq!(lanes(&[name]).found(FaultKind::ReadRace, name), WRONG);
}

#[test]
fn barriers_for_part_of_a_block() {
    let halves = |bug: &[&str]| case("halves", bug, (2, 128), &[(64, None)]);
    let mut right = halves(&[]);
    right.grid = 1;
    clean(right, |case| assert_eq!(case.words(0), (0..64).rev().collect::<Vec<_>>()));
    let name = "BUG_NO_ARRIVE";
    assert_eq!(halves(&[name]).found(FaultKind::Deadlock, name), WRONG);
}

#[test]
fn a_barrier_that_one_lane_leaves_out_is_divergent() {
    let mut case = case("divergent_barrier", &[], (1, 64), &[(64, None)]);
    assert_eq!(case.found(FaultKind::Divergence, "DIVERGENCE"), WRONG);
}

#[test]
fn the_non_coherent_path_may_not_read_what_the_grid_writes() {
    let mut case = case("non_coherent", &[], (1, 64), &[(64, Some(0)), (64, None)]);
    assert_eq!(case.found(FaultKind::NonCoherentRead, "NC"), WRONG);
}

#[test]
fn blocks_that_share_a_word_race() {
    let mut case = case("blocks_race", &[], (2, 32), &[(32, Some(0)), (32, None)]);
    for seed in 0..WRONG {
        let report = case.run(seed);
        let kinds = [FaultKind::ReadRace, FaultKind::OverwriteRace];
        let found = kinds.iter().any(|&kind| case.stage.blamed(&report, kind, "RACE"));
        assert!(found, "seed {seed}\n{report}");
    }
}

#[test]
fn recursion_works_until_the_stack_is_full() {
    for (depth, fits) in [(5i32, true), (100_000, false)] {
        let mut stage = Stage::new("orders.cu", &[]);
        stage.scalar(depth.to_le_bytes());
        let out = stage.output(64 * 4);
        let report = stage.run(&stage.launch("recursion", [1, 1, 1], 4));
        if fits {
            assert!(report.is_clean(), "{report}");
            assert_eq!(stage.integers(out, 4), [5, 6, 7, 8]);
        } else {
            let found = stage.blamed(&report, FaultKind::StackOverflow, "STACK");
            assert!(found, "{report}");
        }
    }
}

#[test]
fn a_kernel_without_end_meets_the_step_limit() {
    let mut case = case("forever", &[], (1, 64), &[(64, Some(0))]);
    let launch = Launch { step_limit: 10_000, ..case.launch(0) };
    let report = case.run_with(&launch);
    assert!(case.stage.blamed(&report, FaultKind::StepLimit, "FOREVER"), "{report}");
    let fault = report.faults.iter().find(|f| f.kind() == FaultKind::StepLimit);
    assert!(fault.unwrap().first.detail.contains("10000"), "{report}");
}

#[test]
fn division_by_zero_is_a_fault() {
    let mut case = case("divide", &[], (1, 32), &[(32, Some(0)), (32, None)]);
    assert_eq!(case.found(FaultKind::DivisionByZero, "DIVIDE"), WRONG);
}
