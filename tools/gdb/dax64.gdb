# What `make gdb` loads: settings and the commands of dax64.py.
set pagination off
set confirm off
# A busy host may need longer than the usual two seconds to start the machine.
set remotetimeout 60
set disassembly-flavor intel
source tools/gdb/dax64.py
