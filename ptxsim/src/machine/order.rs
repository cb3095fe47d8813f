//! Release and acquire between threads through memory: fences, strong reads and writes, atomics.
//! What a release publishes is kept beside the address it goes through; a strong read observes it,
//! and a fence, or the read's own `.acquire`, makes it known (PTX ISA, "Memory Consistency Model",
//! release and acquire patterns).

use super::ctx::{Ctx, Flow};
use crate::isa::Inst;
use crate::memory::clock::Clock;
use std::rc::Rc;

/// How far an operation orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The block.
    Cta,
    /// The cluster.
    Cluster,
    /// The device, or more.
    Gpu,
}

/// What an access to memory does besides moving data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strength {
    /// Not a weak access: does not race with others of its kind.
    pub strong: bool,
    /// Acquires by itself.
    pub acquire: bool,
    /// Releases by itself.
    pub release: bool,
    /// How far.
    pub scope: Scope,
}

impl Strength {
    /// An ordinary access.
    pub const WEAK: Strength =
        Strength { strong: false, acquire: false, release: false, scope: Scope::Cta };
    /// `.volatile`, which is `.relaxed` at the widest scope.
    pub const VOLATILE: Strength =
        Strength { strong: true, acquire: false, release: false, scope: Scope::Gpu };

    /// In six bits, for `Inst::target`.
    pub fn pack(self) -> u32 {
        self.strong as u32
            | (self.acquire as u32) << 1
            | (self.release as u32) << 2
            | (self.scope as u32) << 3
    }

    /// The reverse of `pack`.
    pub fn unpack(bits: u32) -> Strength {
        let scope = match bits >> 3 & 3 {
            0 => Scope::Cta,
            1 => Scope::Cluster,
            _ => Scope::Gpu,
        };
        Strength { strong: bits & 1 != 0, acquire: bits & 2 != 0, release: bits & 4 != 0, scope }
    }
}

/// What one block has released through an address.
#[derive(Clone)]
pub struct Published {
    team: u32,
    block: usize,
    scope: Scope,
    clock: Rc<Clock>,
}

/// What has been released through one address.
#[derive(Clone, Default)]
pub struct SyncVar {
    list: Vec<Published>,
}

impl SyncVar {
    /// Nothing has been.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A plain strong write ends what earlier ones released; an atomic update carries it on.
    pub fn publish(&mut self, new: Vec<Published>, update: bool) {
        if !update {
            self.list.clear();
        }
        for item in new {
            let same = |p: &&mut Published| {
                (p.team, p.block, p.scope) == (item.team, item.block, item.scope)
            };
            match self.list.iter_mut().find(same) {
                None => self.list.push(item),
                Some(old) => {
                    let mut clock = (*old.clock).clone();
                    clock.join(&item.clock);
                    old.clock = Rc::new(clock);
                }
            }
        }
    }

    /// Everything released through it.
    pub fn list(&self) -> &[Published] {
        &self.list
    }
}

impl Ctx<'_, '_> {
    /// What a strong write by this warp releases.
    pub fn releases(&mut self, strength: Strength) -> Vec<Published> {
        let (team, block) = (self.team.id, self.warp.block);
        let mut list = Vec::new();
        let mut add = |scope, clock| list.push(Published { team, block, scope, clock });
        if strength.release {
            add(strength.scope, Rc::new(self.warp.clock.clone()));
        } else {
            if let Some(fence) = &self.warp.fence {
                add(Scope::Cta, fence.clone());
            }
            let wide = &self.warp.clock.wide;
            if strength.scope > Scope::Cta && wide.iter().any(|&c| c != 0) {
                let clock = Clock { own: wide.clone(), ..self.warp.clock.clone() };
                add(strength.scope, Rc::new(clock));
            }
        }
        if !list.is_empty() {
            self.warp.tick();
            self.team_changed();
        }
        list
    }

    /// A strong read has seen what was released through an address.
    pub fn observe(&mut self, key: u64, seen: &[Published], strength: Strength) {
        if seen.is_empty() {
            return;
        }
        if strength.acquire {
            self.acquire(seen, strength.scope);
        } else {
            self.warp.observed.insert(key, seen.to_vec());
        }
    }

    fn acquire(&mut self, seen: &[Published], scope: Scope) {
        let (team, block) = (self.team.id, self.warp.block);
        for item in seen {
            let reach = scope.min(item.scope);
            let near = item.team == team && (item.block == block || reach >= Scope::Cluster);
            let within = near || reach == Scope::Gpu;
            if !within {
                continue;
            }
            if item.team == team {
                self.warp.clock.join(&item.clock);
                continue;
            }
            self.warp.clock.learn(item.team, &item.clock.own.as_slice().into());
            for (other, clocks) in &item.clock.foreign {
                if *other == team {
                    crate::memory::clock::join(&mut self.warp.clock.own, clocks);
                } else {
                    self.warp.clock.learn(*other, clocks);
                }
            }
        }
        self.team_changed();
    }
}

/// `fence.acq_rel`, `fence.sc` and `membar`: `inst.target` is the scope.
pub fn fence(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let scope = Strength::unpack(inst.target << 3).scope;
    let observed = std::mem::take(&mut ctx.warp.observed);
    for seen in observed.values() {
        ctx.acquire(seen, scope);
    }
    ctx.warp.fence = Some(Rc::new(ctx.warp.clock.clone()));
    if scope > Scope::Cta {
        ctx.warp.clock.fence_wide();
    }
    ctx.warp.tick();
    ctx.warp.synchronise(mask);
    ctx.team_changed();
    Flow::Next
}

/// `fence.proxy.async` in all its forms: what was written is visible to the asynchronous proxy.
pub fn fence_proxy(ctx: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    ctx.warp.clock.fence_proxy();
    ctx.warp.tick();
    ctx.team_changed();
    Flow::Next
}

/// A fence that orders nothing the simulator watches (`fence.mbarrier_init`, tensor map proxies).
pub fn fence_nothing(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}
