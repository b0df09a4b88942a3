# SPDX-License-Identifier: MIT
#
# What the machine in Bochs runs (tests/long/bochs.t). Times are the guest's.
mkdir /pmem/vm /pmem/eph
/put/vmstress -s 1 -t 60 /pmem/vm && echo "vmstress survived"
/put/ephstress -s 1 -t 60 -j 3 -m 3 /pmem/eph && echo "ephstress survived"
echo "stress: done"
