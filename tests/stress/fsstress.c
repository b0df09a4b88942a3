// SPDX-License-Identifier: MIT
//
// What: several processes work in one tree of folders, each beside a model of what it made.
//
//      fsstress [-s SEED] [-t SECONDS] [-j WORKERS] [-k 1] FOLDER
//
// A worker's own names begin with its letter and nobody else touches them; besides, all of them
// work on some shared names, with any result. Own files must be as the model says: there or not, in
// the listing once, of the right size and content. With -k 1 what was made stays (the driver looks
// at it from outside), else the tree is empty in the end.

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "tests/stress/stress.h"

#define NR_FOLDERS 4u  // shared by all
#define NR_NAMES   24u // own names in each
#define NR_SHARED  6u
#define SIZE_MAX_  100000u

struct file {
	unsigned links, size;
	unsigned char *content;
};

static struct file files[NR_FOLDERS * NR_NAMES];
static struct file *names[NR_FOLDERS][NR_NAMES]; // NULL: no such file
static bool is_folder[NR_FOLDERS][NR_NAMES];
static unsigned worker;
static unsigned long nr_ops;
static unsigned char buffer[SIZE_MAX_];

#define CHECK(cond, what) check(cond, #cond, what, __LINE__)

static void check(bool good, const char *condition, const char *what, int line)
{
	if (good)
		return;
	complain("fsstress: worker %u op %lu line %d: %s: %s (errno %d)\n", worker, nr_ops, line,
		 what, condition, errno);
	_exit(1);
}

static const char *own_name(unsigned folder, unsigned name)
{
	static char text[4][64];
	static unsigned next;
	char *at = text[next++ % 4];

	snprintf(at, sizeof(text[0]), "d%u/%c%u%s", folder, (char)('a' + worker), name,
		 name % 5 ? "" : "-with-a-longer-name-than-most");
	return at;
}

static const char *shared_name(void)
{
	static char text[4][32];
	static unsigned next;
	char *at = text[next++ % 4];

	snprintf(at, sizeof(text[0]), "d%u/S%u", rng_below(NR_FOLDERS), rng_below(NR_SHARED));
	return at;
}

// ---- Own files ----------------------------------------------------------------------------------

static bool gave_up(void)
{
	return errno == ENOSPC || errno == ENOMEM;
}

static void drop_link(struct file **slot)
{
	struct file *f = *slot;

	*slot = NULL;
	if (--f->links == 0) {
		free(f->content);
		f->content = NULL;
	}
}

static void create(unsigned folder, unsigned name)
{
	int fd = open(own_name(folder, name), O_RDWR | O_CREAT | O_EXCL, 0600);
	struct file *f = files;

	if (names[folder][name] || is_folder[folder][name]) {
		CHECK(fd < 0 && errno == EEXIST, "create of what is there");
		return;
	}
	if (fd < 0) {
		CHECK(gave_up(), "create");
		return;
	}
	close(fd);
	while (f->links)
		f++;
	*f = (struct file){ .links = 1, .content = calloc(1, SIZE_MAX_) };
	names[folder][name] = f;
}

static void write_file(unsigned folder, unsigned name)
{
	struct file *f = names[folder][name];
	unsigned from = rng_below(SIZE_MAX_),
		 bytes = 1 + rng_below(rng_below(4) ? 3000 : SIZE_MAX_);
	int fd = open(own_name(folder, name), O_RDWR);
	ssize_t n;

	CHECK(fd >= 0, own_name(folder, name));
	if (bytes > SIZE_MAX_ - from)
		bytes = SIZE_MAX_ - from;
	for (unsigned i = 0; i < bytes; i++)
		buffer[i] = (unsigned char)(rng_state >> (i % 57));
	n = pwrite(fd, buffer, bytes, from);
	if (n < 0)
		CHECK(gave_up(), "write");
	else
		memcpy(f->content + from, buffer, (size_t)n);
	if (n > 0 && from + (unsigned)n > f->size)
		f->size = from + (unsigned)n;
	close(fd);
}

