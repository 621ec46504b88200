//! The log as a whole, on real files.

mod suite;
