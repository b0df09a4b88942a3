// SPDX-License-Identifier: MIT
//
// libFuzzer entry for the cpio parser: reads every byte that an entry says it has.

#include "fs/cpio.h"

#include "kernel/lib/string.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static volatile u64 sum;
	struct cpio_entry e;
	struct cpio c;

	cpio_begin(&c, data, size);
	while (cpio_next(&c, &e) == CPIO_ENTRY) {
		sum += strlen(e.name);
		for (u32 k = 0; k < e.bytes; k++)
			sum += e.data[k];
	}
	return 0;
}
