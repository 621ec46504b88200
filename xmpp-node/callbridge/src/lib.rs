//! The bridge's end of a component stream: discovery, failover, resumption, and a side-car for unmodified components.
