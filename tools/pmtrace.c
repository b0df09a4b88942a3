// SPDX-License-Identifier: MIT
//
// QEMU plugin (TCG, API version 1): every store of the guest, kernel or user, into one NVDIMM,
// every write-back of one of its lines and every fence, in program order, with the instruction that
// did it.
//
//      -singlestep -plugin build/pmtrace.so,image=FILE,out=TRACE
//
// FILE is what backs the DIMM; its mapping inside QEMU tells which stores go there. The trace is a
// sequence of struct record, little-endian. tests/long/pmtrace.t replays it.
//
// A write-back touches no memory in TCG, and version 1 of the interface shows no registers. So its
// address is computed from the instruction's bytes and from registers that QEMU's own functions
// give; they are right where an instruction begins a translation block, which -singlestep makes
// true of each.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/qemu_plugin.h"

enum kind { STORE, STORE_NT, FLUSH, FENCE };

struct record {
	uint64_t pc, offset;
	uint8_t value[16];
	uint16_t bytes, kind;
	uint32_t cpu;
};

// An instruction that matters, as it was translated.
struct insn {
	uint64_t pc;
	enum kind kind;
	int base, index; // registers, -1: none
	unsigned scale;
	int64_t disp;
};

// What the QEMU program exports, though not to plugins.
struct byte_array { // GByteArray
	uint8_t *data;
	unsigned len;
};
static struct {
	void *(*get_cpu)(int nr);
	int (*read_register)(void *cpu, struct byte_array *to, int nr);
	uint64_t (*physical)(void *cpu, uint64_t page);
	struct byte_array *(*array_new)(void);
	struct byte_array *(*array_set_size)(struct byte_array *a, unsigned n);
} qemu;

static struct {
	const char *image;
	FILE *out;
	uint8_t *from, *to;
	uint64_t base; // guest-physical address of the DIMM, once it is known
	struct byte_array *reg;
	pthread_mutex_t lock;
} trace = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void mapping_find(void)
{
	char *path = realpath(trace.image, NULL);
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[4096];

	while (path && maps && fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		int at = 0;

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &from, &to, &at) < 2 || !at ||
		    strcmp(line + at, path) != 0)
			continue;
		if (!trace.from)
			trace.from = (uint8_t *)from;
		trace.to = (uint8_t *)to;
	}
	if (maps)
		fclose(maps);
	free(path);
}

static void put(const struct record *r)
{
	pthread_mutex_lock(&trace.lock);
	fwrite(r, sizeof(*r), 1, trace.out);
	pthread_mutex_unlock(&trace.lock);
}

static uint64_t physical(unsigned cpu, uint64_t va)
{
	uint64_t page = qemu.physical(qemu.get_cpu((int)cpu), va & ~0xfffull);

	return page == ~0ull ? page : page | (va & 0xfff);
}

// Called when the store has been done. MTTCG: stores of two CPUs to one word may be recorded in
// either order, so runs that are replayed use one CPU.
static void on_store(unsigned cpu, meminfo_t info, uint64_t vaddr, void *data)
{
	struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
	const struct insn *in = data;
	struct record r = { .pc = in->pc, .cpu = cpu, .kind = (uint16_t)in->kind };
	uint8_t *host;

	if (!hw || hw->is_io || !qemu_plugin_mem_is_store(info))
		return;
	if (!trace.from)
		mapping_find();
	host = (uint8_t *)(uintptr_t)hw->host;
	if (host < trace.from || host >= trace.to)
		return;
	r.offset = (uint64_t)(host - trace.from);
	if (!trace.base)
		trace.base = physical(cpu, vaddr) - r.offset;
	r.bytes = (uint16_t)(1u << qemu_plugin_mem_size_shift(info));
	memcpy(r.value, host, r.bytes);
	put(&r);
}

// Register numbers of QEMU's gdb stub against those of instructions.
static uint64_t register_read(unsigned cpu, int nr)
{
	static const uint8_t low[8] = { 0, 2, 3, 1, 7, 6, 4, 5 };
	uint64_t value = 0;

	if (nr < 0)
		return 0;
	qemu.array_set_size(trace.reg, 0);
	qemu.read_register(qemu.get_cpu((int)cpu), trace.reg, nr < 8 ? low[nr] : nr);
	memcpy(&value, trace.reg->data, sizeof(value));
	return value;
}

static void on_flush(unsigned cpu, void *data)
{
	const struct insn *in = data;
	struct record r = { .pc = in->pc, .cpu = cpu, .kind = FLUSH, .bytes = 64 };
	uint64_t va = register_read(cpu, in->base) + register_read(cpu, in->index) * in->scale +
		      (uint64_t)in->disp;
	uint64_t pa = physical(cpu, va);

	// What was never stored to need not be written back.
	if (!trace.base || pa < trace.base || pa - trace.base >= (uint64_t)(trace.to - trace.from))
		return;
	r.offset = (pa - trace.base) & ~63ull;
	put(&r);
}

