#!/bin/sh
# Everything to be measured on a hardware GPU, in one go: kernel check, steps beside PyTorch (eager and CUDA graph),
# matrix products, layers beside the adapter's peak, the host's cost of a step.
#
#   sh benches/hardware.sh [PYTHON]        where Rust is installed
#   BIN=FOLDER sh benches/hardware.sh ...  with FOLDER/glassnet, compare, host and matmul, built elsewhere by
#                                          `cargo build --release` and `cargo bench --no-run`
set -eu
[ -z "${BIN:-}" ] || BIN=$(cd "$BIN" && pwd)
cd "$(dirname "$0")/.."
python=${1:-python3}

program() {
    name=$1
    shift
    if [ -n "${BIN:-}" ]; then
        "$BIN/$name" "$@"
    elif [ "$name" = glassnet ]; then
        cargo run --quiet --release -- "$@"
    else
        cargo bench --quiet --bench "$name" -- "$@"
    fi
}

program glassnet devices
program glassnet check --device gpu
program matmul
program glassnet bench --devices gpu,cpu
program glassnet bench --devices gpu --preset vgg-mnist
program host
program compare --device gpu --python "$python"
