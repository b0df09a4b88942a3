// SPDX-License-Identifier: MIT
//
// What: a QEMU plugin (TCG, API version 1) that records what each CPU reads and writes in kernel
// mode while the program of the guest is in a marked section (mark.h).
//
//      -plugin build/conflicts.so,out=FILE,stubs=A,entry=A,switch=A[,apart=A]...
//
// A: addresses (hexadecimal) of trap_stubs, syscall_entry and sched_switch_stacks, and of functions
// whose accesses are to be counted apart, with all that they call. FILE gets one line per CPU,
// section, kind, instruction and place:
//
//      section cpu kind pc vaddr host bytes reads writes caller...
//
// kind is c (the call), i (an interrupt that came in between), a (a function of `apart`) or o
// (another thread, while ours slept). Memory is told apart by the host's address, so that two
// addresses of one page are the same line. Last comes "end" and the number of accesses that lie on
// two pages, of which only the first is known. Callers are call instructions, the innermost first.
//
// Not here: which lines two CPUs have in common (conflicts). Nor what no instruction does: page
// walks, which read tables (the kernel sets A and D before, so they do not write).
//
// How it knows the kind. A region (an interrupt, a function) begins with the execution of its first
// instruction and ends when RET or IRETQ loads the word that the CALL or the interrupt left on the
// stack: whatever is called in between, tail calls too. A thread that sleeps resumes when
// sched_switch_stacks() pops what it pushed.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conflicts/mark.h"
#include "tools/qemu_plugin.h"

// ---- State --------------------------------------------------------------------------------------

#define CPUS        64u
#define PLACES      (1u << 18) // distinct accesses of one CPU in one section, at most
#define APART_MAX   16u
#define STUB_BYTES  16u // of each vector in trap_stubs (kernel/x86/entry.asm)
#define EXCEPTIONS  32u
#define VECTORS     256u
#define KERNEL_HALF (1ull << 63)
#define PAGE        4096u
#define CALLERS     3u   // that are kept of an access
#define DEPTH       128u // of calls

enum kind { CALL = 'c', INTERRUPT = 'i', APART = 'a', OTHER = 'o' };

// What an instruction means to us; how it ends its function or trap.
enum role { PLAIN, CALLS, RETURN, SAVE_STACK, LOAD_STACK };

struct insn {
	uint64_t pc;
	enum role role;
};

struct place {
	uint64_t pc, host, vaddr;
	uint64_t callers[CALLERS];
	uint32_t reads, writes; // both 0: free
	uint16_t bytes;
	char kind;
};

// Used by the CPU's own thread alone.
struct cpu {
	unsigned section;
	uint64_t mark_pc; // of the store that follows a mark
	// The region that was entered first and is not left yet. `end`: where its return address
	// lies; 0: the next store tells.
	enum kind kind;
	uint64_t end;
	bool inside;
	uint64_t last_store; // address of the newest store in kernel mode
	// Our thread sleeps; its registers begin at `resume`.
	bool away;
	uint64_t resume;
	// Calls that have not returned: where the return address lies, who called.
	struct call {
		uint64_t slot, pc;
	} calls[DEPTH];
	unsigned depth;
	uint64_t across; // accesses on two pages
	struct place *places;
	uint32_t *used, nr_used;
};

static struct cpu cpus[CPUS];
static uint64_t stubs, entry, switch_stacks, apart[APART_MAX];
static unsigned nr_apart;
static FILE *out;

static struct cpu *cpu_of(unsigned index)
{
	struct cpu *c = &cpus[index % CPUS];

	if (c->places)
		return c;
	c->places = calloc(PLACES, sizeof(*c->places));
	c->used = calloc(PLACES, sizeof(*c->used));
	if (!c->places || !c->used)
		abort();
	return c;
}

// ---- Sections -----------------------------------------------------------------------------------

// Whole lines, so that CPUs which write at the same time do not mix.
static void section_write(unsigned index, struct cpu *c)
{
	flockfile(out);
	for (uint32_t i = 0; i < c->nr_used; i++) {
		struct place *p = &c->places[c->used[i]];

		fprintf(out, "%u %u %c %" PRIx64 " %" PRIx64 " %" PRIx64 " %u %u %u", c->section,
			index, p->kind, p->pc, p->vaddr, p->host, p->bytes, p->reads, p->writes);
		for (unsigned k = 0; k < CALLERS && p->callers[k]; k++)
			fprintf(out, " %" PRIx64, p->callers[k]);
		fputc('\n', out);
		*p = (struct place){ 0 };
	}
	funlockfile(out);
	c->nr_used = 0;
}

