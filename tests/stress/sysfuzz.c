// SPDX-License-Identifier: MIT
//
// What: calls the kernel with random numbers and arguments, and sees that it stays alive.
//
//      sysfuzz [-s SEED] [-t SECONDS] [-j JOBS] [-d] FOLDER
//
// Children make the calls in FOLDER, some as root, some as user 1000, several at a time in one
// folder. They die of it, or hang; then they are killed, and must be gone soon. What they were
// doing is in memory shared with the parent (-d prints it). After the first third of the time the
// free memory and the kernel's objects are noted; they must be about the same at the end.
//
// Left out: reboot(2), and kill(2) of others than the children themselves.

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/utsname.h>

#include "tests/stress/sysfuzz_args.h"

#define JOBS_MAX     8
#define RECENT       16
#define THREADS      2
#define CALLS        2000  // of one child
#define REPAIRS      100   // of what it did to its own memory
#define CHILD_MS     1500  // then it is killed
#define GONE_MS      20000 // for a killed child to be gone
#define LEAK_KB      1024
#define LEAK_OBJECTS 300

struct call {
	long nr, arg[6], result;
};

struct job {
	pid_t pid;
	uint64_t begin, seed;
	bool killed;
};

// One per thread; a child writes it, the parent reads it.
struct diary {
	unsigned long calls;
	struct call recent[RECENT];
};

static struct diary (*diaries)[THREADS];
static _Thread_local struct diary *diary;

static long pick_number(void)
{
	if (rng_below(4) == 0)
		return rng_below(512);
	return hints[rng_below(sizeof(hints) / sizeof(hints[0]))].nr;
}

// Calls that would end the experiment, not test it. Those that only end the child come seldom.
static bool left_out(long nr)
{
	switch (nr) {
	case SYS_reboot:
	case SYS_kill:
	case SYS_tkill:
	case SYS_tgkill:
	case SYS_rt_tgsigqueueinfo:
	case SYS_pidfd_send_signal: return true;
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_execve:
	case SYS_vfork:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigqueueinfo:
	case SYS_setpgid: return rng_below(50) != 0;
	default: return false;
	}
}

// The child of a fork made by chance must not go on, nor return: it may share the stack.
static long raw_call(const struct call *c)
{
	register long r10 __asm__("r10") = c->arg[3];
	register long r8 __asm__("r8") = c->arg[4];
	register long r9 __asm__("r9") = c->arg[5];
	long result = c->nr;
	bool forks = c->nr == SYS_fork || c->nr == SYS_vfork || c->nr == SYS_clone;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "test %b[forks], %b[forks]\n\t"
			 "jz 1f\n\t"
			 "mov $60, %%eax\n\t"
			 "xor %%edi, %%edi\n\t"
			 "syscall\n"
			 "1:"
			 : "+a"(result)
			 : "D"(c->arg[0]), "S"(c->arg[1]), "d"(c->arg[2]), "r"(r10), "r"(r8),
			   "r"(r9), [forks] "b"(forks)
			 : "rcx", "r11", "memory");
	return result;
}

// The words of a signal's frame from its ucontext on (sigaction(2)).
enum { FRAME_RBP = 15, FRAME_RBX, FRAME_RSP = 20, FRAME_RIP, FRAME_FLAGS, FRAME_FPU = 28 };

// rt_sigreturn from a frame that no kernel wrote. Where it goes is right mostly, or the child would
// just end; all other registers, flags, selectors, the mask and the FPU's state are by chance.
static void hostile_return(void)
{
	uint64_t *uc = (uint64_t *)(arena + ARENA_BYTES / 2);

	for (unsigned i = 0; i < 128; i++)
		uc[i] = pick("plrnr"[rng_below(5)]);
	uc[FRAME_FLAGS] &= ~(rng_below(8) ? 0x40100ull : 0); // AC and TF seldom
	uc[FRAME_FPU] = rng_below(3) ? (uint64_t)arena + rng_below(256) * 16 : pick_pointer();
	__asm__ volatile("mov %%rbp, 120(%[uc]); mov %%rbx, 128(%[uc])\n\t"
			 "mov %%rsp, 160(%[uc]); lea 1f(%%rip), %%rax; mov %%rax, 168(%[uc])\n\t"
			 "test %[stray], %[stray]; jz 2f; mov %[stray], 168(%[uc])\n"
			 "2:\n\t"
			 "mov %[uc], %%rsp; mov $15, %%eax; syscall\n"
			 "1:\n\t"
			 "cld"
			 :
			 : [uc] "r"(uc), [stray] "r"(rng_below(8) ? 0 : pick_pointer())
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
			   "r13", "r14", "r15", "memory", "cc");
}

