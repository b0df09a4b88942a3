ptfs_home.o: user/ptfs/home/ptfs_home.h kernel/lib/types.h
kernel/lib/types.h:
