# SPDX-License-Identifier: MIT
#
# What the machine in Bochs runs (tests/long/bochs.t). Times are the guest's.
grep ' /pmem ptfs ' /proc/mounts || exit 1
mkdir /pmem/vm /pmem/eph
/put/vmstress -s 1 -t 60 /pmem/vm && echo "vmstress survived"
/put/ephstress -s 1 -t 60 -j 3 -m 3 /pmem/eph && echo "ephstress survived"
grep -E '^(attach|arena)_' /proc/daxvm/stat
echo "stress: done"
