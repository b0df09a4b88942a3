host_home.o: user/ptfs/host_home.h fs/ptfs/ptfs.h fs/ptfs/format.h \
 kernel/lib/pte.h kernel/lib/types.h fs/ptfs/platform.h \
 kernel/lib/crc32c.h kernel/lib/errno.h kernel/lib/list.h \
 kernel/lib/ptcursor.h user/ptfs/home/ptfs_home.h
fs/ptfs/ptfs.h:
fs/ptfs/format.h:
kernel/lib/pte.h:
kernel/lib/types.h:
fs/ptfs/platform.h:
kernel/lib/crc32c.h:
kernel/lib/errno.h:
kernel/lib/list.h:
kernel/lib/ptcursor.h:
user/ptfs/home/ptfs_home.h:
