//! `rope_append` and an attention one after the other, as in a layer: what the first writes the
//! second reads, without the host or the end of a grid between them.

use super::attention::{Ready, Sequence, Unseen, World};
use super::{Rig, attention_decode, attention_prefill, rigs, samples};
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::rope::{RopeAppend, rope_append};

/// What `rope_append` is fed for the rows of a batch. Its angles are all zero.
struct Feed {
    qkv: Buffer,
    cos_sin: Buffer,
    positions: Buffer,
    slots: Buffer,
}

impl Feed {
    fn new(rig: &Rig, world: &World) -> Feed {
        let Heads { query, kv, dim } = world.heads;
        let tables = world.tables.read::<u32>(world.tables.bytes() as usize / 4).unwrap();
        let (mut positions, mut slots) = (Vec::new(), Vec::new());
        for s in &world.sequences {
            for position in s.position.unwrap()..s.position.unwrap() + s.rows {
                let page = tables[(s.table * world.table_stride + position / 64) as usize];
                positions.push(0);
                slots.push(page * 64 + position % 64);
            }
        }
        Feed {
            qkv: rig.upload(&samples(world.rows * (query + 2 * kv) * dim, 77)),
            cos_sin: rig.upload(&[1.0f32, 0.0].repeat(dim / 2)),
            positions: rig.upload::<u32>(&positions),
            slots: rig.upload::<u32>(&slots),
        }
    }

    fn append(&self, rig: &Rig, world: &World) {
        let op = RopeAppend {
            qkv: self.qkv.ptr(),
            bias: None,
            norm: None,
            cos_sin: self.cos_sin.ptr(),
            positions: self.positions.ptr(),
            slots: self.slots.ptr(),
            q_out: world.q.ptr(),
            k_pages: world.k_pages.ptr(),
            v_pages: world.v_pages.ptr(),
            heads: world.heads,
            tokens: world.rows as u32,
        };
        rope_append(&rig.kernels, &op).unwrap();
    }
}

fn check(rig: &Rig, ready: impl for<'a> Fn(&'a Rig, &'a World) -> Ready<'a>) {
    let model = (Heads { query: 4, kv: 2, dim: 64 }, None);
    let sequences = [Sequence::new(2, 300, 2), Sequence::new(4, 62, 4)];
    let world = World::new(rig, model, &sequences, 3, Unseen::Poison);
    let feed = Feed::new(rig, &world);
    let Ready { launch, out } = ready(rig, &world);
    feed.append(rig, &world);
    rig.driver().synchronize().unwrap();
    launch();
    let apart = world.read(&out);
    for seed in rig.seeds(6) {
        rig.set_seed(seed);
        rig.driver().fill(out.ptr(), 0xff, out.bytes()).unwrap();
        // The next layer overwrites what attention reads.
        for _ in 0..2 {
            feed.append(rig, &world);
            launch();
        }
        assert!(world.read(&out) == apart, "seed {seed}");
    }
}

#[test]
fn attention_waits_for_the_keys_of_its_own_step() {
    for rig in rigs() {
        check(&rig, attention_decode::ready);
        check(&rig, |rig, world| attention_prefill::ready(rig, world, 64));
    }
}