// Structures by chance: iovec, timespec, pollfd, sigset...
static void refill_arena(void)
{
	uint64_t *words = (uint64_t *)arena;

	for (unsigned n = 0; n < 64; n++) {
		unsigned at = rng_below(ARENA_BYTES / 8 - 16);

		for (unsigned i = 0; i < 16; i++)
			words[at + i] = pick("plfnrona"[rng_below(8)]);
	}
	if (rng_below(4) == 0)
		memset(arena + rng_below(ARENA_BYTES / 2), (int)rng_below(256), ARENA_BYTES / 2);
}

static void one_call(void)
{
	struct call *c = &diary->recent[diary->calls % RECENT];
	const char *kinds;

	do {
		c->nr = pick_number();
	} while (left_out(c->nr));
	kinds = kinds_of(c->nr);
	for (unsigned i = 0; i < 6; i++) {
		char kind = rng_below(8) && i < strlen(kinds) ? kinds[i] : "rplfnsag"[rng_below(8)];

		c->arg[i] = (long)pick(kind);
	}
	if (c->nr == SYS_rt_sigqueueinfo)
		c->arg[0] = getpid();
	c->result = -9999;
	diary->calls++;
	if (c->nr == SYS_rt_sigreturn)
		hostile_return();
	else
		c->result = raw_call(c);
	if (c->nr == SYS_mmap && c->result > 0)
		last_mapping = (char *)c->result;
}

static void nothing(int sig)
{
	(void)sig;
}

static _Thread_local sigjmp_buf next_call;
static volatile unsigned repairs;

// Calls chosen by chance unmap the arena and worse. Put it back and go on.
static void repair(int sig)
{
	if (++repairs > REPAIRS)
		_exit(2);
	if (mmap(arena, ARENA_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(3);
	(void)sig;
	siglongjmp(next_call, 1);
}

static int open_files(void)
{
	int fds[2], null;

	mknod("null", S_IFCHR | 0666, makedev(1, 3)); // these it may ruin
	mknod("zero", S_IFCHR | 0666, makedev(1, 5));
	mknod("full", S_IFCHR | 0666, makedev(1, 7));
	mknod("random", S_IFCHR | 0666, makedev(1, 9));
	mknod("fifo", S_IFIFO | 0666, 0);
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		_exit(4);

	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	open("a", O_RDWR | O_CREAT, 0666); // a folder in some rounds
	open("b", O_RDWR | O_CREAT, 0666);
	open("c", O_RDWR | O_CREAT | O_APPEND, 0666);
	open(".", O_RDONLY | O_DIRECTORY);
	open("/proc/self/maps", O_RDONLY);
	open("zero", O_RDWR);
	open("/proc", O_RDONLY | O_DIRECTORY);
	open("d", O_PATH);
	if (pipe(fds))
		return -1;
	if (pipe2(fds, O_NONBLOCK))
		return -1;
	open("fifo", O_RDWR | O_NONBLOCK);
	return open("b", O_RDWR);
}

static void prepare_memory(int fd)
{
	char *at = mmap(NULL, ARENA_BYTES + 4096, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(at + ARENA_BYTES, 4096);
	arena = at;
	read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	no_access = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	no_access += 4096;
	mprotect(no_access, 4096, PROT_NONE);
	if (ftruncate(fd, 6u << 20))
		_exit(1);
	file_map = mmap(NULL, 6u << 20, PROT_READ | PROT_WRITE,
			MAP_SHARED | (rng_below(2) ? MAP_DAXVM : 0), fd, 0);
	past_end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 256u << 20);
	long_path = malloc(6000);
	memset(long_path, 'x', 6000);
	for (int i = 200; i < 5500; i += 200)
		long_path[i] = '/';
	long_path[rng_below(2) ? 300 : 5999] = 0;
}

static void make_calls(void)
{
	sigsetjmp(next_call, 0);
	while (diary->calls < CALLS) {
		if (diary->calls % 16 == 0)
			refill_arena();
		one_call();
	}
	_exit(0);
}

struct second {
	struct diary *diary;
	uint64_t seed;
};

static void *second_thread(void *arg)
{
	const struct second *how = arg;

	diary = how->diary;
	rng_seed(how->seed);
	make_calls();
	return NULL;
}

// Half of the children have two threads: what one does to the memory and the descriptors that the
// other one's call is using is by chance, too.
static void child(uint64_t seed)
{
	struct second how = { diary + 1, seed ^ 0x5eed };
	struct itimerval often = { .it_interval = { .tv_usec = 20000 },
				   .it_value = { .tv_usec = 20000 } };
	struct sigaction act = { .sa_handler = nothing };
	pthread_t thread;

	rng_seed(seed);
	prepare_memory(open_files());
	if (rng_below(2)) {
		if (setgroups(0, NULL) || setgid(1000) || setuid(1000))
			_exit(1);
	}
	sigaction(SIGALRM, &act, NULL);
	sigaction(SIGXFSZ, &act, NULL); // RLIMIT_FSIZE is set by chance
	act = (struct sigaction){ .sa_handler = repair, .sa_flags = SA_NODEFER };
	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	if (rng_below(2))
		pthread_create(&thread, NULL, second_thread, &how);
	make_calls();
}

static void print_diary(const struct diary *d)
{
	complain(" of %lu calls:\n", d->calls);
	for (unsigned long n = d->calls > RECENT ? d->calls - RECENT : 0; n < d->calls; n++) {
		const struct call *c = &d->recent[n % RECENT];

		complain("  %ld(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx) = %ld\n", c->nr, c->arg[0],
			 c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5], c->result);
	}
}

static void print_diaries(unsigned number)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (diaries[number][i].calls)
			print_diary(&diaries[number][i]);
}

