nfit_build.o: tests/host/nfit_build.h drivers/nvdimm/nfit.h \
 kernel/lib/types.h
drivers/nvdimm/nfit.h:
kernel/lib/types.h:
