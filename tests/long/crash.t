#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Crash states of ptfs: all pairs of calls, with more states at each crash point.
exec "${BUILD:-build}"/crash/explore --long
