#!/bin/sh
# Runs everything that needs a GPU, in under ten minutes: the tests marked gpu, merging, training.
#
#     OUT=results sh tools/gpu_session.sh
#     PICTURES=labeled WEIGHTS=resnet50.pth OUT=results sh tools/gpu_session.sh      dbc_cameras with ResNet-50 on CUHK03
#     TEACHER=0286.onnx PICTURES=... WEIGHTS=... OUT=results sh tools/gpu_session.sh     the same, taught by that model
#     PACK=pack OUT=results sh tools/gpu_session.sh   the same, from the small files that tools/pack_session.py makes
#     PACK=pack SPEEDUPS=1 OUT=results sh tools/gpu_session.sh     the study of speedups instead, on the pack's 100 people
#     TINY=1 ... sh tools/gpu_session.sh              any of these in miniature on a CPU, to test this script
#
# OUT gets a log of each step, merging.json and .png, and training.json; cuhk03.json; or speedups.json and .png. Runs go
# into OUT/../runs, where another call finds finished runs. PYTHON names the interpreter. WHEELS is a folder of wheels
# that are installed first, without dependencies, for a machine with torch but no network. A step that fails or takes too
# long is named, and the next step begins; the status is then 1.
set -u
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
OUT=${OUT:?name a folder for the results, e.g. OUT=results}
export PYTHONUNBUFFERED=1 PYTHONPATH=.
mkdir -p "$OUT" || exit 1
if [ -n "${PACK:-}" ]; then
    PICTURES=$PACK WEIGHTS=${WEIGHTS:-$PACK/weights.safetensors}
fi
failed=0

# step NAME SECONDS COMMAND...
step() {
    name=$1 limit=$2
    shift 2
    echo "== $name: $*"
    timeout --kill-after=5 "$limit" "$@" > "$OUT/$name.log" 2>&1
    status=$?
    tail -n 12 "$OUT/$name.log"
    case $status in
        0) ;;
        124 | 137) echo "== $name: stopped after $limit s" && failed=1 ;;
        *) echo "== $name: failed with status $status" && failed=1 ;;
    esac
}

if [ -n "${WHEELS:-}" ]; then
    step install 40 "$PYTHON" -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl
fi
if [ -n "${SPEEDUPS:-}" ]; then
    {
        printf '[network]\nweights = "%s"\nstride_in_1x1 = true\n' "${WEIGHTS:?give PACK too}"
        [ -z "${TINY:-}" ] || printf 'height = 64\nwidth = 32\n'
        printf '[training]\nsamples = "images"\n'
        [ -z "${TINY:-}" ] || printf 'first_epochs = 1\nlater_epochs = 1\n[merging]\nfraction = 0.4\n'
    } > "$OUT/speedups.toml"
    step speedups 570 "$PYTHON" tools/study_speedups.py "$PACK/val" --recipe "$OUT/speedups.toml" \
        --runs "$OUT/../runs/speedups" --png "$OUT/speedups.png" --json "$OUT/speedups.json"
elif [ -n "${PICTURES:-}" ]; then
    row=${TEACHER:+taught} row=${row:-dbc_cameras}
    small=${TINY:+--people 30 --size 64 32 --rounds 2 2 --precision float32}
    # shellcheck disable=SC2086  # several words, or none
    step cuhk03 570 "$PYTHON" tools/study_cuhk03.py --pictures "$PICTURES" --weights "$WEIGHTS" --runs "$OUT/../runs" \
        --json "$OUT/cuhk03.json" --he-2015 ${TEACHER:+--teacher "$TEACHER"} \
        --rows "$row, ResNet-50" $small
elif [ -n "${TINY:-}" ]; then
    step tests 60 "$PYTHON" -m pytest -q -m gpu tests/method tests/training
    step merging 120 "$PYTHON" tools/bench_merging.py --sizes 500 1000 --dimension 64 --paths dense bounded \
        --data clustered --out "$OUT/merging.json"
    step training 170 "$PYTHON" tools/bench_training.py --device cpu --images 128 --height 32 --width 32 \
        --backbone resnet18 --rows plain dbc --seconds 5 --out "$OUT/training.json"  # most CPUs emulate bfloat16
else
    step tests 80 "$PYTHON" -m pytest -q -m gpu tests
    step training 320 "$PYTHON" tools/bench_training.py --device cuda --seconds 55 --timeout 130 \
        --out "$OUT/training.json"
    step merging 130 "$PYTHON" tools/bench_merging.py --device cuda --tf32 --sizes 16522 100000 1000000 \
        --dimension 2048 --data clustered --paths dense bounded --timeout 90 --out "$OUT/merging.json"
fi
exit $failed