static void truncate_file(unsigned folder, unsigned name)
{
	struct file *f = names[folder][name];
	unsigned size = rng_below(SIZE_MAX_);

	if (truncate(own_name(folder, name), size)) {
		CHECK(gave_up(), "truncate");
		return;
	}
	if (size < f->size)
		memset(f->content + size, 0, SIZE_MAX_ - size);
	f->size = size;
}

static void compare(unsigned folder, unsigned name)
{
	const char *path = own_name(folder, name);
	struct file *f = names[folder][name];
	struct stat s;
	int fd;

	if (!f && !is_folder[folder][name]) {
		CHECK(stat(path, &s) != 0 && errno == ENOENT, path);
		return;
	}
	CHECK(stat(path, &s) == 0, path);
	CHECK(S_ISDIR(s.st_mode) == is_folder[folder][name], path);
	if (!f)
		return;
	CHECK(s.st_nlink == f->links && s.st_size == (off_t)f->size, path);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0, path);
	CHECK(read(fd, buffer, sizeof(buffer)) == (ssize_t)f->size, path);
	CHECK(memcmp(buffer, f->content, f->size) == 0, path);
	close(fd);
}

static void rename_file(unsigned folder, unsigned name)
{
	unsigned to_folder = rng_below(NR_FOLDERS), to_name = rng_below(NR_NAMES);
	struct file *f = names[folder][name], *target = names[to_folder][to_name];
	int err = rename(own_name(folder, name), own_name(to_folder, to_name));

	if (is_folder[to_folder][to_name]) {
		CHECK(err && errno == EISDIR, "rename over a folder");
		return;
	}
	if (err) {
		CHECK(gave_up(), "rename");
		return;
	}
	if (target == f) // two names of one file stay
		return;
	if (target)
		drop_link(&names[to_folder][to_name]);
	names[to_folder][to_name] = f;
	names[folder][name] = NULL;
}

static void link_file(unsigned folder, unsigned name)
{
	unsigned to_folder = rng_below(NR_FOLDERS), to_name = rng_below(NR_NAMES);
	bool there = names[to_folder][to_name] || is_folder[to_folder][to_name];

	if (link(own_name(folder, name), own_name(to_folder, to_name))) {
		CHECK(there ? errno == EEXIST : gave_up(), "link");
		return;
	}
	CHECK(!there, "link over what is there");
	names[to_folder][to_name] = names[folder][name];
	names[folder][name]->links++;
}

static void unlink_file(unsigned folder, unsigned name)
{
	CHECK(unlink(own_name(folder, name)) == 0, own_name(folder, name));
	drop_link(&names[folder][name]);
}

static void make_folder(unsigned folder, unsigned name)
{
	bool there = names[folder][name] || is_folder[folder][name];

	if (mkdir(own_name(folder, name), 0700)) {
		CHECK(there ? errno == EEXIST : gave_up(), "mkdir");
		return;
	}
	CHECK(!there, "mkdir over what is there");
	is_folder[folder][name] = true;
}

static void remove_folder(unsigned folder, unsigned name)
{
	CHECK(rmdir(own_name(folder, name)) == 0, own_name(folder, name));
	is_folder[folder][name] = false;
}

// Each own name is listed once, and no other.
static void list(unsigned folder)
{
	char path[16];
	unsigned expected = 0, found = 0;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "d%u", folder);
	dir = opendir(path);
	CHECK(dir, path);
	while ((entry = readdir(dir))) {
		unsigned name = (unsigned)atoi(entry->d_name + 1);

		if (entry->d_name[0] != (char)('a' + worker))
			continue;
		CHECK(name < NR_NAMES && (names[folder][name] || is_folder[folder][name]),
		      entry->d_name);
		found++;
	}
	closedir(dir);
	for (unsigned n = 0; n < NR_NAMES; n++)
		expected += names[folder][n] || is_folder[folder][n];
	CHECK(found == expected, path);
}

