// SPDX-License-Identifier: MIT
//
// Whose a terminal is, and who may change that (credentials(7), ioctl_tty(2)). Each of these went
// wrong once:
//
//   steal      TIOCSCTTY with 1 takes a terminal away from its session: it was everybody's, not
//              root's alone.
//   two        the leader of a session that had a terminal could take a second one.
//   orphans    who is in the background, and nobody could continue him, may not change a terminal
//              (EIO): he could.
//   strangers  the terminal knows its foreground group by number. When the group had ended, and the
//              number had come to a group of another session, ^C, a change of size and the end of
//              the terminal's session were told to that one: SIGHUP ended it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tests/abi/tap.h"
#include "tests/abi/user.h"

static int open_terminal(void)
{
	int master;

	if (!on_linux())
		return open("/dev/ttyS1", O_RDWR | O_NOCTTY);
	master = posix_openpt(O_RDWR | O_NOCTTY); // stays open
	if (master < 0 || grantpt(master) || unlockpt(master))
		return -1;
	return open(ptsname(master), O_RDWR | O_NOCTTY);
}

static int terminal, second;

// ---- Whose it is --------------------------------------------------------------------------------

static int steal_as_user(void)
{
	int bad = become_user() || setsid() < 0;

	bad += may(ioctl(terminal, TIOCSCTTY, 0), EPERM, "take another session's terminal");
	bad += may(ioctl(terminal, TIOCSCTTY, 1), EPERM, "steal it");
	return bad;
}

static int steal_as_root(void)
{
	return setsid() < 0 || may(ioctl(terminal, TIOCSCTTY, 1), 0, "root steals it");
}

static int own(void)
{
	pid_t group;
	int bad = setsid() < 0;

	bad += may(ioctl(terminal, TIOCSCTTY, 0), 0, "take a terminal");
	bad += may(ioctl(terminal, TIOCSCTTY, 0), 0, "take it again");
	bad += may(ioctl(second, TIOCSCTTY, 1), EPERM, "take a second one");
	bad += may(ioctl(terminal, TIOCGPGRP, &group), 0, "ask for its group");
	bad += in_child(steal_as_user) != 0;
	bad += may(ioctl(terminal, TIOCGPGRP, &group), 0, "it is still its own");
	bad += in_child(steal_as_root) != 0;
	bad += may(ioctl(terminal, TIOCGPGRP, &group), ENOTTY, "not any more");
	return bad;
}

// ---- The background -----------------------------------------------------------------------------

// Nobody could continue the group: its members' parents are in other sessions.
static int as_orphan(pid_t parent)
{
	struct termios t;
	pid_t group = getpgrp();
	int bad = 0;

	while (getppid() == parent)
		usleep(1000);
	bad += may(tcgetattr(terminal, &t), 0, "look at the terminal");
	bad += may(tcsetattr(terminal, TCSANOW, &t), EIO, "change it");
	bad += may(ioctl(terminal, TIOCSPGRP, &group), ENOTTY, "come to the foreground");
	signal(SIGTTOU, SIG_IGN);
	bad += may(tcsetattr(terminal, TCSANOW, &t), 0, "change it, SIGTTOU ignored");
	return bad;
}

static int lead_orphan(void)
{
	int result[2], bad = setsid() < 0 || pipe(result);
	pid_t pid;

	bad += may(ioctl(terminal, TIOCSCTTY, 0), 0, "take a terminal");
	pid = fork();
	if (pid == 0) {
		pid_t parent = getpid();

		setpgid(0, 0);
		if (fork())
			_exit(0);
		bad = as_orphan(parent);
		(void)!write(result[1], &bad, sizeof(bad));
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	close(result[1]);
	if (bad || read(result[0], &bad, sizeof(bad)) != sizeof(bad))
		return 1;
	return bad;
}

// ---- Strangers ----------------------------------------------------------------------------------

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static int be_stranger(int from_leader, int to_leader)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	char byte;

	sigaction(SIGWINCH, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	(void)!read(from_leader, &byte, 1); // not the leader of the group any more
	if (setsid() != getpid())
		return 1;
	(void)!write(to_leader, "", 1);
	while (read(from_leader, &byte, 1) > 0) // until the other session has ended
		continue;
	usleep(20000);
	if (signals)
		printf("# %d signals came from another session's terminal\n", (int)signals);
	fflush(stdout);
	return signals != 0;
}

// The group's number becomes that of a session of its own, as a new process's may be.
static int lead_stranger(void)
{
	struct winsize size = { .ws_row = 7, .ws_col = 70 };
	int down[2], up[2], result[2], bad = setsid() < 0 || pipe(down) || pipe(up) || pipe(result);
	char byte;
	pid_t pid, leader;

	signal(SIGTTOU, SIG_IGN);
	leader = fork();
	if (leader) {
		close(down[1]);
		close(result[1]);
		waitpid(leader, NULL, 0);
		return read(result[0], &bad, sizeof(bad)) != sizeof(bad) || bad;
	}
	setsid();
	bad += may(ioctl(terminal, TIOCSCTTY, 0), 0, "take a terminal");
	pid = fork();
	if (pid == 0) {
		close(down[1]);
		bad += be_stranger(down[0], up[1]);
		(void)!write(result[1], &bad, sizeof(bad));
		_exit(0);
	}
	setpgid(pid, pid);
	bad += may(tcsetpgrp(terminal, pid), 0, "it comes to the foreground");
	bad += may(setpgid(pid, getpid()), 0, "its group ends");
	(void)!write(down[1], "", 1);
	(void)!read(up[0], &byte, 1);
	bad += may(ioctl(terminal, TIOCSWINSZ, &size), 0, "change the size");
	_exit(bad); // which ends the terminal's session
}

int main(void)
{
	if (getuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	terminal = open_terminal();
	second = on_linux() ? open_terminal() : open("/dev/ttyS0", O_RDWR | O_NOCTTY);
	if (terminal < 0 || second < 0) {
		printf("1..0 # SKIP needs two terminals\n");
		return 0;
	}
	is(in_child(own), 0, "a terminal is its session's");
	is(in_child(lead_orphan), 0, "in the background, without anybody who could continue it");
	if (!on_linux()) // which keeps the number, and tells whoever has it
		is(in_child(lead_stranger), 0, "its signals go to its own session");
	return tap_done();
}
