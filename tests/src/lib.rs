//! Helpers of the tests that need more than one part.

pub mod load;
