// SPDX-License-Identifier: MIT
//
// What: a QEMU plugin that counts how often each translated block runs. At the end it writes one
// line for each block, address, number of instructions, executions, to the file of its argument
// `out`. Not here: from addresses to symbols (tools/profile/profile).
//
// The few declarations of QEMU's plugin interface (docs/devel/tcg-plugins, version 1) that it needs
// stand here: Debian's package of QEMU comes without the header.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/qemu_plugin.h"

#define BLOCKS_MAX 4000000u

// Never moved: the translated code adds to `runs` in place. Blocks beyond the table are not
// counted.
static struct block {
	uint64_t address, instructions, runs;
} * blocks;
static size_t block_count;
static char out[4096];

static void translated(plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct block *b = &blocks[block_count];

	(void)id;
	if (block_count == BLOCKS_MAX)
		return;
	block_count++;
	b->address = qemu_plugin_tb_vaddr(tb);
	b->instructions = qemu_plugin_tb_n_insns(tb);
	qemu_plugin_register_vcpu_tb_exec_inline(tb, OP_ADD_U64, &b->runs, 1);
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
	for (size_t i = 0; i < block_count; i++)
		if (blocks[i].runs)
			fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", blocks[i].address,
				blocks[i].instructions, blocks[i].runs);
	fclose(file);
}

int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], "out=", 4) == 0)
			snprintf(out, sizeof(out), "%s", argv[i] + 4);
	blocks = calloc(BLOCKS_MAX, sizeof(*blocks));
	if (!blocks || !out[0])
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
