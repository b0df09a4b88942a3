// SPDX-License-Identifier: MIT
//
// What: a QEMU plugin (TCG, API version 1) that is the worst TLB the architecture allows
// (docs/adversarial-tlb.md). This file sees what the guest does; hold.c keeps what its CPUs could
// hold.
//
//      -plugin build/adversary.so,out=FILE[,first=on]
//
// FILE gets a line for each thing that the kernel declares free for another use, or forgotten,
// while a CPU could still hold a way to it, and at the end one of counts; with `first` the first
// alarm ends QEMU. Addresses are hexadecimal:
//
//      held KIND cpu address bytes va by cleared way...      by, cleared: instructions
//      end marks ways tables flushes pages checks lenient alarms
//
// Seen are: stores in kernel mode; MOV to CR3, MOV to CR4, INVLPG; the kernel's marks
// (kernel/lib/tlbmark.h). The instructions that flush end a translation block, so their effect and
// the registers are looked at where the next one begins.
//
// Invariants: I1 and I2 of hold.c: hold_stored() is called after the store and before the CPU's
// next instruction, the others after the flush and before it.
// Locking: `seen` of a CPU is its thread's own.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/lib/tlbmark.h"
#include "tests/tlb/hold.h"
#include "tools/qemu_plugin.h"

// ---- What the QEMU program exports, though not to plugins ---------------------------------------

struct byte_array { // GByteArray
	uint8_t *data;
	unsigned len;
};
static struct {
	void *(*get_cpu)(int nr);
	int (*read_register)(void *cpu, struct byte_array *to, int nr);
	struct byte_array *(*array_new)(void);
	struct byte_array *(*array_set_size)(struct byte_array *a, unsigned n);
	void *(*map)(uint64_t pa, uint64_t *len, bool is_write);
	void (*unmap)(void *buffer, uint64_t len, bool is_write, uint64_t access_len);
} qemu;

// ---- What the guest executes --------------------------------------------------------------------

#define KERNEL_HALF (1ull << 63)
#define PAGE        4096ull
#define CR4_FLUSHES 0x1200b0ull // PSE, PAE, PGE, PCIDE, SMEP: a change flushes (SDM 3A, 4.10.4.1)

enum { CR3 = 29, CR4 = 30 }; // numbers of QEMU's gdb stub

// Lives as long as QEMU. The operand is that of INVLPG.
struct insn {
	uint64_t pc;
	int base, index; // registers, -1: none
	unsigned scale;
	int64_t disp;
};

static struct seen {
	enum { NOTHING, WROTE_CR3, WROTE_CR4, INVALIDATED } pending;
	const struct insn *did;
	uint64_t cr4;
	struct byte_array *reg;
} seen[HOLD_CPUS];

static const uint64_t *page_of(uint64_t pa)
{
	uint64_t len = PAGE;
	void *host = qemu.map(pa, &len, false);

	if (host)
		qemu.unmap(host, len, false, 0); // memory stays where it is
	return host;
}

// By instructions in kernel mode; called when the store has been done.
static void on_store(unsigned index, meminfo_t info, uint64_t vaddr, void *data)
{
	struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
	const struct insn *in = data;

	(void)index;
	if (hw && !hw->is_io && hold_is_table(hw->host))
		hold_stored(hw->host, 1u << qemu_plugin_mem_size_shift(info), in->pc);
}

static void on_mark(unsigned index, meminfo_t info, uint64_t vaddr, void *data)
{
	struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
	const struct insn *in = data;
	struct tlb_mark mark;

	(void)index;
	if (!hw || hw->is_io)
		return;
	// The store was that of the last word; aligned as it is, the record lies on one page.
	memcpy(&mark, (const void *)(hw->host - offsetof(struct tlb_mark, kind)), sizeof(mark));
	switch (mark.kind) {
	case TLB_MARK_MEMORY: hold_check_memory(mark.what, mark.n, in->pc); break;
	case TLB_MARK_ENTRIES: hold_check_entries(mark.what, mark.n, in->pc); break;
	case TLB_MARK_BATCH: hold_batch(mark.what, mark.n); break;
	case TLB_MARK_FLUSHED: hold_check_flushed(mark.what, mark.n, mark.end, in->pc); break;
	case TLB_MARK_UNMAPPED: hold_check_unmapped(mark.what, mark.n, mark.end, in->pc); break;
	}
}

// Right where an instruction begins a translation block, and only there.
static uint64_t register_read(unsigned index, int nr)
{
	struct seen *s = &seen[index];
	uint64_t value = 0;

	if (!s->reg)
		s->reg = qemu.array_new();
	qemu.array_set_size(s->reg, 0);
	qemu.read_register(qemu.get_cpu((int)index), s->reg, nr);
	memcpy(&value, s->reg->data, sizeof(value));
	return value;
}

// Register numbers of QEMU's gdb stub against those of instructions.
static uint64_t operand_part(unsigned index, int nr)
{
	static const uint8_t low[8] = { 0, 2, 3, 1, 7, 6, 4, 5 };

	return nr < 0 ? 0 : register_read(index, nr < 8 ? low[nr] : nr);
}

