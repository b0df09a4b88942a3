// SPDX-License-Identifier: MIT
//
// libFuzzer entry for ptfs (ptfs_fuzz.h says what an input means). Inputs are changed by records,
// not by bytes.
#include "tests/fuzz/ptfs_fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

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

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	u64 state = seed * 0x9e3779b97f4a7c15ull + 1;
	unsigned steps = 1 + (fuzz_random(&state) >> 32 & 3);

	while (steps--)
		size = fuzz_mutate(&state, data, size, max);
	return size;
}
