// SPDX-License-Identifier: MIT
//
// The fuzzer's executions with programs from a fixed seed: no coverage guides them, but they are
// the same every time. PTFS_FUZZ=N makes N of them.
#include "tests/fuzz/ptfs_fuzz.h"

#define PROGRAM (1 + 12 * FUZZ_RECORD)

static u64 next(u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ull;
}

int main(void)
{
	const char *wanted = getenv("PTFS_FUZZ");
	u64 runs = wanted ? strtoull(wanted, NULL, 0) : 1500;
	u64 seed = 1, repairs = 0;
	u8 program[PROGRAM];

	fuzz_setup();
	for (u64 i = 0; i < runs; i++) {
		size_t size = 1 + (1 + next(&seed) % 12) * FUZZ_RECORD;

		for (size_t k = 0; k < size; k++)
			program[k] = (u8)(next(&seed) >> 56);
		repairs += program[0] >> 1 & 1;
		fuzz_one(program, size);
	}
	printf("1..2\nok 1 - %llu mutated images\n%s 2 - %llu repairs, %llu left something\n",
	       (unsigned long long)runs, fuzz.unsound ? "not ok" : "ok",
	       (unsigned long long)repairs, (unsigned long long)fuzz.unsound);
	return fuzz.unsound != 0;
}
