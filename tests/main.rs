//! The one integration binary. Modules mirror `src` and `kernels`.