// ---- What all of them do to each other ----------------------------------------------------------

static void disturb(void)
{
	int fd;

	switch (rng_below(8)) {
	case 0: (void)!rename(shared_name(), shared_name()); break;
	case 1: (void)!unlink(shared_name()); break;
	case 2: (void)!mkdir(shared_name(), 0700); break;
	case 3: (void)!rmdir(shared_name()); break;
	case 4: (void)!link(shared_name(), shared_name()); break;
	case 5: (void)!truncate(shared_name(), (off_t)rng_below(1u << 22)); break;
	case 6: (void)!symlink("S0", shared_name()); break;
	default:
		fd = open(shared_name(), O_RDWR | O_CREAT, 0600);
		(void)!pwrite(fd, buffer, rng_below(SIZE_MAX_), (off_t)rng_below(1u << 22));
		close(fd);
	}
}

// ---- Workers ------------------------------------------------------------------------------------

static void one_op(void)
{
	unsigned folder = rng_below(NR_FOLDERS), name = rng_below(NR_NAMES), what = rng_below(16);

	if (what < 3) {
		disturb();
	} else if (what < 5) {
		compare(folder, name);
	} else if (what == 5) {
		list(folder);
	} else if (is_folder[folder][name]) {
		if (what < 9)
			remove_folder(folder, name);
	} else if (!names[folder][name]) {
		what < 7 ? make_folder(folder, name) : create(folder, name);
	} else {
		static void (*const ops[])(unsigned, unsigned) = {
			write_file,  write_file,  write_file, write_file,  truncate_file,
			rename_file, rename_file, link_file,  unlink_file, create
		};

		ops[what - 6](folder, name);
	}
}

static void run_worker(unsigned number, uint64_t seed, uint64_t end, bool keep)
{
	worker = number;
	rng_seed(seed * 100 + number);
	for (; now_ms() < end; nr_ops++)
		one_op();
	for (unsigned folder = 0; folder < NR_FOLDERS; folder++) {
		list(folder);
		for (unsigned name = 0; name < NR_NAMES; name++)
			compare(folder, name);
		for (unsigned name = 0; name < NR_NAMES && !keep; name++) {
			if (is_folder[folder][name])
				remove_folder(folder, name);
			else if (names[folder][name])
				unlink_file(folder, name);
		}
	}
	complain("# worker %u: %lu operations\n", number, nr_ops);
	_exit(0);
}

static void clean_up(void)
{
	char path[32];

	for (unsigned folder = 0; folder < NR_FOLDERS; folder++) {
		for (unsigned n = 0; n < NR_SHARED; n++) {
			snprintf(path, sizeof(path), "d%u/S%u", folder, n);
			if (unlink(path))
				rmdir(path);
		}
		snprintf(path, sizeof(path), "d%u", folder);
		if (rmdir(path))
			complain("fsstress: %s is not empty\n", path);
	}
}

int main(int argc, char **argv)
{
	uint64_t seed = option(argc, argv, 's', 1),
		 end = now_ms() + option(argc, argv, 't', 5) * 1000;
	unsigned workers = (unsigned)option(argc, argv, 'j', 4), failed = 0;
	bool keep = option(argc, argv, 'k', 0);
	char path[16];
	int status;

	if (argc < 2 || chdir(argv[argc - 1]) || workers > 20)
		return 2;
	for (unsigned folder = 0; folder < NR_FOLDERS; folder++) {
		snprintf(path, sizeof(path), "d%u", folder);
		mkdir(path, 0700);
	}
	for (unsigned i = 0; i < workers; i++)
		if (fork() == 0)
			run_worker(i, seed, end, keep);
	while (wait(&status) > 0)
		failed += status != 0;
	if (!keep && !failed)
		clean_up();
	printf("fsstress: %s seed %lu\n", failed ? "failed" : "ok", (unsigned long)seed);
	return failed != 0;
}
