#!/bin/sh
# Everything to be measured on a hardware GPU, in one command. It ends with one Markdown table for docs/performance.md:
# kernel check, lockstep, images/s beside PyTorch, time to accuracy, a matrix product, the host's cost of a step.
#
#   sh benches/hardware.sh [--skip-self-check] [PYTHON]   where Rust is installed; builds first
#   BIN=FOLDER sh benches/hardware.sh ...                 with FOLDER/glassnet, compare, host and matmul, built elsewhere
#                                                         by `cargo build --release` and `cargo bench --no-run`
#
# PYTHON is a Python with PyTorch; without one, or without CUDA, its cells say so. --skip-self-check goes on with a GPU
# that computes wrongly or not at all, such as a driver that only records commands; what is timed then is the host.
# MNIST comes from GLASSNET_DATA or from the user's data folder; nothing is downloaded. The exit status is 1 if `check`
# or a step in lockstep fails, or has no result.
set -u

# Seconds: for everything after the build; at most for each part, and for the images/s of each network. Where the parts'
# limits are more than what is left of everything, each part has its share of that. A part that is out of time leaves
# its cells empty, with the reason.
TOTAL=${TOTAL:-470}
LIMIT=${LIMIT:-60}
COMPARE_LIMIT=${COMPARE_LIMIT:-90}
# Rounds of each contestant after the warm-up, and the least seconds of one.
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-0.25}

networks="convnetjs-mnist vgg-mnist resnet-cifar10"
batches="20 128 512"

# Seconds for a list of devices or of data.
LIST_LIMIT=30
# The limits of all parts that have not begun: two lists; two checks, lockstep, three trainings, matmul, host; the
# networks.
planned=$((2 * LIST_LIMIT + 8 * LIMIT))
for network in $networks; do
    planned=$((planned + COMPARE_LIMIT))
done

skip=
python=python3
for argument in "$@"; do
    case $argument in
    --skip-self-check) skip=--skip-self-check ;;
    -*)
        echo "hardware.sh: unknown option $argument; usage: sh benches/hardware.sh [--skip-self-check] [PYTHON]" >&2
        exit 2
        ;;
    *) python=$argument ;;
    esac
done

if [ -n "${BIN:-}" ]; then
    BIN=$(cd "$BIN" && pwd) || exit 2
fi
cd "$(dirname "$0")/.." || exit 2
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

if [ -z "${BIN:-}" ]; then
    cargo build --quiet --release || exit 1
    cargo bench --quiet --no-run --bench compare --bench host --bench matmul || exit 1
fi
begin=$(date +%s)

# Sets `allowed` to the seconds of the next part, whose limit is $1: its share of what is left, at most the limit.
share() {
    left=$((begin + TOTAL - $(date +%s)))
    allowed=$((left * $1 / planned))
    [ "$allowed" -le "$1" ] || allowed=$1
    planned=$((planned - $1))
}

# part NAME PROGRAM ARGUMENTS...: runs a program for at most `allowed` seconds, shows its output, and keeps it in
# $folder/NAME. The exit status is the program's, or 124 if it was out of time.
part() {
    log=$folder/$1
    program=$2
    shift 2
    printf '\n--- %s %s\n' "$program" "$*"
    if [ "$allowed" -le 0 ]; then
        echo "error: no time was left" >"$log"
        status=124
    else
        if [ -n "${BIN:-}" ]; then
            set -- "$BIN/$program" "$@"
        elif [ "$program" = glassnet ]; then
            set -- cargo run --quiet --release -- "$@"
        else
            set -- cargo bench --quiet --bench "$program" -- "$@"
        fi
        # Where there is no `timeout`, as on macOS, a part takes as long as it takes.
        if command -v timeout >/dev/null 2>&1; then
            set -- timeout -k 5 "$allowed" "$@"
        fi
        "$@" >"$log" 2>&1
        status=$?
        # 137: it had to be killed.
        if [ "$status" = 124 ] || [ "$status" = 137 ]; then
            echo "error: no result within $allowed s" >>"$log"
            status=124
        fi
    fi
    tail -n 60 "$log"
    return "$status"
}

# Text for a table's cell: one line, not too long.
cell() {
    tr '\n\t|' '  /' | cut -c 1-160 | sed 's/ *$//'
}

# The reason why the part NAME has no result.
reason() {
    why=$(grep -ai '^error' "$folder/$1" | tail -n 1 | sed 's/^[Ee]rror: *//; s/^"//; s/"$//')
    [ -n "$why" ] || why=$(grep -av '^ *$' "$folder/$1" | tail -n 1)
    printf '%s' "$why" | cell
}

# row WHAT GPU GPU_F16 CPU EAGER EAGER_TF32 GRAPH GRAPH_TF32: adds a row to the table.
row() {
    printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "${3:-}" "${4:-}" "${5:-}" "${6:-}" "${7:-}" "${8:-}" \
        >>"$folder/table"
}

