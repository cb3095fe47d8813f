//! Factors of symmetric matrices, against their definition.

use super::numbers;
use ridgepoint::quantize::linalg::{cholesky, invert_lower, permute};

/// `A A^T + I`.
fn positive(n: usize, seed: u64) -> Vec<f64> {
    let a: Vec<f64> = numbers(n * n, seed).iter().map(|x| f64::from(*x)).collect();
    let product = |i: usize, j: usize| -> f64 { (0..n).map(|t| a[i * n + t] * a[j * n + t]).sum() };
    let entry = |i, j| product(i, j) + if i == j { 1.0 } else { 0.0 };
    (0..n * n).map(|at| entry(at / n, at % n)).collect()
}

#[test]
fn factors_give_back_the_matrix_and_its_inverse() {
    // One block, a block and a row, several blocks, more columns than an update takes at a time.
    for n in [1, 2, 63, 64, 65, 130, 330] {
        let whole = positive(n, n as u64);
        let mut l = whole.clone();
        // What lies above the diagonal is not read.
        (0..n).for_each(|i| l[i * n + i + 1..(i + 1) * n].fill(f64::NAN));
        assert!(cholesky(&mut l, n));
        for i in 0..n {
            for j in 0..=i {
                let sum: f64 = (0..=j).map(|t| l[i * n + t] * l[j * n + t]).sum();
                assert!((sum - whole[i * n + j]).abs() < 1e-9 * n as f64, "{n}: [{i}, {j}]");
            }
        }
        let mut inverse = l.clone();
        invert_lower(&mut inverse, n);
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (j..=i.max(j))
                    .map(|t| if t <= i { l[i * n + t] * inverse[t * n + j] } else { 0.0 })
                    .sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-9, "{n}: [{i}, {j}] is {product}");
                assert!(j <= i || inverse[i * n + j] == 0.0, "{n}: above the diagonal");
            }
        }
    }
}

#[test]
fn rows_and_columns_take_the_places_of_an_order() {
    // Nothing moves, one cycle, cycles of several lengths, the order of random numbers.
    let random = |n: usize| {
        let (mut order, sizes) = ((0..n).collect::<Vec<_>>(), numbers(n, 7));
        order.sort_by(|&a, &b| sizes[a].total_cmp(&sizes[b]));
        order
    };
    let orders = [vec![0], vec![0, 1, 2], vec![1, 2, 3, 0], vec![3, 1, 4, 0, 2, 5], random(150)];
    for order in orders {
        let n = order.len();
        let mut found: Vec<f64> = (0..n * n).map(|at| at as f64).collect();
        permute(&mut found, &order);
        for (at, found) in found.into_iter().enumerate() {
            assert_eq!(found, (order[at / n] * n + order[at % n]) as f64, "{order:?}");
        }
    }
}

#[test]
#[should_panic(expected = "row 1 comes twice")]
fn an_order_that_leaves_out_a_row_is_a_fault() {
    permute(&mut [0.0; 9], &[1, 2, 1]);
}

#[test]
fn what_is_not_positive_definite_is_refused() {
    for n in [1, 64, 100] {
        for place in [0, n / 2, n - 1] {
            for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
                let mut a = vec![0.0; n * n];
                (0..n).for_each(|i| a[i * n + i] = 1.0);
                a[place * n + place] = bad;
                assert!(!cholesky(&mut a, n), "{n}: {bad} at {place}");
            }
        }
    }
}
