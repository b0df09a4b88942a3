// SPDX-License-Identifier: MIT
//
// What: a QEMU plugin that counts the instructions of a range of addresses by the CPU that executes
// them, `from` to `end` (hexadecimal arguments). At the end it writes one number a CPU to the file
// of its argument `out`. Not here: counts by place (count.c).
//
// The declarations of QEMU's plugin interface stand here because Debian's package of QEMU comes
// without the header.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/qemu_plugin.h"

#define CPUS 64

// Each is written by its CPU's thread alone.
static struct {
	uint64_t instructions;
	char other_lines[56];
} cpu[CPUS];
static uint64_t from, end;
static char out[4096];

static void executed(unsigned index, void *instructions)
{
	cpu[index % CPUS].instructions += (uintptr_t)instructions;
}

static void translated(plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);

	(void)id;
	if (address >= from && address < end)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGISTERS,
						     (void *)qemu_plugin_tb_n_insns(tb));
}

static void ended(plugin_id_t id, void *arg)
{
	FILE *file = fopen(out, "w");

	(void)id;
	(void)arg;
	if (!file) {
		perror(out);
		return;
	}
	for (size_t i = 0; i < CPUS; i++)
		if (cpu[i].instructions)
			fprintf(file, "%" PRIu64 "\n", cpu[i].instructions);
	fclose(file);
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "out=", 4) == 0)
			snprintf(out, sizeof(out), "%s", argv[i] + 4);
		if (strncmp(argv[i], "from=", 5) == 0)
			from = strtoull(argv[i] + 5, NULL, 16);
		if (strncmp(argv[i], "end=", 4) == 0)
			end = strtoull(argv[i] + 4, NULL, 16);
	}
	if (!out[0] || from >= end)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