# PyTorch on CUDA, or why there is none.
probe='
import sys
try:
    import torch
except Exception as error:
    sys.exit("no PyTorch: " + str(error))
if not torch.cuda.is_available():
    sys.exit("PyTorch " + torch.__version__ + " has no CUDA")
print("PyTorch", torch.__version__ + ",", torch.cuda.get_device_name())'
if torch=$("$python" -c "$probe" 2>&1); then
    peers=pytorch
    no_torch=
else
    peers=
    torch=$(printf '%s\n' "${torch:-no PyTorch}" | tail -n 1 | cell)
    case $torch in
    *"has no CUDA") no_torch="no CUDA" ;;
    *) no_torch="no PyTorch" ;;
    esac
fi

share "$LIST_LIMIT"
part devices glassnet devices
share "$LIMIT"
part check glassnet check --device gpu
checked=$?
# The script's own exit status.
code=0
[ "$checked" = 0 ] || code=1
adapter=$(sed -n 's/^.* cases on gpu: //p' "$folder/check" | head -n 1)
cpu=$(sed -n 's/^cpu: //p' "$folder/devices" | head -n 1)

# The kernels of --precision matrix-f16, where the driver lists such matrices.
share "$LIMIT"
part check-f16 glassnet check --device gpu --precision matrix-f16 --filter conv_matrix.
checked_f16=$?
row machine "${adapter:-$(reason check)}" "" "${cpu:-unknown}" "$torch"
verdict=$(tail -n 1 "$folder/check" | cell)
# Stands before every speed of a GPU that computes wrongly.
wrong=
wrong_f16=
if ! grep -q ' cases on gpu: ' "$folder/check-f16" || [ "$checked_f16" = 124 ]; then
    verdict_f16="not run: $(reason check-f16)"
elif [ "$checked_f16" = 0 ]; then
    verdict_f16=$(tail -n 1 "$folder/check-f16" | cell)
else
    verdict_f16="FAILED: $(reason check-f16)"
    wrong_f16="computes wrongly, "
    code=1
fi
case $checked in
0) row "\`check\`" "$verdict" "$verdict_f16" ;;
124) row "\`check\`" "$(reason check)" "$verdict_f16" ;;
*)
    if [ -n "$adapter" ]; then
        row "\`check\`" "FAILED: $(reason check)" "$verdict_f16"
        wrong="computes wrongly, "
    else
        row "\`check\`" "not run: $(reason check)" "$verdict_f16"
    fi
    ;;
esac

# lockstep NETWORK [OPTIONS]: sets `verdict` to the outcome of a step of the network, and `differs` if it fails.
lockstep() {
    network=$1
    shift
    differs=
    part lockstep glassnet check --lockstep --device gpu --preset "$network" "$@"
    case $? in
    0) verdict=$(sed -n 's/^.*: all/all/p' "$folder/lockstep" | tail -n 1 | cell) ;;
    124) verdict=$(reason lockstep) differs=unknown ;;
    *)
        differs=$(sed -n 's/^.*: \(operation .* differs\)/\1/p' "$folder/lockstep" | cell)
        verdict="${differs:+FAILED: }${differs:-not run: $(reason lockstep)}"
        differs=${differs:-unknown}
        ;;
    esac
}

share "$LIMIT"
lockstep_end=$(($(date +%s) + allowed))
for network in convnetjs-mnist fast-mnist vgg-mnist resnet-mnist resnet-cifar10; do
    allowed=$((lockstep_end - $(date +%s)))
    lockstep "$network"
    in_f32=$verdict
    [ -z "$differs" ] || code=1
    [ -z "$differs" ] || [ "$differs" = unknown ] || wrong="computes wrongly, "
    verdict=
    case $verdict_f16 in
    not\ run*) ;;
    *)
        allowed=$((lockstep_end - $(date +%s)))
        lockstep "$network" --precision matrix-f16
        [ -z "$differs" ] || code=1
        [ -z "$differs" ] || [ "$differs" = unknown ] || wrong_f16="computes wrongly, "
        ;;
    esac
    row "lockstep, $network" "$in_f32" "$verdict"
done

# A GPU that computes wrongly in f32 is not trusted in f16 either.
wrong_f16=${wrong_f16:-$wrong}

# speed NETWORK BATCH CONTESTANT [WRONG]: the cell of a contestant, from compare's lines between tabs: median
# (least-most) after the words WRONG, or the reason; $failed is that of the whole part.
speed() {
    found=$(awk -F '\t' -v network="$1" -v batch="$2" -v contestant="$3" '
        $1 == network && $2 == batch && $3 == contestant {
            if ($4 == "-") print $5; else print wrong $4 " (" $5 "-" $6 ")"
        }' wrong="${4:-}" "$folder/compare" | tail -n 1)
    case "$found$3" in
    PyTorch*) found=${no_torch:-$failed} ;;
    Glassnet*) found=$failed ;;
    esac
    printf '%s' "$found" | cell
}

