// SPDX-License-Identifier: MIT
//
// libFuzzer entry for ptfs: mount, walk, operate, check and repair mutated images (ptfs_fuzz.h).
#include "tests/fuzz/ptfs_fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_setup();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_one(data, size);
	return 0;
}
