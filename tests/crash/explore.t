#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Crash states of ptfs, the part that takes half a minute (docs/crash-testing.md).
exec "${BUILD:-build}"/crash/explore --quick
