//! What node, operator and command line agree on: configuration, admin requests, status. Values and serde only.
