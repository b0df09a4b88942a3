// SPDX-License-Identifier: MIT
//
// What: what mounting a region costs, in ticks of the time-stamp counter, and what is on it then:
// ticks, 4 KiB blocks in use, files, as CSV on stdout. Under exact instruction counting a tick is
// one instruction. Not here: images to mount (tools/bench-mount).
//
//     mountcost REGION PLACE [OPTIONS]
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <x86intrin.h>

int main(int argc, char **argv)
{
	struct statfs st;
	uint64_t start, ticks;

	if (argc < 3) {
		fprintf(stderr, "usage: mountcost REGION PLACE [OPTIONS]\n");
		return 2;
	}
	mkdir(argv[2], 0755);
	start = __rdtsc();
	if (mount(argv[1], argv[2], "ptfs", 0, argc > 3 ? argv[3] : "") != 0) {
		perror(argv[1]);
		return 1;
	}
	ticks = __rdtsc() - start;
	if (statfs(argv[2], &st) != 0 || umount(argv[2]) != 0) {
		perror(argv[2]);
		return 1;
	}
	printf("%llu,%llu,%llu\n", (unsigned long long)ticks,
	       (unsigned long long)(st.f_blocks - st.f_bfree),
	       (unsigned long long)(st.f_files - st.f_ffree));
	return 0;
}
