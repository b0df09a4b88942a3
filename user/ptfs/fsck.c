// SPDX-License-Identifier: MIT
//
// fsck.ptfs: checks an image and repairs it.
//
// Every repair is tried on a private mapping first. Only if that ends in an image in which all
// invariants hold is it done to the file; else the file stays as it is. Exit codes are those of
// fsck(8).
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "user/ptfs/host_home.h"
#include "user/ptfs/repair.h"

enum { OK = 0, REPAIRED = 1, UNREPAIRED = 4, FAILED = 8, USAGE = 16, CANCELLED = 32 };

#define BAR 40

static const char usage[] =
	"usage: fsck.ptfs [options] IMAGE\n"
	"  -n        only look: answer no to everything\n"
	"  -y        repair whatever is found\n"
	"  -p, -a    repair what can be repaired without loss, ask nothing\n"
	"  -f        check although the image is marked clean\n"
	"  -v        also show what the file system's code has to say\n"
	"  -B ADDR   the image's base address, if both superblocks have lost it\n"
	"exit status: 0 nothing wrong, 1 repaired, 4 errors are left, 8 cannot be checked, 16 "
	"usage,\n"
	"             32 cancelled by Ctrl-C\n";

enum mode { ASK, NO, YES, PREEN };

struct fsck {
	const char *path;
	enum mode mode;
	bool force, verbose, terminal, quiet;
	bool bar; // a progress bar stands in the last line
	u64 base;
};

static void bar_clear(struct fsck *f)
{
	if (f->bar)
		fprintf(stderr, "\r%*s\r", BAR + 40, "");
	f->bar = false;
}

static void report(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	struct fsck *f = ctx;

	if (f->quiet)
		return;
	bar_clear(f);
	printf("%s: ", f->path);
	if (ino)
		printf("inode %llu: ", (unsigned long long)ino);
	printf("%s (%#llx, %#llx)\n", what, (unsigned long long)a, (unsigned long long)b);
}

static void progress(void *ctx, unsigned pass, u64 done, u64 total)
{
	static const char *const names[REPAIR_PASSES + 1] = { "",      "superblock",  "chunks",
							      "files", "cross-links", "names",
							      "bitmap" };
	struct fsck *f = ctx;
	u64 filled = total ? done * BAR / total : BAR;

	if (!f->terminal)
		return;
	fprintf(stderr, "\r%u/%u %-12s [%.*s%*s]", pass, REPAIR_PASSES, names[pass], (int)filled,
		"########################################", (int)(BAR - filled), "");
	f->bar = true;
}

static void log_line(void *ctx, enum ptfs_log_level level, const char *line)
{
	struct fsck *f = ctx;

	(void)level;
	if (!f->verbose)
		return;
	bar_clear(f);
	fprintf(stderr, "%s\n", line);
}

static void ignore(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	(void)what;
	(void)ino;
	(void)a;
	(void)b;
}

// One repair of the image as `how` says. *sound: all invariants hold afterwards.
static int run(struct fsck *f, enum host_open how, struct repair_result *result, bool *sound)
{
	const struct repair_options o = {
		.report = report, .progress = progress, .ctx = f, .base = f->base
	};
	struct ptfs_check_result check;
	struct host_image im;
	int err = host_image_open_raw(&im, f->path, how);

	if (err)
		return err;
	err = ptfs_repair(&im.region, &o, result);
	*sound = !err;
	if (!err && how == HOST_PRIVATE)
		*sound = !ptfs_check(&im.region, f->verbose ? report : ignore, f, &check) &&
			 !check.errors;
	bar_clear(f);
	host_image_close(&im);
	return err;
}

static bool confirmed(const struct fsck *f)
{
	int c;

	switch (f->mode) {
	case YES: return true;
	case NO: return false;
	case PREEN: return false;
	case ASK: break;
	}
	if (!isatty(STDIN_FILENO))
		return false;
	printf("%s: repair? [y/N] ", f->path);
	fflush(stdout);
	c = getchar();
	return c == 'y' || c == 'Y';
}

static bool marked_clean(const struct fsck *f)
{
	struct ptfs_probe probe;
	struct host_image im;
	bool clean;

	if (host_image_open_raw(&im, f->path, HOST_PRIVATE))
		exit(FAILED);
	clean = !ptfs_probe(&im.region, &probe) && probe.clean;
	host_image_close(&im);
	return clean;
}

static int repair(struct fsck *f, const struct repair_result *seen)
{
	struct repair_result result;
	bool sound;
	int err;

	f->quiet = true; // all of it has been said
	err = run(f, HOST_SHARED, &result, &sound);
	if (err) {
		fprintf(stderr, "%s: %s\n", f->path, strerror(-err));
		return FAILED;
	}
	if (!seen->found) {
		printf("%s: recovered\n", f->path);
		return OK;
	}
	printf("%s: %llu errors repaired, %llu files moved to /lost+found\n", f->path,
	       (unsigned long long)result.found, (unsigned long long)result.reattached);
	return REPAIRED;
}

static const char *why(int err)
{
	switch (err) {
	case -EROFS: return "a later version of ptfs made it, and forbids this one to write";
	case -EUCLEAN: return "this is not a ptfs image, or nothing is left of its superblocks";
	case -ENXIO: return "its base address is lost; -B gives one";
	default: return strerror(-err);
	}
}

static int check(struct fsck *f)
{
	struct repair_result seen;
	bool sound;
	int err;

	if (!f->force && marked_clean(f)) {
		printf("%s: clean\n", f->path);
		return OK;
	}
	err = run(f, HOST_PRIVATE, &seen, &sound);
	if (err) {
		fprintf(stderr, "%s: cannot be repaired: %s\n", f->path, why(err));
		return FAILED;
	}
	printf("%s: %llu inodes, %llu directories, %llu errors\n", f->path,
	       (unsigned long long)seen.inodes, (unsigned long long)seen.directories,
	       (unsigned long long)seen.found);
	if (!sound) {
		fprintf(stderr, "%s: errors would be left after a repair; nothing was changed\n",
			f->path);
		return UNREPAIRED;
	}
	if (!seen.found && seen.was_clean)
		return OK;
	if (!seen.found)
		return f->mode == NO ? OK : repair(f, &seen);
	if (f->mode == PREEN && !seen.lost && !seen.reattached)
		return repair(f, &seen);
	return confirmed(f) ? repair(f, &seen) : UNREPAIRED;
}

// At any moment: what a repair has done by then, the next run goes on from.
static void cancel(int signal_nr)
{
	(void)signal_nr;
	_exit(CANCELLED);
}

int main(int argc, char **argv)
{
	struct fsck f = { .terminal = isatty(STDERR_FILENO) };
	int c;

	while ((c = getopt(argc, argv, "nypafvB:h")) != -1) {
		switch (c) {
		case 'n': f.mode = NO; break;
		case 'y': f.mode = YES; break;
		case 'p':
		case 'a': f.mode = PREEN; break;
		case 'f': f.force = true; break;
		case 'v': f.verbose = true; break;
		case 'B': f.base = strtoull(optarg, NULL, 0); break;
		default: fputs(usage, c == 'h' ? stdout : stderr); return c == 'h' ? OK : USAGE;
		}
	}
	if (optind != argc - 1) {
		fputs(usage, stderr);
		return USAGE;
	}
	f.path = argv[optind];
	signal(SIGINT, cancel);
	host_clock_from_environment();
	host_log_to(log_line, &f);
	return check(&f);
}
