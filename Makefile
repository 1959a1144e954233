# The short list of things one does here. Each is a script or a cargo command; nothing hides here.

# Rust as rustup installs it, also in shells that never read a profile.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TERM_COLOR ?= auto

# How long `make soak` takes, and which programs it reads, such as "tens-of-thousands" (all without).
SOAK_MINUTES ?= 10
SOAK_PROGRAMS ?=

# How long `make soak-agent` takes.
SOAK_AGENT_MINUTES ?= 30

# Which parts of `make bench` run, such as "speed churn" (all without).
SECTIONS ?=

.PHONY: help demo test test-system lint deny deb sbom soak soak-agent bench fuzz \
	interpreters libraries servers node_packages browser receivers systemd machine

help:
	@echo "make demo          see it work: builds the tools and shows a running Python program's tasks"
	@echo "make test          the whole gate: format, lints, tests with real CPython 3.14 and 3.15"
	@echo "make test-system   the package on a Debian with systemd, which is booted for it; make test does it too, as root"
	@echo "make lint          only the format and the lints"
	@echo "make deny          holds the dependencies against deny.toml: licences, sources, bans (make test does)"
	@echo "make deb           the Debian package, in target/package; says how large it is"
	@echo "make sbom          the list of what is in the programs, as CycloneDX, in target/sbom"
	@echo "make soak          reads busy programs for SOAK_MINUTES (10) and judges every edge and stack"
	@echo "make soak-agent    the agent on busy healthy programs for SOAK_AGENT_MINUTES (30): it must find nothing"
	@echo "make bench         measures beside CPython's own reader, and the agent, as Markdown (SECTIONS=\"speed agent\")"
	@echo "make fuzz          libFuzzer on the fuzz targets: FUZZ_SECONDS each (60), FUZZ_TARGETS or all"
	@echo "make interpreters  bring CPython 3.14 and 3.15 into target/interpreters (make test does)"
	@echo "make libraries     bring packages that programs of the tests use into target/libraries (make test does)"
	@echo "make servers       bring Prometheus, Alertmanager and VictoriaMetrics into target/servers (make test does)"
	@echo "make node_packages bring TypeScript and Grafana's types into target/node_packages (make test does)"
	@echo "make browser       bring Chromium into target/browser (make test does)"
	@echo "make receivers     bring rotel, a receiver of OpenTelemetry, into target/receivers (make test does)"
	@echo "make systemd       bring systemd 257 and debootstrap into target/systemd (make test does)"
	@echo "make machine       bring a Debian to boot into target/machine (make test-system does)"

demo:
	@tests/demo.sh

test: lint deny interpreters libraries servers node_packages browser receivers systemd
	cargo test --doc
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run --no-fail-fast; \
	else \
		set -x; cargo test --no-fail-fast --lib --bins --tests; \
	fi
	@if [ "$$(id -u)" = 0 ]; then \
		$(MAKE) --no-print-directory test-system; \
	else \
		echo "NOT RUN: make test-system, which takes root"; \
	fi

test-system: interpreters machine
	@tests/cargo_tools.sh cargo-deb cargo-about
	@deploy/deb.sh test
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run --no-fail-fast --test system; \
	else \
		set -x; cargo test --no-fail-fast --test system; \
	fi

lint:
	@command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 || { echo "rustfmt is missing: rustup component add rustfmt" >&2; exit 1; }
	@cargo clippy --version >/dev/null 2>&1 || { echo "clippy is missing: rustup component add clippy" >&2; exit 1; }
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --all-targets -- -D warnings
	cargo clippy --test system -- -D warnings
	cargo clippy --no-default-features --lib -- -D warnings
	cargo clippy --no-default-features --features cli -- -D warnings

deny:
	@tests/cargo_tools.sh cargo-deny
	target/cargo_tools/bin/cargo-deny --locked --all-features check --show-stats -D unmatched-skip -D unnecessary-skip -D license-not-encountered bans licenses sources

deb:
	@tests/cargo_tools.sh cargo-deb cargo-about
	@deploy/deb.sh

sbom:
	@tests/cargo_tools.sh cargo-cyclonedx
	@deploy/sbom.sh

soak: interpreters
	cargo bench --bench soak -- --minutes $(SOAK_MINUTES) $(SOAK_PROGRAMS)

soak-agent: interpreters
	cargo bench --bench soak-agent -- --minutes $(SOAK_AGENT_MINUTES)

bench: interpreters receivers
	cargo bench --bench compare -- $(SECTIONS)

interpreters:
	@tests/interpreters.sh

libraries:
	@tests/libraries.sh

servers:
	@tests/servers.sh

node_packages:
	@tests/node_packages.sh

browser:
	@tests/browser.sh

receivers:
	@tests/receivers.sh

systemd:
	@tests/systemd.sh

machine: systemd
	@tests/machine.sh

# Not part of the gate, which runs the same targets as an ordinary test. See tests/fuzz/run.sh.
export FUZZ_SECONDS FUZZ_TARGETS FUZZ_ASAN
fuzz:
	@tests/interpreters.sh 3.14 3.15
	@tests/fuzz/run.sh