for network in $networks; do
    failed="not measured"
    share "$COMPARE_LIMIT"
    # shellcheck disable=SC2086 # $peers and $skip are one word or none.
    part compare compare --device gpu --with-cpu --with-f16 --tabs --presets "$network" \
        --batch-sizes "$(echo "$batches" | tr ' ' ',')" --rounds "$ROUNDS" --seconds "$SECONDS_EACH" \
        --python "$python" $skip --peers $peers || failed=$(reason compare)
    for batch in $batches; do
        row "images/s, $network, batch $batch" "$(speed "$network" "$batch" Glassnet "$wrong")" \
            "$(speed "$network" "$batch" "Glassnet, matrix-f16" "$wrong_f16")" \
            "$(speed "$network" "$batch" "Glassnet, cpu")" "$(speed "$network" "$batch" "PyTorch, eager")" \
            "$(speed "$network" "$batch" "PyTorch, eager, TF32")" "$(speed "$network" "$batch" "PyTorch, CUDA graph")" \
            "$(speed "$network" "$batch" "PyTorch, CUDA graph, TF32")"
    done
done

# One figure of train's JSON.
figure() {
    sed -n "s/^ *\"$1\": *\([0-9.eE+-]*\),*\$/\1/p" "$folder/$2" | tail -n 1
}

# Trains fast-mnist on the device $2 for the part train-$1, with the options after it. Sets `cell` to the time if it reaches 99 %.
accuracy() {
    name=$1
    device=$2
    shift 2
    share "$LIMIT"
    if ! grep -q '^mnist *verified' "$folder/data"; then
        cell="no data"
        return
    fi
    if ! part "train-$name" glassnet train --preset fast-mnist --dataset mnist --device "$device" --stats-every 500 \
        --seed 1 --json --no-report --out "$folder/run-$name" "$@"; then
        cell=$(reason "train-$name")
        return
    fi
    cell=$(awk -v accuracy="$(figure test_accuracy "train-$name")" \
        -v seconds="$(figure train_seconds "train-$name")" 'BEGIN {
        if (accuracy == "") { print "no figures in the output"; exit }
        # An accuracy of 0.99, or in percent.
        percent = accuracy <= 1 ? 100 * accuracy : accuracy
        reached = (percent >= 99)
        printf (reached ? "%.1f s (%.2f %%)" : "not reached: %.1f s, %.2f %%"), seconds, percent
    }')
}

share "$LIST_LIMIT"
part data glassnet data list
# shellcheck disable=SC2086
accuracy gpu gpu $skip
on_gpu=$cell
# shellcheck disable=SC2086
accuracy f16 gpu --precision matrix-f16 $skip
in_f16=$cell
accuracy cpu cpu
row "99 % on MNIST's test set, fast-mnist" "$wrong$on_gpu" "$wrong_f16$in_f16" "$cell"

share "$LIMIT"
# The fastest kernel of lines such as `matmul.tiles128   1234.5 GFLOP/s (56 %)`.
if part matmul matmul --sizes 4096 --longest 20 --products-only; then
    product=$(awk '/^matmul\./ && $2 + 0 > best { best = $2 + 0; line = $0 } END { sub(/^[^ ]* */, "", line); print line }' \
        "$folder/matmul")
    kernel=$(awk '/^matmul\./ && $2 + 0 > best { best = $2 + 0; name = $1 } END { print name }' "$folder/matmul")
    row "product 4096³, share of peak" "$product, $kernel"
else
    row "product 4096³, share of peak" "$(reason matmul)"
fi

share "$LIMIT"
# The last round of lines of figures; the second one is all threads' time.
# shellcheck disable=SC2086
if part host host --rounds 3 --steps 5000 $skip; then
    host=$(awk '$1 + 0 > 0 && NF >= 11 { line = $2 " µs of all threads; finish " $7 ", submit " $8 } END { print line }' \
        "$folder/host")
    row "host's work a step, convnetjs-mnist, batch 20" "$host"
else
    row "host's work a step, convnetjs-mnist, batch 20" "$(reason host)"
fi

spent=$(($(date +%s) - begin))
command="sh benches/hardware.sh${skip:+ $skip}"
# shellcheck disable=SC2016 # Markdown's quotes.
printf '\n`%s`, %s, took %s s; images/s: medians (range) of %s rounds in turns.\n\n' "$command" "$(date -u +%Y-%m-%d)" \
    "$spent" "$ROUNDS"
printf '| | Glassnet, GPU | GPU, matrix-f16 | Glassnet, CPU | PyTorch, eager | eager, TF32 | CUDA graph | CUDA graph, TF32 |\n'
printf '|---|---|---|---|---|---|---|---|\n'
cat "$folder/table"
exit "$code"
