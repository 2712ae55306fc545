#!/bin/sh
# Runs every test, those on a GPU and in a browser included. What is missing for them on Debian or Ubuntu it installs:
# Mesa's software Vulkan, Chromium with its driver, a C compiler with Vulkan's headers, Rust's library for WebAssembly.
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null 2>&1; then
    echo "tests/run.sh: cargo is missing; install Rust from https://rustup.rs and run this again" >&2
    exit 1
fi

# Exit code 0 where the program itself finds an adapter, hardware or software.
has_adapter() {
    cargo run --quiet --bin glassnet -- devices --json 2>/dev/null | grep -q '"backend"'
}

# As root, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "tests/run.sh: installing needs root or sudo; as root run: $*" >&2
        exit 1
    fi
}

cargo build --quiet --bin glassnet
if ! has_adapter; then
    if command -v apt-get >/dev/null 2>&1; then
        echo "tests/run.sh: no GPU adapter found; installing Mesa's software Vulkan (package mesa-vulkan-drivers)" >&2
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1
    else
        echo "tests/run.sh: no GPU adapter found. Install a Vulkan driver (Mesa's software one is called lavapipe:" >&2
        echo "  Fedora: dnf install mesa-vulkan-drivers vulkan-loader; Arch: pacman -S vulkan-swrast vulkan-icd-loader)," >&2
        echo "  then run this again. On macOS and Windows the system brings Metal and DX12." >&2
        exit 1
    fi
    if ! has_adapter; then
        echo "tests/run.sh: the software Vulkan is installed, and still no adapter is found; see: cargo run -- devices" >&2
        exit 1
    fi
fi

# As the browser tests look for them.
has_browser() {
    command -v chromedriver >/dev/null 2>&1 || return 1
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
        command -v google-chrome >/dev/null 2>&1
}

if ! has_browser; then
    if command -v apt-get >/dev/null 2>&1; then
        echo "tests/run.sh: no browser found; installing Chromium and its driver (packages chromium, chromium-driver)" >&2
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver
    else
        echo "tests/run.sh: the tests of the live page need chromium and chromedriver, of the same version, in PATH" >&2
        echo "  (Fedora: dnf install chromium chromedriver; Arch: pacman -S chromium). Install them and run this again." >&2
        exit 1
    fi
    if ! has_browser; then
        echo "tests/run.sh: Chromium is installed, and still chromedriver or chromium is not found in PATH" >&2
        exit 1
    fi
fi

# For the Vulkan layer that fails on purpose, tests/faults.
has_layer_tools() {
    printf '#include <stdio.h>\n#include <vulkan/vk_layer.h>\n' | cc -E - >/dev/null 2>&1
}

if [ "$(uname)" = Linux ] && ! has_layer_tools; then
    if command -v apt-get >/dev/null 2>&1; then
        echo "tests/run.sh: installing a C compiler and Vulkan's headers (packages gcc, libc6-dev, libvulkan-dev)" >&2
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev libvulkan-dev
    else
        echo "tests/run.sh: the tests of failing drivers need cc and Vulkan's headers" >&2
        echo "  (Fedora: dnf install gcc vulkan-headers vulkan-loader-devel; Arch: pacman -S gcc vulkan-headers)." >&2
        echo "  Install them and run this again." >&2
        exit 1
    fi
fi

# For the tests that run the library in the browser.
target=wasm32-unknown-unknown
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    if ! command -v rustup >/dev/null 2>&1; then
        echo "tests/run.sh: Rust's library for $target is missing; install it (Debian: package libstd-rust-dev-wasm32;" >&2
        echo "  Fedora: rust-std-static-$target) and run this again" >&2
        exit 1
    fi
    rustup target add "$target"
fi

# Without an adapter or a browser the tests that need one fail now, instead of being skipped.
GLASSNET_REQUIRE_GPU=1 GLASSNET_REQUIRE_BROWSER=1 exec cargo test "$@"
