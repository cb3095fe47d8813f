//! The tree's invariants, counted anew from the pool's references. For tests and fuzzing.

use super::{Parent, PrefixTree};
use crate::kv::{PAGE_SIZE, PageId, PagePool};

impl PrefixTree {
    /// The pages that can be evicted, in the order in which they would be.
    #[doc(hidden)]
    pub fn idle_pages(&self) -> Vec<PageId> {
        self.idle.iter().collect()
    }

    /// Checks that every node is found and counted, that exactly the idle ones are listed, and
    /// children before their parents. O(pages of the pool).
    ///
    /// # Panics
    /// If it is not so.
    #[doc(hidden)]
    pub fn check(&self, pool: &PagePool) {
        let cached: Vec<PageId> =
            (0..self.nodes.len() as u32).map(PageId).filter(|page| self.is_cached(*page)).collect();
        assert_eq!(self.stats.cached, (cached.len() * PAGE_SIZE) as u64);
        let mut children = vec![0; self.nodes.len()];
        let mut holds = vec![0; self.nodes.len()];
        for &page in &cached {
            let node = &self.nodes[page.index()];
            let found = self.find(node.hash, node.parent, node.family, &node.tokens);
            assert_eq!(found, Some(page), "a node is not found, or another one like it is");
            assert!(pool.references(page) > 0, "page {} is cached and free", page.0);
            holds[page.index()] += u32::from(pool.references(page) > 1);
            if let Parent::Node(parent) = node.parent {
                assert!(self.is_cached(parent), "page {} outlived its parent", page.0);
                children[parent.index()] += 1;
                holds[parent.index()] += u32::from(node.holds > 0);
            }
        }
        // The place of each page in the order of eviction.
        let mut order = vec![None; self.nodes.len()];
        for (place, page) in self.idle.iter().enumerate() {
            assert!(order[page.index()].is_none() && place < self.idle.len(), "a list in a ring");
            order[page.index()] = Some(place);
        }
        assert_eq!(order.iter().flatten().count(), self.idle.len());
        let in_buckets = self
            .buckets
            .iter()
            .map(|head| std::iter::successors(*head, |page| self.nodes[page.index()].next).count());
        assert_eq!(in_buckets.sum::<usize>(), cached.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let idle = node.serial != 0 && node.holds == 0;
            assert_eq!(order[index].is_some(), idle, "page {index} is listed as idle or is not");
            if node.serial != 0 {
                assert_eq!(node.children, children[index], "children of page {index}");
                assert_eq!(node.holds, holds[index], "holds of page {index}");
            }
            if let (true, Parent::Node(parent)) = (idle, node.parent) {
                let parent = order[parent.index()];
                assert!(parent.is_none_or(|parent| Some(parent) > order[index]));
            }
        }
    }
}