static void section_begin(unsigned index, struct cpu *c, unsigned number)
{
	if (c->section)
		section_write(index, c);
	c->section = number;
	c->inside = c->away = false; // user code runs: no region is open
	c->depth = 0;
}

static bool is_same(const struct place *a, const struct place *b)
{
	return a->pc == b->pc && a->host == b->host && a->kind == b->kind && a->bytes == b->bytes &&
	       !memcmp(a->callers, b->callers, sizeof(a->callers));
}

static struct place *place_find(struct cpu *c, const struct place *wanted)
{
	uint64_t hash = wanted->host ^ wanted->pc << 20 ^ (uint64_t)wanted->kind << 50;

	for (unsigned k = 0; k < CALLERS; k++)
		hash = hash * 31 + wanted->callers[k];
	hash *= 0x9e3779b97f4a7c15ull;
	for (uint32_t i = (uint32_t)(hash >> 40) % PLACES;; i = (i + 1) % PLACES) {
		struct place *p = &c->places[i];

		if (is_same(p, wanted))
			return p;
		if (p->pc)
			continue;
		if (c->nr_used == PLACES / 2) {
			fprintf(stderr, "conflicts: too many accesses in section %u\n", c->section);
			abort();
		}
		c->used[c->nr_used++] = i;
		*p = *wanted;
		return p;
	}
}

static void note(struct cpu *c, const struct insn *in, uint64_t vaddr, meminfo_t info)
{
	struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
	struct place wanted = { .pc = in->pc, .vaddr = vaddr }, *p;

	if (!hw || hw->is_io)
		return;
	wanted.host = hw->host;
	wanted.kind = (char)(c->away ? OTHER : c->inside ? c->kind : CALL);
	wanted.bytes = (uint16_t)(1u << qemu_plugin_mem_size_shift(info));
	for (unsigned k = 0; !c->away && k < CALLERS && k < c->depth; k++)
		wanted.callers[k] = c->calls[c->depth - 1 - k].pc;
	if (vaddr % PAGE + wanted.bytes > PAGE)
		c->across++;
	p = place_find(c, &wanted);
	if (qemu_plugin_mem_is_store(info))
		p->writes++;
	else
		p->reads++;
}

// ---- What the guest executes --------------------------------------------------------------------

// Keeps track of who called whom. The stack grows down, so what lies below a slot is over.
static void follow_calls(struct cpu *c, const struct insn *in, bool store, uint64_t vaddr)
{
	if (c->away || (in->role != CALLS && in->role != RETURN))
		return;
	while (c->depth && c->calls[c->depth - 1].slot <= vaddr)
		c->depth--;
	if (in->role == CALLS && store && c->depth < DEPTH)
		c->calls[c->depth++] = (struct call){ vaddr, in->pc };
}

// By instructions in kernel mode; called when the access has been done.
static void on_access(unsigned index, meminfo_t info, uint64_t vaddr, void *data)
{
	const struct insn *in = data;
	struct cpu *c = cpu_of(index);
	bool store = qemu_plugin_mem_is_store(info);

	if (!c->section)
		return;
	if (in->role == LOAD_STACK && c->away && vaddr == c->resume)
		c->away = false;
	// The first push of a trap's stub lies below the return address.
	if (store && c->inside && !c->end)
		c->end = vaddr + 8;
	note(c, in, vaddr, info);
	follow_calls(c, in, store, vaddr);
	if (in->role == SAVE_STACK && store && !c->away) {
		c->away = true;
		c->resume = c->last_store; // the last push before
	}
	if (store)
		c->last_store = vaddr;
	if (in->role == RETURN && c->inside && !c->away && vaddr == c->end)
		c->inside = false;
}

static void on_user_store(unsigned index, meminfo_t info, uint64_t vaddr, void *data)
{
	const struct insn *in = data;
	struct cpu *c = cpu_of(index);
	struct qemu_plugin_hwaddr *hw;

	if (in->pc != c->mark_pc)
		return;
	hw = qemu_plugin_get_hwaddr(info, vaddr);
	c->mark_pc = 0;
	if (hw && !hw->is_io)
		section_begin(index, c, *(const uint32_t *)(uintptr_t)hw->host);
}

static void on_mark(unsigned index, void *data)
{
	const struct insn *in = data;

	cpu_of(index)->mark_pc = in->pc + sizeof(MARK_BYTES) - 1;
}

