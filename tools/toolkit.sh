#!/bin/sh
# Puts what the build and its tests need and the machine lacks into .toolkit/ in the checkout:
# nvcc, which compiles the kernels; libclang, which writes the Rust side of their arguments;
# cuobjdump with nvdisasm, by which the tests read machine code; numpy, for the Python example. They
# come as Python wheels, about 155 MB to fetch and 430 MB unpacked; no GPU, driver or root is needed.
#
# What the machine has is left alone and nothing is fetched for it. Links mark what is complete:
# .toolkit/cuda, .toolkit/libclang, .toolkit/disassembler and .toolkit/numpy. Each is made last, so a run that was
# cut off is repeated by the next, which finds in pip's cache what had arrived. nvcc must be had,
# the others need not: without libclang the generated Rust is held against its header by a hash,
# and without a disassembler the tests of machine code have only what ptxas said of it.

set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make toolkit: $1" >&2
    exit 1
}

# The order is that of build.rs.
have_nvcc() {
    [ -n "${NVCC:-}" ] && return
    for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
        [ -n "$home" ] && [ -f "$home/bin/nvcc" ] && return
    done
    command -v nvcc >/dev/null || [ -f .toolkit/cuda/bin/nvcc ]
}

have_libclang() {
    [ -e "${LIBCLANG_PATH:-}" ] && return
    for library in .toolkit/libclang/libclang.so \
        /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* \
        /usr/lib/*-linux-gnu/libclang.so* /usr/lib/*-linux-gnu/libclang-[0-9]*.so* \
        /usr/lib64/libclang.so* /usr/lib/libclang.so* /usr/local/lib/libclang.so*; do
        [ -f "$library" ] && return
    done
    return 1
}

# cuobjdump calls nvdisasm for the instructions.
have_disassembler() {
    for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda .toolkit/disassembler; do
        [ -n "$home" ] && [ -f "$home/bin/cuobjdump" ] && [ -f "$home/bin/nvdisasm" ] && return
    done
    command -v cuobjdump >/dev/null && command -v nvdisasm >/dev/null
}

have_numpy() {
    PYTHONPATH=.toolkit/numpy python3 -c 'import numpy' 2>/dev/null
}

# nvcc runs the host's C++ compiler over every file, even one that has no host code.
check_host_compiler() {
    echo '#include <cstdlib>' | "${NVCC_CCBIN:-gcc}" -x c++ -fsyntax-only - 2>/dev/null ||
        fail "nvcc needs a C++ compiler: install g++ (Debian: apt-get install g++)"
}

# A virtual environment, or a plain folder where Python has no ensurepip (Debian without
# python3-venv) but there is a pip. Sets `site` to where packages land and `pip` to the command
# that puts them there. Each link has a plain folder of its own: pip replaces the whole of a package
# `nvidia` that it finds in such a folder.
prepare_pip() { # WHAT LINK
    mkdir -p .toolkit
    command -v python3 >/dev/null ||
        fail "python3 is needed to fetch $1: install it, or install $1 yourself"
    if [ ! -d .toolkit/site ] && { [ -x .toolkit/venv/bin/pip ] ||
        python3 -m venv --clear .toolkit/venv >/dev/null 2>&1; }; then
        pip=".toolkit/venv/bin/python3 -m pip install"
        site=$(.toolkit/venv/bin/python3 -c \
            'import sysconfig; print(sysconfig.get_path("purelib"))')
    elif python3 -m pip --version >/dev/null 2>&1; then
        rm -rf .toolkit/venv
        pip="python3 -m pip install --upgrade --target .toolkit/site/$2"
        site=$PWD/.toolkit/site/$2
        mkdir -p "$site"
    else
        fail "python3 has neither venv nor pip (Debian: apt-get install python3-venv)"
    fi
}

# install WHAT LINK FOLDER PACKAGE...: fetches the packages, then makes .toolkit/LINK point at
# FOLDER of them. The link is relative: the checkout may be moved.
install() {
    what=$1 link=$2 folder=$3
    shift 3
    prepare_pip "$what" "$link"
    echo "make toolkit: fetching $what"
    # $pip is a command and its arguments.
    # shellcheck disable=SC2086
    $pip --no-compile --disable-pip-version-check --retries 2 "$@" >.toolkit/pip.log 2>&1 ||
        fail "pip could not fetch $what, see .toolkit/pip.log; without a network, install it \
yourself or build with --no-default-features"
    [ -d "$site/$folder" ] || fail "the packages of $what hold no $folder"
    ln -sfn "${site#"$PWD"/.toolkit/}/$folder" ".toolkit/$link"
}

if ! have_nvcc; then
    check_host_compiler
    install nvcc cuda nvidia/cu13 'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' \
        'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*'
fi
# Another release than nvcc's: there are no wheels of 13.0, and a newer disassembler reads the
# machine code of an older compiler.
have_disassembler || (install 'cuobjdump and nvdisasm' disassembler nvidia/cu13 \
    'nvidia-cuda-cuobjdump==13.2.*' 'nvidia-cuda-nvdisasm==13.2.*') ||
    echo "make toolkit: going on without cuobjdump" >&2
have_libclang || (install libclang libclang clang/native libclang) ||
    echo "make toolkit: going on without libclang" >&2
have_numpy || (install numpy numpy . numpy) ||
    echo "make toolkit: going on without numpy" >&2
