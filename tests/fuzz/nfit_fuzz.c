// SPDX-License-Identifier: MIT
//
// libFuzzer entry for the NFIT decoder. The input is what follows the table's header; length and
// checksum are made right, so that the fuzzer does not have to find them out.

#include "tests/host/nfit_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct build t;
	struct nfit n;

	if (size > BUILD_MAX - 40)
		return -1;
	build_start(&t);
	memcpy(t.b + 40, data, size);
	t.len = 40 + size;
	(void)!build_decode(&t, &n);
	return 0;
}
