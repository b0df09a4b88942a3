# SPDX-License-Identifier: MIT
#
# dax64, in one non-recursive Makefile. `make help` lists the targets.
#
#   V=1               show the commands
#   CROSS_COMPILE=    prefix of the tools (x86_64-linux-gnu-)
#   BUILD=            where everything that is made goes (build)
#   DEPS=no           do not install missing packages
#   DEBUG=1           a kernel that checks the order of locks; the tests run on it
#
# For run, exec and gdb:
#   SMP= MEM=         number of CPUs (1), RAM (512M)
#   IMAGE=            content of the DIMM (build/pmem.img); several: several DIMMs; none: no DIMM
#   BASE=             the DIMM's address
#   APPEND=           further kernel parameters
#   ACCEL=kvm         the host's CPU instead of the emulated one
# For exec:
#   CMD=              a command line for the guest's shell
#   PUT=              files of the host that the guest finds in /put
#   ICOUNT=1          exact instruction counting: the clock ticks once per instruction

BUILD         ?= build
CROSS_COMPILE ?= x86_64-linux-gnu-
CC            := $(CROSS_COMPILE)gcc
LD            := $(CROSS_COMPILE)ld
NM            := $(CROSS_COMPILE)nm
NASM          ?= nasm
MUSL_CC       ?= musl-gcc
BUSYBOX       ?= /bin/busybox
Q             := $(if $(V),,@)
# Progress goes to stderr: the output of `make exec` is the guest's.
say            = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@printf '  %-7s %s\n' $(1) $(patsubst $(BUILD)/%,%,$@) >&2)
goal           = $(filter $(1),$(or $(MAKECMDGOALS),all))
export BUILD

# Release and debug kernel have their own folder of objects and their own names.
DEBUG_SUFFIX  := $(if $(filter 1,$(DEBUG)),-debug)
DAX64_KERNEL  := $(BUILD)/dax64$(DEBUG_SUFFIX).elf
DAX64_ISO     := $(BUILD)/dax64$(DEBUG_SUFFIX).iso
export DAX64_KERNEL DAX64_ISO

# As many jobs as there are CPUs, unless -j says otherwise.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
.PHONY: all help clean kernel user initrd iso image deps run exec exec-run gdb bochs bochs-debug \
	check-host check test test-long fuzz bench profile conflicts lint format docs

all: kernel user initrd ## everything that a boot needs

help: ## this list
	@sed -n '3,$${/^#/!q;s/^# \{0,1\}//p;}' $(firstword $(MAKEFILE_LIST)); echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

clean: ## remove build/ except the persistent-memory images
	$(Q)find $(BUILD) -mindepth 1 ! -name 'pmem*.img' -delete 2>/dev/null || true

# ---- Packages: included files are made before anything else, so nothing is built without them -----

deps: ## install the packages that are missing (done by itself before all targets; DEPS=no: never)
	$(Q)tools/deps build lint fuzz bochs cross fuse

DEPS_GROUPS := $(if $(filter-out help clean deps,$(call goal,%)),build) $(if $(call goal,lint format fuzz),lint) \
	$(if $(call goal,fuzz),fuzz) \
	$(if $(call goal,bochs bochs-debug test-long),bochs) \
	$(if $(call goal,test test-long),cross) \
	$(if $(call goal,test test-long lint),fuse)
ifneq ($(DEPS),no)
-include $(patsubst %,$(BUILD)/deps-%.stamp,$(DEPS_GROUPS))
endif

$(BUILD)/deps-%.stamp: tools/deps
	$(Q)tools/deps $*
	$(Q)mkdir -p $(@D); touch $@

# ---- Kernel --------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
	-Wimplicit-fallthrough

