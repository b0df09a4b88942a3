#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each flush and fence of ptfs, switched off in turn: some workload of the crash explorer must fail
# (docs/crash-testing.md, section 3).
exec "${BUILD:-build}"/crash/explore --mutate
