#!/usr/bin/env bash
# run.sh - compiles the core for 64-bit ARM and runs its tests there, by an emulator. Called by "make check-aarch64".
#
#   test/aarch64/run.sh [SUITE...]        SUITE: unit (unless said otherwise) or crash; as of test/run.sh
#
# What this shows: that the core compiles without a warning, that its kernels of NEON agree with the scalar ones (test_vec,
# test_quant and others compare them), and that what it writes is the same to the byte. What it cannot show: speed, and races
# that only a processor with weaker ordering than this one's meets.
#
# Only for root on Debian, and no part of "make check": the compiler, the emulator and the libraries of the other processor
# are in a chroot (test/lib/chroot.sh). Environment: TESTS, JOBS as of test/run.sh.

set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
. test/lib/chroot.sh

[ $# -gt 0 ] || set -- unit
use_chroot bookworm
copy_tree || fail "the tree could not be copied"
inside sh -c 'dpkg --add-architecture arm64 && { command -v qemu-aarch64 >/dev/null || apt-get update -q; } &&
    apt-get install -qy --no-install-recommends make gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
    libcmocka-dev:arm64 libzstd-dev:arm64 liblz4-dev:arm64' >"$ROOT.aarch64.log" 2>&1 ||
    { tail -n 20 "$ROOT.aarch64.log"; fail "packages are missing in the chroot"; }
inside env CC=aarch64-linux-gnu-gcc EMULATOR=qemu-aarch64 BUILD=/src/build-aarch64 PROGRAM_SECONDS="${PROGRAM_SECONDS:-3600}" \
    TESTS="${TESTS:-}" JOBS="${JOBS:-}" bash /src/iqdb/test/run.sh "$@"