static void invalidated(unsigned index, const struct insn *in)
{
	hold_invalidated(index, operand_part(index, in->base) +
					operand_part(index, in->index) * in->scale +
					(uint64_t)in->disp);
}

static void wrote_cr4(unsigned index)
{
	uint64_t cr4 = register_read(index, CR4);

	if ((cr4 ^ seen[index].cr4) & CR4_FLUSHES)
		hold_flushed(index);
	seen[index].cr4 = cr4;
}

static void on_block(unsigned index, void *data)
{
	struct seen *s = &seen[index];

	(void)data;
	switch (s->pending) {
	case NOTHING: return;
	case WROTE_CR3: hold_root(index, register_read(index, CR3)); break;
	case WROTE_CR4: wrote_cr4(index); break;
	case INVALIDATED: invalidated(index, s->did); break;
	}
	s->pending = NOTHING;
}

static void on_write_cr3(unsigned index, void *data)
{
	(void)data;
	seen[index].pending = WROTE_CR3;
}

static void on_write_cr4(unsigned index, void *data)
{
	(void)data;
	seen[index].pending = WROTE_CR4;
}

static void on_invlpg(unsigned index, void *data)
{
	seen[index].did = data;
	seen[index].pending = INVALIDATED;
}

// ---- Translation (SDM 2, chapter 2 and the pages of MOV, INVLPG) --------------------------------

// The memory operand of `n` bytes that begin with ModRM. False: a register.
static bool operand(struct insn *in, const uint8_t *b, size_t n, uint8_t rex)
{
	unsigned mod = b[0] >> 6, rm = b[0] & 7, at = 1;
	int32_t disp = 0;

	in->base = in->index = -1;
	if (mod == 3)
		return false;
	if (rm == 4) {
		unsigned sib = b[at++];

		rm = sib & 7;
		in->index = (int)(sib >> 3 & 7) | (rex & 2) << 2;
		in->scale = 1u << (sib >> 6);
		if (in->index == 4)
			in->index = -1;
	}
	if (mod == 0 && rm == 5) { // absolute behind SIB, else from the next instruction on
		memcpy(&disp, b + at, sizeof(disp));
		in->disp = disp;
		if ((b[0] & 7) != 4)
			in->disp += (int64_t)(in->pc + (rex ? 3 : 2) + n);
		return true;
	}
	in->base = (int)rm | (rex & 1) << 3;
	if (mod == 1)
		in->disp = (int8_t)b[at];
	if (mod == 2) {
		memcpy(&disp, b + at, sizeof(disp));
		in->disp = disp;
	}
	return true;
}

static void flush_translated(struct qemu_plugin_insn *insn, struct insn *in)
{
	const uint8_t *b = qemu_plugin_insn_data(insn);
	size_t n = qemu_plugin_insn_size(insn);
	uint8_t rex = 0;

	if (n && b[0] >> 4 == 4) {
		rex = b[0];
		b++, n--;
	}
	if (n < 3 || b[0] != 0x0f)
		return;
	if (b[1] == 0x22 && !(rex & 4) && (b[2] >> 3 & 7) == 3)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_write_cr3, NO_REGISTERS, in);
	else if (b[1] == 0x22 && !(rex & 4) && (b[2] >> 3 & 7) == 4)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_write_cr4, NO_REGISTERS, in);
	else if (b[1] == 0x01 && (b[2] >> 3 & 7) == 7 && operand(in, b + 2, n - 2, rex))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_invlpg, NO_REGISTERS, in);
}

static bool is_mark(struct qemu_plugin_insn *insn)
{
	size_t n = sizeof(TLB_MARK_BYTES) - 1;

	return qemu_plugin_insn_size(insn) == n &&
	       !memcmp(qemu_plugin_insn_data(insn), TLB_MARK_BYTES, n);
}

// Programs neither flush nor store to tables.
static void translated(plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t pc = qemu_plugin_insn_vaddr(insn);
		struct insn *in;

		if (pc < KERNEL_HALF)
			return;
		if (i == 0)
			qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, READ_REGISTERS, NULL);
		in = calloc(1, sizeof(*in));
		if (!in)
			abort();
		in->pc = pc;
		qemu_plugin_register_vcpu_mem_cb(insn, is_mark(insn) ? on_mark : on_store,
						 NO_REGISTERS, MEMORY_WRITES, in);
		flush_translated(insn, in);
	}
}

static void ended(plugin_id_t id, void *arg)
{
	(void)id;
	(void)arg;
	hold_end();
}

static void *symbol(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);

	if (!p) {
		fprintf(stderr, "adversary: this QEMU has no %s\n", name);
		exit(1);
	}
	return p;
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv)
{
	bool first = false;
	FILE *out = NULL;

	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		first |= !strcmp(argv[i], "first=on");
	}
	if (!out) {
		fprintf(stderr, "adversary: out= is needed\n");
		return -1;
	}
	qemu.get_cpu = symbol("qemu_get_cpu");
	qemu.read_register = symbol("x86_cpu_gdb_read_register");
	qemu.array_new = symbol("g_byte_array_new");
	qemu.array_set_size = symbol("g_byte_array_set_size");
	qemu.map = symbol("cpu_physical_memory_map");
	qemu.unmap = symbol("cpu_physical_memory_unmap");
	hold_init(page_of, out, first);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
