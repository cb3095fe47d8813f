//! A GPU by way of its driver.
