// SPDX-License-Identifier: MIT
//
// Crash states of a whole system: replays the trace of a guest (tools/pmtrace.c) over the image
// that it began with, and builds what a power failure could have left at a sample of its fences.
// Each such image must mount at another address, and be sound.
//
//      replay IMAGE TRACE [--every N] [--base ADDRESS] [--blind]
//
// --blind: as if no line had ever been written back. That must be seen.
//
// Speaks TAP; the figures stand in comment lines.
#include "tests/crash/crash.h"

struct explorer ex;

// As tools/pmtrace.c writes it.
struct record {
	u64 pc, offset;
	u8 value[16];
	u16 bytes, kind;
	u32 cpu;
};

enum { STORE, STORE_NT, FLUSH, FENCE };

static struct trace trace;
static u64 count[4];
static bool blind;

static u8 *file_read(const char *path, u64 *bytes)
{
	FILE *f = fopen(path, "rb");
	u8 *p;

	if (!f || fseek(f, 0, SEEK_END)) {
		perror(path);
		exit(2);
	}
	*bytes = (u64)ftell(f);
	rewind(f);
	p = malloc(*bytes + 1);
	if (!p || fread(p, 1, *bytes, f) != *bytes) {
		perror(path);
		exit(2);
	}
	fclose(f);
	return p;
}

static void record_take(const struct record *r)
{
	static const enum host_pm_kind kinds[] = {
		[STORE] = HOST_PM_STORE,
		[STORE_NT] = HOST_PM_NT,
		[FLUSH] = HOST_PM_FLUSH,
		[FENCE] = HOST_PM_FENCE,
	};
	struct host_pm_event e = { .off = r->offset, .len = r->bytes };

	ptfs_assert(r->kind < ARRAY_SIZE(kinds) && r->bytes <= 64);
	e.kind = kinds[r->kind];
	e.data = r->kind <= STORE_NT ? r->value : NULL;
	count[r->kind]++;
	if (!blind || r->kind != FLUSH)
		trace_add(&trace, &e, 0, r->cpu % MEDIUM_CPUS);
}

static void trace_read(const char *path)
{
	u64 bytes;
	u8 *p = file_read(path, &bytes);

	for (u64 at = 0; at + sizeof(struct record) <= bytes; at += sizeof(struct record)) {
		struct record r;

		memcpy(&r, p + at, sizeof(r));
		record_take(&r);
	}
	free(p);
}

static void no_log(void *ctx, enum ptfs_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static void run(unsigned every)
{
	static struct totals totals;
	struct oracle o = { .promise = PROMISE_SOUND };

	ex = (struct explorer){ .effort = { .exhaustive = 3,
					    .lines = 2,
					    .pairs = 1,
					    .words = 2,
					    .random = 3,
					    .second = 16,
					    .second_exhaustive = 3,
					    .use = ~0u },
				.totals = &totals,
				.doing = "guest" };
	state_init();
	state_sample(&trace, every, &o);
	printf("# %llu stores, %llu of them non-temporal, %llu write-backs, %llu fences\n",
	       (unsigned long long)(count[STORE] + count[STORE_NT]),
	       (unsigned long long)count[STORE_NT], (unsigned long long)count[FLUSH],
	       (unsigned long long)count[FENCE]);
	printf("# %llu crash points, %llu images tried, %llu distinct; in recovery %llu points, "
	       "%llu distinct; %llu failures\n",
	       (unsigned long long)totals.points, (unsigned long long)totals.states,
	       (unsigned long long)totals.images, (unsigned long long)totals.second_points,
	       (unsigned long long)totals.second_images, (unsigned long long)totals.failures);
	printf("1..2\n%sok 1 - every image mounts and is sound\n", totals.failures ? "not " : "");
	printf("%sok 2 - enough of them\n", totals.images >= 500 ? "" : "not ");
}

int main(int argc, char **argv)
{
	u64 base = 0x143e00000, bytes;
	unsigned every = 1;
	u8 *image;

	if (argc < 3) {
		fprintf(stderr,
			"usage: replay IMAGE TRACE [--every N] [--base ADDRESS] [--blind]\n");
		return 2;
	}
	for (int i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "--every") && i + 1 < argc)
			every = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--base") && i + 1 < argc)
			base = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--blind"))
			blind = true;
	}
	sites_init();
	host_log_to(no_log, NULL);
	image = file_read(argv[1], &bytes);
	media_load(image, bytes, base);
	free(image);
	trace_read(argv[2]);
	run(max(every, 1u));
	return 0;
}
