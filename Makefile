# SPDX-License-Identifier: MIT
#
# dax64, in one non-recursive Makefile. `make help` lists the targets.
#
#   V=1               show the commands
#   CROSS_COMPILE=    prefix of the tools (x86_64-linux-gnu-)
#   BUILD=            where everything that is made goes (build)

BUILD         ?= build
CROSS_COMPILE ?= x86_64-linux-gnu-
CC            := $(CROSS_COMPILE)gcc
LD            := $(CROSS_COMPILE)ld
NM            := $(CROSS_COMPILE)nm
NASM          ?= nasm
MUSL_CC       ?= musl-gcc
BUSYBOX       ?= $(firstword $(wildcard /usr/bin/busybox /bin/busybox))
Q             := $(if $(V),,@)
say            = $(if $(V),,@printf '  %-7s %s\n' $(1) $(patsubst $(BUILD)/%,%,$@))

.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
.PHONY: all help clean kernel user initrd

all: kernel user initrd ## everything that a boot needs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

clean: ## remove build/ except the persistent-memory images
	$(Q)find $(BUILD) -mindepth 1 ! -name 'pmem*.img' -delete 2>/dev/null || true

# ---- Kernel --------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
	-Wimplicit-fallthrough

# Upper 2 GiB, no red zone (interrupts use the same stack), no SSE (it holds user state), frame
# pointers for backtraces.
KCFLAGS := -std=gnu17 -ffreestanding -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-pic \
	-fno-stack-protector -fno-omit-frame-pointer -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -fcf-protection=none -O2 -g $(WARN) -I. -MMD -MP

KSRC_C   := $(wildcard kernel/*.c kernel/*/*.c mm/*.c fs/*.c fs/ptfs/*.c fs/ptfs_glue/*.c \
	drivers/*.c drivers/*/*.c)
KSRC_ASM := $(wildcard boot/*.asm kernel/*/*.asm)
KOBJ     := $(KSRC_ASM:%.asm=$(BUILD)/k/%.asm.o) $(KSRC_C:%.c=$(BUILD)/k/%.o)

kernel: $(BUILD)/dax64.elf ## the kernel ELF (multiboot2 and PVH)

$(BUILD)/k/%.o: %.c Makefile
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(KCFLAGS) -c -o $@ $<

$(BUILD)/k/%.asm.o: %.asm Makefile
	$(call say,NASM)
	$(Q)mkdir -p $(@D)
	$(Q)$(NASM) -f elf64 -g -F dwarf \
		-MD $(@:.o=.d) -MP -o $@ $<

# Linked twice: the symbol table that backtraces use is made from the first result. It lies behind
# all code, so adding it moves no function.
KLINK = $(LD) -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T linker.ld

$(BUILD)/dax64.elf: $(BUILD)/ksyms.asm.o $(KOBJ) linker.ld
	$(call say,LD)
	$(Q)$(KLINK) -o $@ $(KOBJ) $<

$(BUILD)/dax64.pass1.elf: $(KOBJ) linker.ld
	$(call say,LD)
	$(Q)$(KLINK) -o $@ $(KOBJ)

$(BUILD)/ksyms.asm: $(BUILD)/dax64.pass1.elf tools/ksyms.awk
	$(Q)$(NM) -n $< | awk -f tools/ksyms.awk >$@

$(BUILD)/ksyms.asm.o: $(BUILD)/ksyms.asm
	$(Q)$(NASM) -f elf64 -o $@ $<

# A source that came or went changes the list of objects: link again.
$(BUILD)/dax64.pass1.elf: $(BUILD)/k/objects
$(BUILD)/k/objects: FORCE
	$(Q)mkdir -p $(@D); echo '$(KOBJ)' | cmp -s - $@ || echo '$(KOBJ)' >$@
FORCE:

# ---- User programs: static musl, the same binaries run on Linux ----------------------------------

UCFLAGS := -std=gnu17 -O2 -g -static $(WARN) -I. -MMD -MP
UPROG   := $(patsubst user/%.c,$(BUILD)/user/%,$(wildcard user/*.c))

user: $(UPROG) ## the user programs

$(BUILD)/user/%: user/%.c Makefile
	$(call say,UCC)
	$(Q)mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(UCFLAGS) -o $@ $<

# ---- Initial RAM disk: busybox and our programs --------------------------------------------------

initrd: $(BUILD)/initrd.cpio

$(BUILD)/initrd.cpio: $(UPROG) $(BUSYBOX) Makefile
	$(call say,CPIO)
	$(Q)rm -rf $(BUILD)/initrd
	$(Q)mkdir -p $(addprefix $(BUILD)/initrd/,bin sbin dev proc tmp etc run pmem)
	$(Q)cp $(BUSYBOX) $(BUILD)/initrd/bin/busybox
	$(Q)for p in $(UPROG); do cp $$p $(BUILD)/initrd/bin/; done
	$(Q)if [ -e $(BUILD)/initrd/bin/init ]; then mv $(BUILD)/initrd/bin/init $(BUILD)/initrd/sbin/; fi
	$(Q)echo 'root:x:0:0:root:/:/bin/sh' >$(BUILD)/initrd/etc/passwd
	$(Q)echo 'root:x:0:' >$(BUILD)/initrd/etc/group
	$(Q)cd $(BUILD)/initrd && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 >../initrd.cpio

-include $(KOBJ:.o=.d) $(UPROG:=.d)
