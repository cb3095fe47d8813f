//! The page pool: who holds a page, and what misuse is caught.

use ridgepoint::kv::{PageId, PagePool};

#[test]
fn taking_is_all_or_nothing() {
    let mut pool = PagePool::new(3);
    assert_eq!(pool.take(2), Some(vec![PageId(0), PageId(1)]));
    assert_eq!((pool.take(2), pool.free_pages()), (None, 1));
    let mut pages = vec![PageId(9)];
    assert!(!pool.take_into(2, &mut pages));
    assert!(pool.take_into(1, &mut pages));
    assert_eq!(pages, [PageId(9), PageId(2)]);
    assert_eq!((pool.take(0), pool.take(1)), (Some(vec![]), None));
    assert_eq!((pool.free_pages(), pool.pages()), (0, 3));
    pool.check();
}

#[test]
fn a_page_is_free_when_its_last_owner_gives_it_back() {
    let mut pool = PagePool::new(2);
    let page = pool.take(1).unwrap()[0];
    pool.share(page);
    pool.share(page);
    assert_eq!(pool.references(page), 3);
    assert!(!pool.release(page));
    assert!(!pool.release(page));
    assert_eq!(pool.free_pages(), 1);
    assert!(pool.release(page));
    assert_eq!((pool.free_pages(), pool.references(page)), (2, 0));
    pool.check();
}

#[test]
fn the_page_freed_last_is_taken_first() {
    let mut pool = PagePool::new(4);
    let pages = pool.take(4).unwrap();
    for place in [2, 0, 3] {
        pool.release(pages[place]);
    }
    assert_eq!(pool.take(3), Some(vec![pages[3], pages[0], pages[2]]));
    assert_eq!(pool.references(pages[0]), 1);
}

#[test]
#[should_panic(expected = "page 1 is free and was given back again")]
fn giving_back_twice_is_caught() {
    let mut pool = PagePool::new(2);
    let pages = pool.take(2).unwrap();
    pool.release(pages[1]);
    pool.release(pages[1]);
}

#[test]
#[should_panic(expected = "page 0 is free, so nobody can share it")]
fn sharing_a_free_page_is_caught() {
    PagePool::new(1).share(PageId(0));
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn a_page_of_another_pool_is_caught() {
    PagePool::new(1).release(PageId(1));
}

#[test]
fn a_pool_without_pages_gives_none() {
    let mut pool = PagePool::new(0);
    assert_eq!((pool.take(1), pool.take(0)), (None, Some(vec![])));
    pool.check();
}
