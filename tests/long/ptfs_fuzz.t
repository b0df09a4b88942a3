#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Ten million executions of the ptfs fuzzer from a fixed seed (tests/host/ptfs_fuzz_test.c): the
# first million under ASan and UBSan, the others at full speed, where a broken invariant, a wrong
# result of a repair, a crash and a hang are seen all the same. `make fuzz` lets libFuzzer look for
# others.
build="${BUILD:-build}"
echo 1..2
PTFS_FUZZ=1000000 "$build/host/ptfs_fuzz_test" | sed '/^1[.]/d'
PTFS_FUZZ_FROM=1000000 PTFS_FUZZ=10000000 "$build/fast/ptfs_fuzz_test" |
	sed '/^1[.]/d; s/^\(.*ok\) 1 /\1 2 /'
