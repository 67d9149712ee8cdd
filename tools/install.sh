#!/bin/sh
# Makes .venv in this checkout and installs reid into it.
#
#   sh tools/install.sh                        all of it: footage, training, export, search
#   sh tools/install.sh '.[footage]'           these extras
#   sh tools/install.sh --edge                 enroll, search and embed without a GPU: no torch, no CUDA, no libGL
#   sh tools/install.sh --edge '.[footage]'    the same with extras, e.g. for reid watch
#
# PYTHON names another Python, VENV another folder than .venv.
# Names missing system packages before pip starts, so that nobody has to read a compiler's log.
set -eu
cd "$(dirname "$0")/.."

edge=""
if [ "${1:-}" = --edge ]; then
    edge=yes
    shift
fi
case "${1:-.}" in -*) echo "unknown option $1: sh tools/install.sh [--edge] ['.[EXTRA,...]']" >&2 && exit 2 ;; esac
if [ $# -gt 1 ]; then
    echo "$# arguments: expected one, as in '.[footage,serve]': sh tools/install.sh [--edge] ['.[EXTRA,...]']" >&2
    exit 2
fi
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
missing=""
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "reid needs Python 3.11 or newer; PYTHON=/path/to/python3.11 sh tools/install.sh names one" >&2
    exit 1
}
case "$(basename "$PYTHON")" in # Debian's packages of a Python that is named are named after it
python3.[0-9]*) python=$(basename "$PYTHON") ;;
*) python=python3 ;;
esac
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing $python-venv"
"$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || missing="$missing $python-dev"
command -v g++ >/dev/null || missing="$missing g++"
# OpenCV's wheel for Linux takes these from the system; the one for the edge does not need them.
if [ -z "$edge" ] && [ "$(uname -s)" = Linux ]; then
    "$PYTHON" -c 'import ctypes; ctypes.CDLL("libGL.so.1")' 2>/dev/null || missing="$missing libgl1"
    "$PYTHON" -c 'import ctypes; ctypes.CDLL("libgthread-2.0.so.0")' 2>/dev/null || missing="$missing libglib2.0-0"
fi
if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null; then
        install="apt-get install -y$missing"
    else
        install="${missing# } (their names in Debian; install what this system has for them)"
    fi
    echo "reid needs system packages that are missing (hnswlib is built from source): $install" >&2
    exit 1
fi

rm -rf build # setuptools would install modules from there that are deleted here
if [ -z "$edge" ]; then
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "${1:-.[all]}"
    exit
fi
# The two builds of onnxruntime, and those of OpenCV, overwrite each other. Where a large one is, the small one must not
# be put beside it.
for held in "$VENV"/lib/python*/site-packages/onnxruntime_gpu-*.dist-info \
    "$VENV"/lib/python*/site-packages/opencv_python-*.dist-info; do
    case "$held" in
    *"*"* | *-9999+*) ;;
    *)
        echo "$VENV has another install of reid ($(basename "$held" .dist-info)), which cannot be made smaller:" \
            "remove it (rm -r $VENV), or name another folder: VENV=edge sh tools/install.sh --edge" >&2
        exit 1
        ;;
    esac
done
"$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
    ./tools/edge/onnxruntime-gpu ./tools/edge/opencv-python "${1:-.}"
"$VENV/bin/reid" doctor
