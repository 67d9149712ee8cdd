#!/bin/sh
# Makes .venv in this checkout and installs reid into it, with all extras: footage, training, export, search.
# Names missing system packages before pip starts, so that nobody has to read a compiler's log.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
missing=""
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "reid needs Python 3.11 or newer; PYTHON=/path/to/python3.11 sh tools/install.sh names one" >&2
    exit 1
}
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
"$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || missing="$missing python3-dev"
command -v g++ >/dev/null || missing="$missing g++"
# OpenCV's wheel takes these from the system.
"$PYTHON" -c 'import ctypes; ctypes.CDLL("libGL.so.1")' 2>/dev/null || missing="$missing libgl1"
"$PYTHON" -c 'import ctypes; ctypes.CDLL("libgthread-2.0.so.0")' 2>/dev/null || missing="$missing libglib2.0-0"
if [ -n "$missing" ]; then
    echo "reid needs system packages that are missing (hnswlib is built from source): apt-get install -y$missing" >&2
    exit 1
fi

"$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check "${1:-.[all]}"
