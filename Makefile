# The only front door: `make help` lists what there is. Everything longer than a line is a script in scripts/.

# Intermediate artefacts outlive the clone; the binaries are in it, under target/. Results of tests are never kept.
export CARGO_BUILD_BUILD_DIR ?= $(HOME)/.cache/xmpp-cluster/build
export XMPP_CACHE ?= $(HOME)/.cache/xmpp-cluster
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help demo test verify fix bench bench-failover interop conformance fuzz e2e memory images
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

demo: release ## three nodes and three bridges on loopback for a minute; ARGS='--fault leader' and the like are passed on
	$(TARGET)/release/xmpp demo --for 60s $(ARGS)

test: ## every test there is, also in a real Kubernetes, and a table of what ran and what did not
	@scripts/require test && scripts/claim && scripts/test

interop: ## only the tests with foreign software
	@scripts/require test && scripts/claim && scripts/test interop

conformance: ## component streams of this server, Prosody and ejabberd (Debian) compared: writes docs/conformance.md
	@scripts/require test && scripts/claim && cargo build --locked --workspace --bins
	python3 tests/conformance/compare.py $(TARGET)/debug

fuzz: ## each fuzz target for two minutes; ARGS='--for 600 framer' for others; needs rustup
	@scripts/require && scripts/fuzz $(ARGS)

e2e: ## stories told to a real Kubernetes of three nodes; needs root on Linux, or Docker and kind; ARGS go to pytest
	@scripts/require test && tests/k8s/e2e $(ARGS)

memory: ## the operator's memory with 50 clusters, at a real API server
	@scripts/require && tests/k8s/memory "$$(scripts/static)/xmpp-operator"

images: ## the container images as OCI archives in target/images, without Docker
	@scripts/require && scripts/images $(TARGET)/images

verify: ## format, lints, documentation, dependencies, files; changes nothing
	@scripts/require && scripts/claim && scripts/verify

fix: ## mends what `make verify` can mend
	@scripts/require && scripts/claim && scripts/fix

bench: dist ## load through one node and through three: throughput, latency, CPU a stanza, memory; ARGS='--for 30s'
	$(TARGET)/dist/xmpp-bench $(ARGS)

bench-failover: dist ## 100 kills and 50 freezes under 1000 messages/s: gaps of pairs of bridges; ARGS='--kind leader'
	$(TARGET)/dist/xmpp-bench-failover $(ARGS)

.PHONY: release dist
release:
	@scripts/require && scripts/claim
	cargo build --release --locked --workspace --bins
dist:
	@scripts/require && scripts/claim
	cargo build --profile dist --locked --workspace --bin xmpp-node --bin xmpp-bench --bin xmpp-bench-failover