static void start(struct job *job, unsigned number, uint64_t seed)
{
	*job = (struct job){ .seed = seed, .begin = now_ms() };
	memset(diaries[number], 0, sizeof(diaries[number]));
	job->pid = fork();
	if (job->pid == 0) {
		diary = diaries[number];
		setsid();
		child(seed);
	}
}

// False: it was killed long ago and is still there.
static bool watch(struct job *job, unsigned number, bool tell)
{
	uint64_t age = now_ms() - job->begin;

	if (waitpid(job->pid, NULL, WNOHANG) != 0) {
		if (tell) {
			complain("seed %lu:\n", (unsigned long)job->seed);
			print_diaries(number);
		}
		job->pid = 0;
		return true;
	}
	if (age > CHILD_MS && !job->killed) {
		kill(job->pid, SIGKILL);
		job->killed = true;
	}
	if (age < CHILD_MS + GONE_MS)
		return true;
	complain("sysfuzz: seed %lu: killed, but still there; last calls:\n",
		 (unsigned long)job->seed);
	print_diaries(number);
	return false;
}

// Follows no links: one to /proc/1/cwd led to the root, and /dev was unmounted.
static void empty_folder(const char *path, int depth)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		char name[600];

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(name, sizeof(name), "%.250s/%s", path, entry->d_name);
		if (unlink(name) == 0 || lstat(name, &st) != 0 || !S_ISDIR(st.st_mode))
			continue;
		while (umount2(name, MNT_DETACH) == 0)
			;
		if (depth < 4)
			empty_folder(name, depth + 1);
		rmdir(name);
	}
	if (dir)
		closedir(dir);
}

static unsigned long run(struct job *jobs, unsigned nr_jobs, uint64_t seed, uint64_t end, bool tell)
{
	unsigned long rounds = 0;
	unsigned running;

	do {
		running = 0;
		for (unsigned i = 0; i < nr_jobs; i++) {
			if (!jobs[i].pid && now_ms() < end) {
				if (rng_below(4) == 0)
					empty_folder(".", 0);
				if (rng_below(3) == 0)
					mkdir(rng_below(2) ? "a" : "d", 0777);
				mkdir("mnt", 0777);
				start(&jobs[i], i, seed + rounds++);
			}
			if (jobs[i].pid && !watch(&jobs[i], i, tell))
				exit(1);
			running += jobs[i].pid != 0;
		}
		usleep(2000);
	} while (running || now_ms() < end);
	empty_folder(".", 0);
	return rounds;
}

static void settle(void)
{
	usleep(300000); // orphans end, deferred frees happen
}

int main(int argc, char **argv)
{
	uint64_t seed = option(argc, argv, 's', 1), ms = option(argc, argv, 't', 5) * 1000;
	unsigned nr_jobs = (unsigned)option(argc, argv, 'j', 3);
	bool tell = !strcmp(argv[argc - 2], "-d");
	struct job jobs[JOBS_MAX] = { 0 };
	unsigned long rounds;
	long free_kb, objects;

	if (argc < 2 || chdir(argv[argc - 1]) != 0 || chmod(".", 0777) != 0 || nr_jobs > JOBS_MAX) {
		perror("sysfuzz: folder");
		return 2;
	}
	diaries = mmap(NULL, sizeof(*diaries) * JOBS_MAX, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rng_seed(seed);
	umask(0);
	rounds = run(jobs, nr_jobs, seed, now_ms() + ms / 3, tell);
	settle();
	free_kb = meminfo("MemFree");
	objects = meminfo("KernelObjects");
	rounds += run(jobs, nr_jobs, seed + rounds, now_ms() + ms - ms / 3, tell);
	settle();
	free_kb -= meminfo("MemFree");
	objects = meminfo("KernelObjects") - objects;
	printf("sysfuzz: %s seed %lu, %lu children, %ld kB and %ld objects more in use\n",
	       free_kb > LEAK_KB || objects > LEAK_OBJECTS ? "leak:" : "ok", (unsigned long)seed,
	       rounds, free_kb, objects);
	return free_kb > LEAK_KB || objects > LEAK_OBJECTS;
}
