# SPDX-License-Identifier: MIT OR Apache-2.0
# What people type. `.ci/run` calls the same targets.

SHELL := /bin/bash
CARGO ?= cargo
TOOLS := $(CURDIR)/target/tools

.PHONY: help setup demo test vm-test bench lint fmt clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what is missing (Debian packages; says what to do elsewhere)
	@scripts/setup

demo: setup ## provision, lock and unlock an emulated drive with keys in a TPM
	$(CARGO) build --locked --bins
	@examples/demo

test: setup ## everything that needs no guest
	$(CARGO) test --locked --workspace
	@opal/no-std/check

vm-test: setup ## boot guests and run other people's clients against emulated drives
	$(CARGO) build --locked --bins --example memory_drive
	$(CARGO) run --locked -q -p vm-tests --bin vm -- fetch
	$(CARGO) test --locked -p vm-tests --test vm -- --test-threads=2
	$(CARGO) run --locked -q -p vm-tests --bin vm -- report

bench: setup ## measure us and the peers side by side
	@scripts/bench

lint: setup ## formatting, clippy with warnings denied, licences and duplicate dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@scripts/deny

fmt: ## format the tree
	$(CARGO) fmt --all

clean: ## remove what was built
	$(CARGO) clean
