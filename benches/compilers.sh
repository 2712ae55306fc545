#!/bin/sh
# What the open-source compilers of three GPUs make of the presets' kernels, without the GPUs: AMD RX 7900 (NAVI31),
# NVIDIA RTX 3070 (GA104), Intel Iris Xe (TGL). Prints Markdown tables; exits with 1 if a rule is broken, such as that
# no kernel spills (benches/compilers/src/rules.rs).
#
#   sh benches/compilers.sh                    AMD alone, with the system's Mesa
#   DRIVERS=FOLDER sh benches/compilers.sh     with another Mesa, unpacked below FOLDER
#   SHIMS=FOLDER sh benches/compilers.sh       also NVIDIA and Intel
#   DUMP=FOLDER sh benches/compilers.sh        pipelines that `glassnet check --dump-pipelines` wrote before
#   GPUS="GA104" ... sh benches/compilers.sh   these of NAVI31, GA104, TGL alone
#   PRECISION=matrix-f16 GPUS=... ...          with the kernels for this precision; the drivers must have its matrices
#
# target/compilers/{NAVI31,GA104,TGL}.txt then have a line for every pipeline.
#
# DRIVERS: download Mesa's Vulkan drivers, the Vulkan loader, libc and all they depend on as packages of any release of
# your distribution (on Debian: `apt-get --download-only install mesa-vulkan-drivers libvulkan1 libc6` with that
# release's sources and an empty status file), and unpack them all below FOLDER (`dpkg -x`). Nothing is installed.
#
# SHIMS: RADV compiles for a GPU that is not there; NVK and ANV need a kernel driver. Mesa has fake ones that do
# nothing: build libnouveau_noop_drm_shim.so and libintel_noop_drm_shim.so from the source of the same Mesa, configured
# with `-Dtools=drm-shim,intel -Dgallium-drivers=nouveau,crocus -Dvulkan-drivers=`, and name a folder that has both
# below it.
set -eu

# The full path of folder $2, which variable $1 names; nothing if it names none.
folder() {
    [ -n "$2" ] || return 0
    [ -d "$2" ] || { echo "benches/compilers.sh: $1=$2 is no folder" >&2; exit 2; }
    (cd "$2" && pwd)
}

drivers=$(folder DRIVERS "${DRIVERS:-}")
shims=$(folder SHIMS "${SHIMS:-}")
dump=$(folder DUMP "${DUMP:-}")
gpus=" ${GPUS:-NAVI31 ${SHIMS:+GA104 TGL}} "
cd "$(dirname "$0")/.."
work=${CARGO_TARGET_DIR:-$PWD/target}/compilers
mkdir -p "$work"

if [ -z "$dump" ]; then
    dump=$work/dump
    rm -rf "$dump"
    cargo run --quiet --release -- check --dump-pipelines "$dump" --precision "${PRECISION:-f32}" >&2
fi
CARGO_TARGET_DIR=$work cargo build --quiet --manifest-path benches/compilers/Cargo.toml
tool=$work/debug/compilers

# The weight gradients to compare with: those before the tiles, which software adapters still run.
cat shaders/prelude/index.wgsl shaders/buffers/conv_blocked.wgsl shaders/conv_blocked.wgsl >"$work/before.wgsl"

# The path of file $2 below folder $1.
find_file() {
    path=$(find -L "$1" -name "$2" 2>/dev/null | sort | head -n 1)
    [ -n "$path" ] || { echo "benches/compilers.sh: there is no $2 below $1; see the top of this script" >&2; exit 2; }
    echo "$path"
}

# Runs the tool for GPU $1 with driver $2 and fake kernel driver $3 (may be empty); the rest are the driver's variables.
measure() {
    name=$1 shim=$3
    driver=$(find_file "${drivers:-/usr/lib}" "$2")
    shift 3
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' "$driver" \
        >"$work/driver.json"
    # Older loaders know the second name only.
    set -- "$@" VK_DRIVER_FILES="$work/driver.json" VK_ICD_FILENAMES="$work/driver.json"
    if [ -n "$drivers" ]; then
        # Unpacked drivers run with the libc that came with them.
        libraries=$(dirname "$driver")
        loader=$(find_file "$libraries" 'ld-linux-*')
        set -- "$@" "$loader" --library-path "$libraries:/lib/$(basename "$libraries")" ${shim:+--preload "$shim"}
    else
        set -- "$@" LD_PRELOAD="$shim"
    fi
    echo "compiling for $name" >&2
    env "$@" "$tool" measure "$dump" --name "$name" --before "$work/before.wgsl" --json "$work/$name.json" \
        >"$work/$name.txt" 2>"$work/errors.txt" || { cat "$work/errors.txt" >&2; exit 2; }
}

export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$work}"
rm -f "$work"/*.json
set --
# chosen NAME: whether this GPU is measured.
chosen() {
    case $gpus in
    *" $1 "*) return 0 ;;
    *) return 1 ;;
    esac
}
if chosen NAVI31; then
    measure NAVI31 libvulkan_radeon.so "" RADV_FORCE_FAMILY=NAVI31
    set -- "$@" "$work/NAVI31.json"
fi
if chosen GA104; then
    # 0x174 is its number.
    nouveau=$(find_file "${shims:?GA104 needs SHIMS}" libnouveau_noop_drm_shim.so)
    measure GA104 libvulkan_nouveau.so "$nouveau" NVK_I_WANT_A_BROKEN_VULKAN_DRIVER=1 NOUVEAU_CHIPSET=174
    set -- "$@" "$work/GA104.json"
fi
if chosen TGL; then
    intel=$(find_file "${shims:?TGL needs SHIMS}" libintel_noop_drm_shim.so)
    measure TGL libvulkan_intel.so "$intel" INTEL_STUB_GPU_PLATFORM=tgl
    set -- "$@" "$work/TGL.json"
fi
[ $# -gt 0 ] || { echo "benches/compilers.sh: GPUS=$GPUS names none of NAVI31, GA104, TGL" >&2; exit 2; }
"$tool" join --check "$@"
