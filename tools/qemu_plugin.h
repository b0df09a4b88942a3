// SPDX-License-Identifier: MIT
//
// QEMU's plugin interface, version 1, as far as our plugins use it. Its own header, qemu-plugin.h,
// is not shipped by Debian. Names and meanings: QEMU documentation, "QEMU TCG Plugins".
//
// A plugin includes this in one file only: it defines the version that QEMU asks for.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t plugin_id_t;
typedef uint32_t meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

// What a callback does with registers; which accesses it wants; an inline operation.
enum { NO_REGISTERS = 0, READ_REGISTERS = 1 };
enum { MEMORY_WRITES = 2, MEMORY_BOTH = 3 };
enum { OP_ADD_U64 = 0 };

// The struct of QEMU 7.2, opaque in the interface, which gives no host address. `host` is one where
// is_io is false.
struct qemu_plugin_hwaddr {
	bool is_io, is_store;
	uint64_t host;
};

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id,
					   void (*fn)(plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*fn)(unsigned, void *),
					  int flags, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter,
					      uint64_t amount);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*fn)(unsigned, meminfo_t, uint64_t, void *), int flags,
				      int rw, void *userdata);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*fn)(unsigned, void *), int flags,
					    void *userdata);
void qemu_plugin_register_atexit_cb(plugin_id_t id, void (*fn)(plugin_id_t, void *),
				    void *userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
unsigned qemu_plugin_mem_size_shift(meminfo_t info);
bool qemu_plugin_mem_is_store(meminfo_t info);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(meminfo_t info, uint64_t vaddr);

#define EXPORT __attribute__((visibility("default")))
EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv);

int qemu_plugin_version = 1;
