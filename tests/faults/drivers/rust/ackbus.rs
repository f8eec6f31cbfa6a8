//! A driver.
fn main() {}