static void enter(unsigned index, enum kind kind, bool called)
{
	struct cpu *c = cpu_of(index);

	if (!c->section || c->inside || c->away)
		return;
	c->inside = true;
	c->kind = kind;
	c->end = called ? c->last_store : 0;
}

static void on_interrupt(unsigned index, void *data)
{
	(void)data;
	enter(index, INTERRUPT, false);
}

static void on_apart(unsigned index, void *data)
{
	(void)data;
	enter(index, APART, true);
}

// From user mode: whatever was open was not left as we think.
static void on_call(unsigned index, void *data)
{
	struct cpu *c = cpu_of(index);

	(void)data;
	if (c->away)
		return;
	c->inside = false;
	c->depth = 0;
}

// ---- Translation --------------------------------------------------------------------------------

static bool is_bytes(struct qemu_plugin_insn *insn, const char *bytes, size_t n)
{
	return qemu_plugin_insn_size(insn) == n && !memcmp(qemu_plugin_insn_data(insn), bytes, n);
}

static enum role role_of(struct qemu_plugin_insn *insn, uint64_t pc)
{
	const uint8_t *bytes = qemu_plugin_insn_data(insn);

	// CALL rel32; CALL r/m64 without a prefix, or with REX.
	if (bytes[0] == 0xe8 || (bytes[0] == 0xff && (bytes[1] >> 3 & 7) == 2) ||
	    (bytes[0] == 0x41 && bytes[1] == 0xff && (bytes[2] >> 3 & 7) == 2))
		return CALLS;
	if (is_bytes(insn, "\xc3", 1) || is_bytes(insn, "\x48\xcf", 2)) // RET, IRETQ
		return RETURN;
	if (pc - switch_stacks >= 32)
		return PLAIN;
	if (is_bytes(insn, "\x48\x89\x27", 3)) // mov [rdi], rsp
		return SAVE_STACK;
	return is_bytes(insn, "\x41\x5f", 2) ? LOAD_STACK : PLAIN; // pop r15
}

static bool is_interrupt_stub(uint64_t pc)
{
	uint64_t in = pc - stubs;

	return in % STUB_BYTES == 0 && in / STUB_BYTES >= EXCEPTIONS && in / STUB_BYTES < VECTORS;
}

static void kernel_translated(struct qemu_plugin_insn *insn, struct insn *in)
{
	if (is_interrupt_stub(in->pc))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_interrupt, NO_REGISTERS, in);
	if (in->pc == entry)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_call, NO_REGISTERS, in);
	for (unsigned i = 0; i < nr_apart; i++)
		if (in->pc == apart[i])
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_apart, NO_REGISTERS, in);
	in->role = role_of(insn, in->pc);
	qemu_plugin_register_vcpu_mem_cb(insn, on_access, NO_REGISTERS, MEMORY_BOTH, in);
}

static void translated(plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct insn *in = calloc(1, sizeof(*in)); // lives as long as QEMU

		if (!in)
			abort();
		in->pc = qemu_plugin_insn_vaddr(insn);
		if (in->pc >= KERNEL_HALF)
			kernel_translated(insn, in);
		else if (is_bytes(insn, MARK_BYTES, sizeof(MARK_BYTES) - 1))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGISTERS, in);
		else
			qemu_plugin_register_vcpu_mem_cb(insn, on_user_store, NO_REGISTERS,
							 MEMORY_BOTH, in);
	}
}

static void ended(plugin_id_t id, void *arg)
{
	uint64_t across = 0;

	(void)id;
	(void)arg;
	for (unsigned i = 0; i < CPUS; i++)
		across += cpus[i].across;
	fprintf(out, "end %" PRIu64 "\n", across);
	fclose(out);
}

static bool argument(const char *text, const char *name, uint64_t *value)
{
	size_t n = strlen(name);

	if (strncmp(text, name, n) != 0)
		return false;
	*value = strtoull(text + n, NULL, 16);
	return true;
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		uint64_t address;

		if (argument(argv[i], "apart=", &address) && nr_apart < APART_MAX)
			apart[nr_apart++] = address;
		else if (strncmp(argv[i], "out=", 4) == 0)
			out = fopen(argv[i] + 4, "w");
		else if (!argument(argv[i], "stubs=", &stubs) &&
			 !argument(argv[i], "entry=", &entry))
			argument(argv[i], "switch=", &switch_stacks);
	}
	if (!out || !stubs || !entry || !switch_stacks) {
		fprintf(stderr, "conflicts: out=, stubs=, entry= and switch= are needed\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
