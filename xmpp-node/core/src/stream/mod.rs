//! One state machine a kind of stream, and what they share. Pure: frames and times in, actions out.

pub mod component;
pub mod confirmation;
