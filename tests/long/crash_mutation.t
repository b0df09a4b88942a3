#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each flush and fence of ptfs is switched off in turn; the explorer must fail for each.
exec "${BUILD:-build}"/crash/explore --mutate