static void on_fence(unsigned cpu, void *data)
{
	const struct insn *in = data;
	struct record r = { .pc = in->pc, .cpu = cpu, .kind = FENCE };

	if (trace.base)
		put(&r);
}

// ---- Instructions (SDM 2, chapter 2 and the pages of each) ----

struct bytes {
	const uint8_t *p;
	size_t n, at;
	bool operand16, repeated;
	uint8_t rex;
};

static int next(struct bytes *b)
{
	return b->at < b->n ? b->p[b->at++] : -1;
}

// Prefixes, up to the first byte of the opcode.
static int opcode(struct bytes *b)
{
	for (;;) {
		int c = next(b);

		switch (c) {
		case 0x66: b->operand16 = true; continue;
		case 0xf2:
		case 0xf3: b->repeated = true; continue;
		case 0xf0:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x26:
		case 0x64:
		case 0x65: continue;
		default: break;
		}
		if (c < 0x40 || c > 0x4f)
			return c;
		b->rex = (uint8_t)c;
	}
}

// The memory operand behind ModRM byte `modrm`.
static void operand(struct bytes *b, int modrm, struct insn *in)
{
	int mod = modrm >> 6, rm = modrm & 7, sib = rm == 4 ? next(b) : 0;
	int base = rm == 4 ? sib & 7 : rm;
	bool no_base = mod == 0 && base == 5;
	int32_t wide = 0;

	in->base = no_base ? -1 : base | (b->rex & 1) << 3;
	in->index = -1;
	in->scale = 1;
	if (rm == 4 && ((sib >> 3 & 7) != 4 || (b->rex & 2))) {
		in->index = (sib >> 3 & 7) | (b->rex & 2) << 2;
		in->scale = 1u << (sib >> 6);
	}
	if (mod == 1)
		wide = (int8_t)next(b);
	else if ((mod == 2 || no_base) && b->at + 4 <= b->n)
		memcpy(&wide, b->p + b->at, 4);
	in->disp = wide;
	if (no_base && rm == 5) // relative to the next instruction
		in->disp += (int64_t)(in->pc + b->n);
}

// 0F AE: CLFLUSH /7, CLFLUSHOPT 66 /7, CLWB 66 /6; SFENCE F8, MFENCE F0.
static bool is_write_back(struct bytes *b, struct insn *in)
{
	int modrm = next(b), reg = modrm >> 3 & 7;

	if (modrm >= 0xc0) {
		in->kind = FENCE;
		return !b->operand16 && !b->repeated && (reg == 7 || reg == 6);
	}
	in->kind = FLUSH;
	operand(b, modrm, in);
	return !b->repeated && (reg == 7 || (reg == 6 && b->operand16));
}

// Flush or fence; or a store, non-temporal or not.
static bool decode(struct insn *in, const uint8_t *p, size_t n)
{
	struct bytes b = { .p = p, .n = n };
	int op = opcode(&b);

	in->kind = STORE;
	if (op == 0xc5 || op == 0xc4) { // VEX: VMOVNTDQ, VMOVNTPS
		b.at += op == 0xc5 ? 1 : 2;
		op = next(&b);
	} else if (op == 0x0f) {
		op = next(&b);
		if (op == 0xae)
			return is_write_back(&b, in);
		if (op == 0xc3) // MOVNTI
			in->kind = STORE_NT;
	} else {
		return false;
	}
	if (op == 0xe7 || op == 0x2b) // MOVNTDQ, MOVNTPS
		in->kind = STORE_NT;
	return false;
}

static void on_translation(plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct insn *in = calloc(1, sizeof(*in)); // lives as long as QEMU

		if (!in)
			abort();
		in->pc = qemu_plugin_insn_vaddr(insn);
		if (decode(in, qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn,
							       in->kind == FLUSH ? on_flush
										 : on_fence,
							       READ_REGISTERS, in);
		else
			qemu_plugin_register_vcpu_mem_cb(insn, on_store, NO_REGISTERS,
							 MEMORY_WRITES, in);
	}
}

static void on_exit_of_qemu(plugin_id_t id, void *userdata)
{
	(void)id;
	(void)userdata;
	fclose(trace.out);
}

static void *symbol(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);

	if (!p)
		fprintf(stderr, "pmtrace: this QEMU has no %s\n", name);
	return p;
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "image=", 6))
			trace.image = strdup(argv[i] + 6);
		else if (!strncmp(argv[i], "out=", 4))
			trace.out = fopen(argv[i] + 4, "wb");
	}
	if (!trace.image || !trace.out) {
		fprintf(stderr, "pmtrace: image= and out= are needed\n");
		return -1;
	}
	qemu.get_cpu = symbol("qemu_get_cpu");
	qemu.read_register = symbol("x86_cpu_gdb_read_register");
	qemu.physical = symbol("cpu_get_phys_page_debug");
	qemu.array_new = symbol("g_byte_array_new");
	qemu.array_set_size = symbol("g_byte_array_set_size");
	if (!qemu.get_cpu || !qemu.read_register || !qemu.physical || !qemu.array_new ||
	    !qemu.array_set_size)
		return -1;
	trace.reg = qemu.array_new();
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
