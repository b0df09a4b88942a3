#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Mutated ptfs images, a million from a fixed seed (PTFS_FUZZ=N: N of them). `make fuzz` lets
# libFuzzer look for others.
export PTFS_FUZZ="${PTFS_FUZZ:-1000000}"
exec "${BUILD:-build}/host/ptfs_fuzz_test"
