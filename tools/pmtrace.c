// SPDX-License-Identifier: MIT
//
// QEMU plugin (TCG, API version 1): every store of the guest, kernel or user, into one NVDIMM, in
// program order, with the instruction that made it.
//
//      -plugin build/pmtrace.so,image=FILE,out=TRACE
//
// FILE is what backs the DIMM; its mapping inside QEMU tells which stores go there. The trace is a
// sequence of struct record, little-endian. tests/long/pmtrace.t replays it.
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What QEMU's qemu-plugin.h declares, which Debian does not ship.
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info qemu_info_t;
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
enum { NO_REGISTERS = 0, MEMORY_WRITES = 2 };

// struct qemu_plugin_hwaddr of QEMU 7.2: the interface gives no host address.
struct qemu_plugin_hwaddr {
	bool is_io, is_store;
	union {
		struct {
			void *section;
			uint64_t offset;
		} io;
		struct {
			uint8_t *host;
		} ram;
	} v;
};

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*fn)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*fn)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
				      int flags, int rw, void *userdata);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*fn)(qemu_plugin_id_t, void *),
				    void *userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t vaddr);
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

extern int qemu_plugin_version;
int qemu_plugin_version = 1;

struct record {
	uint64_t pc, offset;
	uint8_t value[16];
	uint32_t bytes, cpu;
};

static struct {
	const char *image;
	FILE *out;
	uint8_t *from, *to;
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

// Called when the store has been done. MTTCG: stores of two CPUs to one word may be recorded in
// either order, so runs that are replayed use one CPU.
static void on_store(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *pc)
{
	struct qemu_plugin_hwaddr *hw = qemu_plugin_get_hwaddr(info, vaddr);
	struct record r = { .pc = (uintptr_t)pc, .cpu = cpu };
	uint8_t *host;

	if (!hw || hw->is_io || !qemu_plugin_mem_is_store(info))
		return;
	if (!trace.from)
		mapping_find();
	host = hw->v.ram.host;
	if (host < trace.from || host >= trace.to)
		return;
	r.offset = (uint64_t)(host - trace.from);
	r.bytes = 1u << qemu_plugin_mem_size_shift(info);
	memcpy(r.value, host, r.bytes);
	pthread_mutex_lock(&trace.lock);
	fwrite(&r, sizeof(r), 1, trace.out);
	pthread_mutex_unlock(&trace.lock);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		qemu_plugin_register_vcpu_mem_cb(insn, on_store, NO_REGISTERS, MEMORY_WRITES,
						 (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
	}
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *userdata)
{
	(void)id;
	(void)userdata;
	fclose(trace.out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
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
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