# Upper 2 GiB, no red zone (interrupts use the same stack), no SSE (it holds user state), frame
# pointers for backtraces.
KCFLAGS := -std=gnu17 -ffreestanding -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-pic \
	-fno-stack-protector -fno-omit-frame-pointer -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -fcf-protection=none -O2 -g $(WARN) -I. -Ifs/ptfs_glue/home -Ikernel/x86/home -MMD -MP \
	$(if $(DEBUG_SUFFIX),-DDAX64_DEBUG)

KSRC_C   := $(wildcard kernel/*.c kernel/*/*.c mm/*.c fs/*.c fs/ptfs_glue/*.c \
	drivers/*.c drivers/*/*.c) \
	$(if $(wildcard fs/ptfs_glue/*.c),$(wildcard fs/ptfs/*.c))
KSRC_ASM := $(wildcard boot/*.asm kernel/*/*.asm)
K        := $(BUILD)/k$(DEBUG_SUFFIX)
KOBJ     := $(KSRC_ASM:%.asm=$K/%.asm.o) $(KSRC_C:%.c=$K/%.o)

kernel: $(DAX64_KERNEL) ## the kernel ELF (multiboot2 and PVH)

$K/%.o: %.c Makefile
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(KCFLAGS) -c -o $@ $<

$K/%.asm.o: %.asm Makefile
	$(call say,NASM)
	$(Q)mkdir -p $(@D)
	$(Q)$(NASM) -f elf64 -g -F dwarf \
		-MD $(@:.o=.d) -MP -o $@ $<

# Linked twice: the symbol table that backtraces use is made from the first result. It lies behind
# all code, so adding it moves no function.
KLINK = $(LD) -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T linker.ld

$(DAX64_KERNEL): $K/ksyms.asm.o $(KOBJ) linker.ld
	$(call say,LD)
	$(Q)$(KLINK) -o $@ $(KOBJ) $<

$K/pass1.elf: $(KOBJ) linker.ld
	$(call say,LD)
	$(Q)$(KLINK) -o $@ $(KOBJ)

$K/ksyms.asm: $K/pass1.elf tools/ksyms.awk
	$(Q)$(NM) -n $< | awk -f tools/ksyms.awk >$@

$K/ksyms.asm.o: $K/ksyms.asm
	$(Q)$(NASM) -f elf64 -o $@ $<

# A source that came or went changes the list of objects: link again.
$K/pass1.elf: $K/objects
$K/objects: FORCE
	$(Q)mkdir -p $(@D); echo '$(KOBJ)' | cmp -s - $@ || echo '$(KOBJ)' >$@
.PHONY: FORCE

# For the tests, which want both.
ifeq ($(DEBUG_SUFFIX),)
$(BUILD)/dax64-debug.elf: FORCE
	$(Q)+$(MAKE) --no-print-directory DEBUG=1 DEPS=no kernel
endif

# ---- User programs: static musl, the same binaries run on Linux ----------------------------------

UCFLAGS := -std=gnu17 -O2 -g -static $(WARN) -I. -MMD -MP
UPROG   := $(patsubst user/%.c,$(BUILD)/user/%,$(wildcard user/*.c))

user: $(UPROG) ## the user programs

$(BUILD)/user/%: user/%.c Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(UCFLAGS) -o $@ $<

# ---- On the host: pure modules and ptfs, for the tests (under sanitizers) and for the tools ------

# Everything that compiles outside the kernel. Programs link what they use.
HSRC  := kernel/lib/ptcursor.c kernel/lib/mca.c kernel/lib/crc32c.c kernel/lib/printf.c drivers/nvdimm/nfit.c drivers/acpi/acpi_parse.c \
	kernel/lib/avltree.c mm/vma.c mm/buddy.c mm/heap.c \
	fs/cpio.c fs/tty_ldisc.c kernel/proc/elf.c \
	$(filter-out %_test.c,$(wildcard fs/ptfs/*.c)) $(wildcard user/ptfs/*.c)
HMAIN := $(wildcard user/ptfs/mkfs.c user/ptfs/ptfs.c user/ptfs/fsck.c)
HLIB  := $(filter-out $(HMAIN),$(HSRC))
HCFLAGS := -std=gnu17 -g -pthread $(WARN) -I. -Iuser/ptfs/home -MMD -MP
SAN   := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

HTEST := $(patsubst tests/host/%.c,$(BUILD)/host/%,$(wildcard tests/host/*_test.c))

$(BUILD)/san/%.o: %.c Makefile
	$(call say,HOSTCC)
	$(Q)mkdir -p $(@D); gcc $(HCFLAGS) $(SAN) -c -o $@ $<

$(BUILD)/san/lib.a: $(HLIB:%.c=$(BUILD)/san/%.o)
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/host/%: $(BUILD)/san/tests/host/%.o $(BUILD)/san/lib.a
	$(call say,HOSTLD)
	$(Q)mkdir -p $(@D); gcc $(SAN) -pthread -o $@ $(filter %.o,$^) $(filter %.a,$^) -lcmocka

# What the adversarial TLB takes a CPU to hold.
$(BUILD)/host/adversary_test: $(patsubst %,$(BUILD)/san/tests/tlb/%.o,hold check)

# The tools are static musl programs: the same binaries run here and in the guest.
HTOOL := $(HMAIN:user/ptfs/%.c=$(BUILD)/bin/%.ptfs)
HTOOL := $(HTOOL:%/ptfs.ptfs=%/ptfs)

$(BUILD)/u/%.o: %.c Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D); $(MUSL_CC) $(HCFLAGS) -O2 -c -o $@ $<

$(BUILD)/u/lib.a: $(HLIB:%.c=$(BUILD)/u/%.o)
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/bin/%.ptfs $(BUILD)/bin/%: $(BUILD)/u/user/ptfs/%.o $(BUILD)/u/lib.a
	$(call say,ULD)
	$(Q)mkdir -p $(@D); $(MUSL_CC) -static -pthread -o $@ $^

# The same for a big-endian machine, if its compiler is there (tools/deps cross).
BIGCC   := $(shell command -v s390x-linux-gnu-gcc)
BIGTOOL := $(if $(BIGCC),$(HTOOL:$(BUILD)/bin/%=$(BUILD)/s390x/%))

$(BUILD)/s390x/o/%.o: %.c Makefile
	$(call say,S390X)
	$(Q)mkdir -p $(@D); $(BIGCC) $(HCFLAGS) -O1 -c -o $@ $<

$(BUILD)/s390x/lib.a: $(HLIB:%.c=$(BUILD)/s390x/o/%.o)
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/s390x/%.ptfs $(BUILD)/s390x/%: $(BUILD)/s390x/o/user/ptfs/%.o $(BUILD)/s390x/lib.a
	$(call say,S390X)
	$(Q)mkdir -p $(@D); $(BIGCC) -static -pthread -o $@ $^

# The mount for Linux needs libfuse (tools/deps fuse); its operations are tested without a mount.
FUSE     := $(shell pkg-config --exists fuse3 2>/dev/null && echo yes)
FUSETOOL := $(if $(FUSE),$(BUILD)/bin/ptfs-fuse)
HTEST    := $(if $(FUSE),$(HTEST),$(filter-out %/ptfs_fuse_test,$(HTEST)))

$(BUILD)/san/tools/ptfs-fuse/%.o $(BUILD)/san/tests/host/ptfs_fuse_test.o: \
	HCFLAGS += -D_FILE_OFFSET_BITS=64
$(BUILD)/host/ptfs_fuse_test: $(BUILD)/san/tools/ptfs-fuse/ops.o

$(BUILD)/bin/ptfs-fuse: $(wildcard tools/ptfs-fuse/*.[ch]) $(BUILD)/n/lib.a Makefile
	$(call say,HOSTCC)
	$(Q)mkdir -p $(@D); gcc $(HCFLAGS) -D_FILE_OFFSET_BITS=64 -O2 -o $@ \
		$(filter %.c %.a,$^) -lfuse3

$(BUILD)/n/%.o: %.c Makefile
	$(Q)mkdir -p $(@D); gcc $(HCFLAGS) -O2 -c -o $@ $<

$(BUILD)/n/lib.a: $(HLIB:%.c=$(BUILD)/n/%.o)
	$(Q)rm -f $@; ar rcs $@ $^

# A host test without sanitizers: the fuzzer's long run.
$(BUILD)/fast/%: $(BUILD)/n/tests/host/%.o $(BUILD)/n/lib.a
	$(call say,HOSTLD)
	$(Q)mkdir -p $(@D); gcc -pthread -o $@ $^

# Tests of the system calls: on Linux first, which is the oracle, then in the guest.
ABITEST := $(patsubst tests/abi/%.c,$(BUILD)/abi/%,$(wildcard tests/abi/*_test.c))

$(BUILD)/abi/%: tests/abi/%.c Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D); $(MUSL_CC) $(UCFLAGS) -o $@ $<

# What depends on a C library's own use of the calls, with the other library as well.
GLIBCTEST := $(patsubst tests/abi/%.c,$(BUILD)/abi-glibc/%,$(wildcard $(addprefix \
	tests/abi/,thread_test.c thread_life_test.c clone_test.c futex_test.c)))

$(BUILD)/abi-glibc/%: tests/abi/%.c Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D); gcc $(UCFLAGS) -pthread -o $@ $<

# Stress programs, for the guest; they run on Linux too.
STRESS := $(patsubst tests/stress/%.c,$(BUILD)/stress/%,$(wildcard tests/stress/*.c))

$(BUILD)/stress/%: tests/stress/%.c Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D); $(MUSL_CC) $(UCFLAGS) -o $@ $<

# Programs written for the header that DaxVM was published with, and others that tests run as they are.
PROGRAM := $(patsubst tests/programs/%.c,$(BUILD)/programs/%,$(wildcard tests/programs/*.c))

$(BUILD)/programs/%: tests/programs/%.c tests/programs/daxvm_header.h Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D); $(MUSL_CC) $(UCFLAGS) -o $@ $<

# ---- Initial RAM disk: busybox and our programs --------------------------------------------------

initrd: $(BUILD)/initrd.cpio

$(BUILD)/initrd.cpio: $(UPROG) $(HTOOL) $(BUSYBOX) Makefile
	$(call say,CPIO)
	$(Q)rm -rf $(BUILD)/initrd
	$(Q)mkdir -p $(addprefix $(BUILD)/initrd/,bin sbin etc run pmem)
	$(Q)cp $(BUSYBOX) $(BUILD)/initrd/bin/busybox
	$(Q)for p in $(UPROG) $(HTOOL); do cp $$p $(BUILD)/initrd/bin/; done
	$(Q)if [ -e $(BUILD)/initrd/bin/init ]; then mv $(BUILD)/initrd/bin/init $(BUILD)/initrd/sbin/; fi
	$(Q)echo 'root:x:0:0:root:/:/bin/sh' >$(BUILD)/initrd/etc/passwd
	$(Q)echo 'root:x:0:' >$(BUILD)/initrd/etc/group
	$(Q)cd $(BUILD)/initrd && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 >../initrd.cpio

# ---- Bootable ISO: GRUB, for BIOS and UEFI -------------------------------------------------------

iso: $(DAX64_ISO) ## the hybrid ISO

# Only what the ISO needs, and the partition types that GRUB for UEFI asks for.
GRUB_MODULES := multiboot2 normal iso9660 boot all_video $(addprefix part_,acorn amiga apple bsd \
	dfly dvh gpt msdos plan sun sunpc)

INITRD := $(BUILD)/initrd.cpio

$(BUILD)/%.iso: $(BUILD)/%.cfg $(DAX64_KERNEL) $(BUILD)/initrd.cpio
	$(call say,ISO)
	$(Q)rm -rf $@.d; mkdir -p $@.d/boot/grub
	$(Q)cp $(DAX64_KERNEL) $@.d/boot/dax64.elf && cp $(INITRD) $@.d/boot/initrd.cpio
	$(Q)cp $< $@.d/boot/grub/grub.cfg
	$(Q)grub-mkrescue --install-modules="$(GRUB_MODULES)" --locales= --fonts= --themes= \
		-o $@ $@.d 2>$@.log || { cat $@.log >&2; exit 1; }

# Rewritten when the kernel parameters are others than last time. Bochs has no NVDIMM.
$(DAX64_ISO:.iso=.cfg): PARAMETERS = $(APPEND)
$(BUILD)/bochs.cfg: PARAMETERS = pmem=64M@0x10000000 format $(APPEND)
$(BUILD)/bochs-ktest.cfg: PARAMETERS = pmem=64M@0x10000000 testexit ktest=*
$(BUILD)/bochs-stress.cfg: PARAMETERS = pmem=64M@0x10000000 format console=ttyS1 exec
$(BUILD)/bochs-stress.iso: INITRD = $(BUILD)/stress.cpio
$(BUILD)/bochs-stress.iso: $(BUILD)/stress.cpio

$(BUILD)/stress.cpio: $(BUILD)/initrd.cpio $(STRESS) tests/stress/bochs.sh tests/lib/cpio.py
	$(call say,CPIO)
	$(Q)PYTHONPATH=tests python3 -m lib.cpio $@ $< run/exec.sh=tests/stress/bochs.sh \
		$(foreach s,$(STRESS),put/$(notdir $s)=$s)
$(BUILD)/%.cfg: FORCE
	$(Q)mkdir -p $(@D); sed 's|@PARAMETERS@|$(PARAMETERS)|' tools/grub.cfg >$@.new; \
	if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; fi

# ---- Persistent memory: made once, kept by `make clean` ------------------------------------------

IMAGE ?= $(if $(filter user/ptfs/mkfs.c,$(HMAIN)),$(BUILD)/pmem.img,none)

image: $(BUILD)/pmem.img ## the sample image (only if there is none)

$(BUILD)/pmem.img: | $(BUILD)/bin/mkfs.ptfs $(BUILD)/dax64.elf
	$(call say,MKFS)
	$(Q)tools/sample-image $@

# ---- Running it ----------------------------------------------------------------------------------

RUN_OPTIONS = $(if $(SMP),--smp $(SMP)) $(if $(MEM),--mem $(MEM)) $(IMAGE:%=--image %) \
	$(if $(BASE),--base $(BASE)) $(if $(ACCEL),--accel $(ACCEL)) --append='$(APPEND)'
NEEDED_IMAGE = $(filter $(BUILD)/pmem.img,$(IMAGE))

run: $(DAX64_ISO) $(NEEDED_IMAGE) ## boot the ISO; the console is this terminal
	$(Q)tests/run console $(RUN_OPTIONS)

# GNU make answers 2 to any failure. What the user asks for is the guest's status: a function loaded
# into make ends it with that.
ifneq ($(call goal,exec),)
-load $(BUILD)/make_exit.so
endif

$(BUILD)/make_exit.so: tools/make_exit.c
	$(Q)mkdir -p $(@D); $(CC) -shared -fPIC -O2 $(WARN) -o $@ $<

exec: exec-run ## run CMD='...' in the guest's shell: its output, its status
	$(Q)$(exit-with $(file <$(BUILD)/exec.status))

exec-run: export DAX64_CMD = $(value CMD)
exec-run: $(DAX64_KERNEL) $(BUILD)/initrd.cpio $(NEEDED_IMAGE)
	$(Q)tests/run exec $(RUN_OPTIONS) $(if $(ICOUNT),--icount) $(PUT:%=--put %); \
	echo $$? >$(BUILD)/exec.status

gdb: export DAX64_CMD = $(value CMD)
gdb: $(DAX64_KERNEL) $(BUILD)/initrd.cpio $(NEEDED_IMAGE) ## GDB on a stopped guest that will run CMD; GDBFLAGS=
	$(Q)gdb -q -x tools/gdb/dax64.gdb -ex 'target remote | tests/run gdb $(RUN_OPTIONS)' \
		$(value GDBFLAGS) $(DAX64_KERNEL)

bochs: $(BUILD)/bochs.iso ## boot in Bochs, with persistent memory carved out of RAM
	$(Q)tools/bochs $(if $(SMP),--smp $(SMP)) $(if $(UNTIL),--until "$(UNTIL)") $<

bochs-debug: $(BUILD)/bochs.iso ## the same in Bochs' debugger, with symbols
	$(Q)tools/bochs --debug $<

# The crash explorer: fast, and without inlining, so that each flush and fence has an address.
CRASH       := $(BUILD)/crash/explore
CRASH_SRC   := $(wildcard tests/crash/*.c) $(filter fs/ptfs/% kernel/lib/%,$(HLIB)) \
	$(wildcard user/ptfs/host_*.c)
CRASH_MAIN  := $(BUILD)/crash/o/tests/crash/explore.o $(BUILD)/crash/o/tests/crash/replay.o
CRASH_FLAGS := -O1 -fno-inline -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-pie

$(BUILD)/crash/o/%.o: %.c Makefile
	$(call say,CRASHCC)
	$(Q)mkdir -p $(@D); gcc $(HCFLAGS) $(CRASH_FLAGS) -c -o $@ $<

$(CRASH) $(BUILD)/crash/replay: $(BUILD)/crash/%: $(BUILD)/crash/o/tests/crash/%.o \
		$(filter-out $(CRASH_MAIN),$(CRASH_SRC:%.c=$(BUILD)/crash/o/%.o))
	$(call say,HOSTLD)
	$(Q)gcc -no-pie -pthread -o $@ $^

# ---- Tests: all of them speak TAP and are run by prove -------------------------------------------

crash: $(CRASH) ## the crash explorer: all single calls and pairs, ten minutes
	$(Q)$(CRASH) --full

# Traces all stores of a guest into its DIMM.
$(BUILD)/pmtrace.so: tools/pmtrace.c tools/qemu_plugin.h
	$(Q)mkdir -p $(@D); $(CC) -std=gnu17 -shared -fPIC -O2 $(WARN) -I. -o $@ $<

# Records which cache lines each CPU uses, and what the guest does meanwhile.
CONFLICTS := $(BUILD)/conflicts.so $(BUILD)/conflicts/calls

$(BUILD)/conflicts.so: tests/conflicts/record.c tests/conflicts/mark.h tools/qemu_plugin.h Makefile
	$(call say,HOSTCC)
	$(Q)mkdir -p $(@D); gcc -std=gnu17 -shared -fPIC -O2 $(WARN) -I. -o $@ $<

$(BUILD)/conflicts/calls: tests/conflicts/calls.c tests/conflicts/mark.h user/daxvm.h Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D); $(MUSL_CC) -std=gnu17 -O2 -g -static -pthread $(WARN) -I. -o $@ $<

# The worst TLB that the architecture allows.
$(BUILD)/adversary.so: $(wildcard tests/tlb/*.[ch]) kernel/lib/tlbmark.h tools/qemu_plugin.h \
		Makefile
	$(call say,HOSTCC)
	$(Q)mkdir -p $(@D); gcc -std=gnu17 -shared -fPIC -fvisibility=hidden -O2 $(WARN) -I. \
		-o $@ $(filter %.c,$^)

# With a tenth of the fuzzer's executions.
check-host: $(HTEST) ## host tests only
	$(Q)PTFS_FUZZ=$${PTFS_FUZZ:-20000} tests/prove $(HTEST)

test: $(BIGTOOL) $(FUSETOOL)

# Machines that boot by PVH run the debug kernel, those that boot the ISO run the release kernel. The
# variable is set in the recipe: set for the target it would hold for the making of the ISO, too.
PROVE := DAX64_KERNEL=$(BUILD)/dax64-debug.elf tests/prove

test: $(HTEST) $(ABITEST) $(GLIBCTEST) $(STRESS) $(DAX64_ISO) $(BUILD)/dax64-debug.elf $(HTOOL) $(BIGTOOL) \
	$(CRASH) $(CONFLICTS) $(BUILD)/adversary.so $(BUILD)/pmtrace.so $(PROGRAM) ## all suites
	$(Q)$(PROVE) $(HTEST) $(ABITEST) $(GLIBCTEST) \
		$(wildcard tests/crash/*.t tests/model/*.t tests/system/*.t tests/stress/*.t)

test-long: test $(BUILD)/fast/ptfs_fuzz_test $(BUILD)/crash/replay $(addprefix $(BUILD)/,bochs.iso bochs-ktest.iso bochs-stress.iso) ## and those that take minutes
	$(Q)$(PROVE) $(wildcard tests/long/*.t)

# What reads bytes that others made, under libFuzzer. New inputs are kept in build/fuzz/; what is
# worth keeping goes to tests/fuzz/corpus/.
FUZZ         := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))
FUZZ_SECONDS ?= 60

FUZZFLAGS    := -std=gnu17 -g -O1 -pthread -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all -I. -Iuser/ptfs/home

# The inputs of ptfs are changed by records, so nothing uses the operands of its comparisons, and
# telling them takes half of the time.
$(filter %/ptfs_fuzz.o,$(FUZZ:$(BUILD)/fuzz/%=$(BUILD)/fuzz/o/tests/fuzz/%.o)) \
	$(patsubst %.c,$(BUILD)/fuzz/o/%.o,$(filter fs/ptfs/% user/ptfs/%,$(HLIB))): \
	FUZZFLAGS += -O2 -fno-sanitize-coverage=trace-cmp

$(BUILD)/fuzz/o/%.o: %.c Makefile
	$(call say,FUZZCC)
	$(Q)mkdir -p $(@D); clang $(FUZZFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/lib.a: $(HLIB:%.c=$(BUILD)/fuzz/o/%.o)
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/fuzz/%_fuzz: $(BUILD)/fuzz/o/tests/fuzz/%_fuzz.o $(BUILD)/fuzz/lib.a
	$(Q)clang $(FUZZFLAGS) -fsanitize=fuzzer -o $@ $^

fuzz: $(FUZZ) ## fuzz each decoder for FUZZ_SECONDS (60)
	$(Q)set -e; for f in $(FUZZ); do name=$$(basename $$f _fuzz); mkdir -p $$f.corpus; \
		echo "fuzzing $$name"; $$f -max_total_time=$(FUZZ_SECONDS) -verbosity=0 \
		-print_final_stats=1 -artifact_prefix=$$f. $$f.corpus tests/fuzz/corpus/$$name; done

bench: $(DAX64_ISO) $(DAX64_KERNEL) $(BUILD)/programs/scan $(BUILD)/profile-count.so $(BUILD)/profile-cpus.so $(NEEDED_IMAGE) ## instructions per operation
	$(Q)tools/bench
	$(Q)tools/bench-mount
	$(Q)tools/bench-threads

profile: export DAX64_CMD = $(value CMD)
profile: $(DAX64_KERNEL) $(BUILD)/initrd.cpio $(BUILD)/profile-count.so $(NEEDED_IMAGE) ## instructions of CMD by kernel function; OPS= divides, LESS= is taken off
	$(Q)tools/profile/profile $(if $(OPS),--ops $(OPS)) $(if $(TOP),--top $(TOP)) \
		$(if $(LESS),--less "$(LESS)") $(IMAGE:%=--image %)

conflicts: $(DAX64_KERNEL) $(BUILD)/initrd.cpio $(HTOOL) $(CONFLICTS) ## cache lines that calls of two CPUs share; PAIRS='A A+B' and SMP= choose
	$(Q)tools/conflicts $(if $(SMP),--cpus $(SMP)) $(PAIRS)

$(BUILD)/profile-%.so: tools/profile/%.c tools/qemu_plugin.h
	$(call say,HOSTCC)
	$(Q)mkdir -p $(@D); gcc -std=gnu17 -shared -fPIC -O2 $(WARN) -I. -o $@ $<

# ---- Style: what a machine can judge -------------------------------------------------------------

SOURCES := $(shell git ls-files -co --exclude-standard '*.c' '*.h')
HOSTED  := $(filter user/% tests/% tools/%,$(SOURCES))
KERNEL  := $(filter-out $(HOSTED),$(SOURCES))
KCLANG  := --target=x86_64-linux-gnu -fsyntax-only -Wthread-safety -Wno-unused-function \
	$(filter-out -fcf-protection=none -MMD -MP -O2 -g,$(KCFLAGS))
ALONE    = echo '\#include "$<"' | gcc -fsyntax-only -x c $(filter-out -MMD -MP,$(1)) -
LINTED  := $(SOURCES:%=%.format) $(patsubst %,%.tidy,$(filter %.c,$(KERNEL))) \
	$(patsubst %,%.alone,$(filter %.h,$(SOURCES)))

lint: $(LINTED:%=$(BUILD)/lint/%) ## house style: format, includes, sizes, lock analysis, clang-tidy
	$(Q)tests/lint/check
	$(Q)tools/abi-table --check docs/abi.md
	$(Q)tests/lib/ways.py --check docs/mistakes.md

$(BUILD)/lint/%.format: % .clang-format
	$(Q)mkdir -p $(@D); clang-format --dry-run -Werror $< && touch $@

$(BUILD)/lint/%.alone: %
	$(Q)mkdir -p $(@D); $(call ALONE,$(if $(filter $<,$(HOSTED)),$(HCFLAGS),$(KCFLAGS))) && touch $@

# Locks, by clang's analysis, and suspicious code, by clang-tidy.
$(BUILD)/lint/%.tidy: % .clang-tidy $(filter %.h,$(KERNEL))
	$(call say,LINT)
	$(Q)mkdir -p $(@D); clang $(KCLANG) $<
	$(Q)clang-tidy --quiet $< -- $(KCLANG) 2>/dev/null && touch $@

format: ## apply the house style's layout
	$(Q)clang-format -i $(SOURCES)
	$(Q)tools/wrap-comments $(SOURCES) $(KSRC_ASM)

docs: ## tables of docs/: system calls, known mistakes
	$(Q)tools/abi-table docs/abi.md
	$(Q)tests/lib/ways.py --write docs/mistakes.md

-include $(KOBJ:.o=.d) $(UPROG:=.d) $(ABITEST:=.d) $(GLIBCTEST:=.d) $(STRESS:=.d) $(HSRC:%.c=$(BUILD)/san/%.d) \
	$(HSRC:%.c=$(BUILD)/u/%.d) $(CRASH_SRC:%.c=$(BUILD)/crash/o/%.d) $(HTEST:$(BUILD)/%=$(BUILD)/san/tests/%.d) \
	$(HSRC:%.c=$(BUILD)/n/%.d) $(HLIB:%.c=$(BUILD)/fuzz/o/%.d) $(FUZZ:$(BUILD)/fuzz/%=$(BUILD)/fuzz/o/tests/fuzz/%.d) \
	$(BUILD)/n/tests/host/ptfs_fuzz_test.d
