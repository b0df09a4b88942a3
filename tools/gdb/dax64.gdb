# What `make gdb` loads: settings and the commands of dax64.py.
set pagination off
set confirm off
set disassembly-flavor intel
source tools/gdb/dax64.py
