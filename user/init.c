// SPDX-License-Identifier: MIT
//
// What: process 1. Runs a shell on the console, again and again; collects orphans; switches off.
//
//      init         a shell on /dev/console; SIGUSR2 (poweroff), SIGTERM (reboot), SIGUSR1 (halt)
//      init exec    runs `sh /run/exec.sh` with the terminal untouched by output processing,
//                   reports "exit status N" in the kernel log and switches off: `make exec`
//
// The kernel has mounted all there is to mount and opened the console as descriptors 0 to 2.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SHELL       "/bin/sh"
#define BUSYBOX     "/bin/busybox"
#define EXEC_SCRIPT "/run/exec.sh"
#define RESPAWN_MIN 1 // seconds that a shell must live, or the next one has to wait
#define KILL_GRACE  1 // seconds between SIGTERM and SIGKILL at the end

static volatile sig_atomic_t wanted; // the signal that asks for the end

static void on_signal(int sig)
{
	wanted = sig;
}

// A line for the kernel's log.
__attribute__((format(printf, 1, 2))) static void kernel_log(const char *fmt, ...)
{
	char line[128];
	va_list ap;
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd < 0) {
		perror("init: /dev/kmsg");
		return;
	}
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(fd, line, strlen(line)) < 0)
		perror("init: /dev/kmsg");
	close(fd);
}

static void welcome(void)
{
	printf("\ndax64: a small kernel in which memory is the file interface. Files in /pmem are\n"
	       "mapped through page tables that the file system itself keeps, at the cost of one "
	       "store.\n"
	       "\n"
	       "  maptour /pmem/...   one file three ways: read, mmap, MAP_DAXVM\n"
	       "  cat /proc/pmem      the persistent memory; ls /proc for more\n"
	       "  poweroff            to leave; Ctrl-A x kills QEMU\n\n");
	fflush(stdout);
}

static pid_t start_shell(char *const argv[], bool session)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (session) {
		setsid();
		ioctl(STDIN_FILENO, TIOCSCTTY, 1);
	}
	execv(SHELL, argv);
	execv(BUSYBOX, argv);
	perror("init: " SHELL);
	_exit(127);
}

// Until `pid` has ended (its status) or the end is asked for (-1). Collects everybody else on the
// way.
static int wait_for(pid_t pid)
{
	int status;

	while (!wanted) {
		pid_t got = wait(&status);

		if (got == pid)
			return status;
		if (got < 0 && errno == ECHILD)
			pause();
	}
	return -1;
}

static void collect_until(time_t deadline)
{
	while (time(NULL) < deadline) {
		pid_t got = waitpid(-1, NULL, WNOHANG);

		if (got < 0)
			return; // all gone
		if (got == 0)
			usleep(10000);
	}
}

__attribute__((noreturn)) static void leave(int how)
{
	sync();
	kill(-1, SIGTERM);
	kill(-1, SIGHUP); // an interactive shell ignores SIGTERM
	collect_until(time(NULL) + KILL_GRACE);
	kill(-1, SIGKILL);
	collect_until(time(NULL) + KILL_GRACE);
	sync();
	reboot(how);
	perror("init: reboot");
	for (;;)
		pause();
}

// The same bytes come out as the program wrote.
static void raw_output(void)
{
	struct termios t;

	if (tcgetattr(STDOUT_FILENO, &t) == 0) {
		t.c_oflag &= ~(tcflag_t)OPOST;
		t.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDOUT_FILENO, TCSANOW, &t);
	}
}

__attribute__((noreturn)) static void run_script(void)
{
	char *const argv[] = { "sh", EXEC_SCRIPT, NULL };
	int status;

	raw_output();
	status = wait_for(start_shell(argv, true));
	tcdrain(STDOUT_FILENO);
	// As a shell counts: 128 + the signal that ended it.
	kernel_log("exit status %d\n", status < 0          ? 125
				       : WIFEXITED(status) ? WEXITSTATUS(status)
							   : 128 + WTERMSIG(status));
	leave(RB_POWER_OFF);
}

__attribute__((noreturn)) static void run_shells(void)
{
	char *const argv[] = { "-sh", NULL };

	welcome();
	for (;;) {
		time_t begin = time(NULL);

		wait_for(start_shell(argv, true));
		if (wanted == SIGUSR2)
			leave(RB_POWER_OFF);
		if (wanted == SIGTERM)
			leave(RB_AUTOBOOT);
		if (wanted == SIGUSR1)
			leave(RB_HALT_SYSTEM);
		if (time(NULL) - begin < RESPAWN_MIN)
			sleep(RESPAWN_MIN);
		printf("\nThe shell ended; here is another one. `poweroff` leaves.\n");
		fflush(stdout);
	}
}

// Names for busybox's tools, if the initial RAM disk came without.
static void install_tools(void)
{
	char *const argv[] = { BUSYBOX, "--install", "-s", "/bin", NULL };
	pid_t pid;

	if (access(SHELL, X_OK) == 0)
		return;
	pid = fork();
	if (pid == 0) {
		execv(BUSYBOX, argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGUSR2, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	install_tools();
	if (argc > 1 && strcmp(argv[1], "exec") == 0)
		run_script();
	run_shells();
}
