# What one can do here: `just` lists it. Every verb is a script or one command, so that nothing
# needs `just` itself (`cargo install just`).

# List the verbs.
default:
    @just --list --unsorted

# Install what is missing, build card, and fetch models (default: qwen-coder).
setup *PAIRS:
    scripts/setup {{PAIRS}}

# Set everything up and let a real pair of models generate.
start *PROMPT:
    scripts/start {{PROMPT}}

# Build card for this machine.
build:
    cargo build --release --locked -p card

# Format the code.
format:
    cargo fmt --all

# Look for mistakes: clippy, without warnings.
lint:
    cargo clippy --release --locked --workspace --all-targets -- -D warnings

# First tier of tests, minutes: all that needs neither llama.cpp nor a model.
fast *ARGUMENTS:
    scripts/test-fast {{ARGUMENTS}}

# Second tier of tests, what CI runs: all but what takes hours.
test:
    scripts/test

# Last tier of tests, hours: network, fuzz, torture, soak, exactness.
long *PARTS:
    scripts/test-long {{PARTS}}

# Check licences, sources and doubled crates, unused dependencies, spelling.
deny *CHECKS:
    scripts/test-deny {{CHECKS}}

# Fuzz the parsers of what comes from outside.
fuzz SECONDS="60" *TARGETS:
    scripts/test-fuzz {{SECONDS}} {{TARGETS}}

# Test a drafter behind a network that has faults; needs root.
network SECONDS="30":
    scripts/test-network {{SECONDS}}

# Send the server raw sockets, the largest bodies and clients that go away.
torture *ARGUMENTS:
    scripts/test-torture {{ARGUMENTS}}

# Test the kernels for ARM, emulated.
neon:
    scripts/test-neon

# Test the API against its own document.
api *ARGUMENTS:
    scripts/test-api {{ARGUMENTS}}

# Test with OpenAI's own clients and a browser.
clients *FOLDER:
    scripts/test-clients {{FOLDER}}

# Look at every page in a browser: two widths, light and dark; --keep renews those in docs/images.
pages *KEEP:
    scripts/test-pages {{KEEP}}

# Measure the parts that run between forwards: cache, scheduler, sampler, messages, texts.
bench *ARGUMENTS:
    cargo bench --locked -p card-core -p card-wire -p card-link -p card-server --bench "*" -- {{ARGUMENTS}}

# Measure what forwards of a model take, with card's kernels and ggml's.
forwards MODEL *ARGUMENTS:
    scripts/measure-forwards {{MODEL}} {{ARGUMENTS}}

# Measure a pair on a machine with one GPU, in eight minutes; --dry-run tests the script without.
gpu *ARGUMENTS:
    scripts/measure-gpu {{ARGUMENTS}}

# Compare card's plain mode with a bare loop around llama.cpp.
bare MODEL *ARGUMENTS:
    tools/bare-loop/compare {{MODEL}} {{ARGUMENTS}}

# Look for files, functions and structs that are too large.
sizes:
    scripts/test-sizes

# Look for names of types that mean two things.
names:
    scripts/test-names

# Check documents: links, the glossary, the pages that explain.
test-docs:
    scripts/test-docs

# Check the Japanese: marks, spaces, terms, and README.ja.md against README.md.
ja:
    scripts/test-ja

# Make packages: wheel, npm, deb, image, sbom (default: all).
package *WHAT:
    scripts/package {{WHAT}}

# Install the packages afresh and run them.
try-packages *WHAT:
    scripts/test-package {{WHAT}}

# Lint workflows and scripts.
workflows:
    scripts/test-workflows

# Write the code of the link's messages anew, after a change of link.proto.
messages:
    cargo run --release --locked -p card-wire-code

# Draw docs/architecture.md from the code.
draw:
    scripts/draw-architecture

# Build the documentation of all crates.
docs:
    cargo doc --release --locked --workspace --no-deps
