// SPDX-License-Identifier: MIT
//
// The line discipline: what is typed, what the screen shows, what a program reads.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/tty_ldisc.h"

#define CTRL(c) ((c)&0x1f)

static struct ldisc ld;
static char screen[65536];
static size_t shown;

static void echo(void *ctx, const char *bytes, size_t len)
{
	(void)ctx;
	if (shown + len < sizeof(screen)) {
		memcpy(screen + shown, bytes, len);
		shown += len;
		screen[shown] = 0;
	}
}

static void clear_screen(void)
{
	shown = 0;
	screen[0] = 0;
}

static int start(void **state)
{
	(void)state;
	clear_screen();
	ldisc_init(&ld, echo, NULL);
	return 0;
}

// Types the keys; the last signal that came of it.
static int type(const char *keys)
{
	int sig = 0, s;

	for (; *keys; keys++) {
		assert_true(ldisc_room(&ld));
		s = ldisc_input(&ld, (u8)*keys);
		sig = s ? s : sig;
	}
	return sig;
}

static void expect_read(const char *text)
{
	char buf[256];
	bool end;
	size_t n = ldisc_read(&ld, (u8 *)buf, sizeof(buf) - 1, &end);

	buf[n] = 0;
	assert_string_equal(buf, text);
}

static void expect_screen(const char *text)
{
	assert_string_equal(screen, text);
	clear_screen();
}

static void set_local(u32 on, u32 off)
{
	struct termios t = ld.t;

	t.lflag = (t.lflag | on) & ~off;
	ldisc_set_termios(&ld, &t);
}

static void test_line(void **state)
{
	(void)state;
	type("ls -l");
	assert_false(ldisc_has_input(&ld));
	assert_int_equal(ldisc_readable(&ld), 0);
	type("\r");
	assert_true(ldisc_has_input(&ld));
	assert_int_equal(ldisc_readable(&ld), 6);
	expect_read("ls -l\n");
	assert_false(ldisc_has_input(&ld));
	expect_screen("ls -l\r\n");
}

static void test_reads_stop_at_lines(void **state)
{
	char buf[8];
	bool end;

	(void)state;
	type("one\rtwo\rthr");
	expect_read("one\n");
	assert_int_equal(ldisc_read(&ld, (u8 *)buf, 2, &end), 2);
	assert_false(end);
	assert_memory_equal(buf, "tw", 2);
	assert_int_equal(ldisc_read(&ld, (u8 *)buf, 8, &end), 2);
	assert_true(end);
	assert_memory_equal(buf, "o\n", 2);
	assert_int_equal(ldisc_read(&ld, (u8 *)buf, 8, &end), 0);
	type("ee\r");
	expect_read("three\n");
}

static void test_erase(void **state)
{
	(void)state;
	type("abc\x7f\x7f");
	expect_screen("abc\b \b\b \b");
	type("\x7f\x7f\x7f");
	expect_screen("\b \b");
	type("x\r");
	expect_read("x\n");
}

static void test_erase_control_and_tab(void **state)
{
	(void)state;
	type("\x01");
	expect_screen("^A");
	type("\x7f");
	expect_screen("\b \b\b \b");
	type("ab\t");
	clear_screen();
	type("\x7f");
	expect_screen("\b\b\b\b\b\b");
	type("\r");
	expect_read("ab\n");
}

static void test_word_and_line_kill(void **state)
{
	(void)state;
	type("cat /etc/passwd  \x17");
	type("\r");
	expect_read("cat /etc/\n");
	type("rm -rf /\x15"
	     "ls\r");
	expect_read("ls\n");
	clear_screen();
	type("abc\x15");
	expect_screen("abc\b \b\b \b\b \b");
}

static void test_utf8_erase(void **state)
{
	struct termios t = ld.t;

	(void)state;
	t.iflag |= IUTF8;
	ldisc_set_termios(&ld, &t);
	type("a\xc3\xa4");
	clear_screen();
	type("\x7f");
	expect_screen("\b \b");
	type("\r");
	expect_read("a\n");
}

static void test_end_of_file(void **state)
{
	char buf[8];
	bool end;

	(void)state;
	type("\x04");
	assert_true(ldisc_has_input(&ld));
	assert_int_equal(ldisc_readable(&ld), 0);
	assert_int_equal(ldisc_read(&ld, (u8 *)buf, 8, &end), 0);
	assert_true(end);
	assert_false(ldisc_has_input(&ld));
	type("abc\x04");
	expect_read("abc");
	assert_false(ldisc_has_input(&ld));
	// ^D behind exactly as many bytes as are asked for is no end of file for the next read.
	type("abc\x04"
	     "d\r");
	assert_int_equal(ldisc_read(&ld, (u8 *)buf, 3, &end), 3);
	expect_read("d\n");
	assert_string_equal(screen, "abcabcd\r\n");
}

static void test_signals(void **state)
{
	(void)state;
	assert_int_equal(type("sleep 1\r junk \x03"), LDISC_SIGINT);
	assert_string_equal(screen, "sleep 1\r\n junk ^C");
	assert_false(ldisc_has_input(&ld));
	assert_int_equal(type("\x1c"), LDISC_SIGQUIT);
	assert_int_equal(type("\x1a"), LDISC_SIGTSTP);
	set_local(NOFLSH, 0);
	type("keep\r");
	assert_int_equal(type("\x03"), LDISC_SIGINT);
	expect_read("keep\n");
	set_local(0, ISIG);
	assert_int_equal(type("\x03\r"), 0);
	expect_read("\x03\n");
}

static void test_literal_next(void **state)
{
	(void)state;
	assert_int_equal(type("a\x16\x03\x16\x04z\r"), 0);
	expect_read("a\x03\x04z\n");
}

static void test_no_echo(void **state)
{
	(void)state;
	set_local(0, ECHO);
	type("secret\x7f\r");
	expect_read("secre\n");
	expect_screen("");
	set_local(ECHONL, 0);
	type("x\r");
	expect_screen("\r\n");
}

static void test_raw(void **state)
{
	char buf[8];
	bool end;

	(void)state;
	type("part");
	set_local(0, ICANON | ECHO | ISIG);
	expect_read("part"); // what was being edited is there at once
	type("\x03\x04\x7f\r");
	assert_int_equal(ldisc_readable(&ld), 4);
	assert_int_equal(ldisc_read(&ld, (u8 *)buf, 2, &end), 2);
	assert_memory_equal(buf, "\x03\x04", 2);
	expect_read("\x7f\n");
	type("xy");
	set_local(ICANON, 0);
	assert_true(ldisc_has_input(&ld)); // typed before: a line of its own
	expect_read("xy");
}

// Each change to lines put a mark behind what had been typed before, whether there was one or not.
// A program that went to and fro filled the ring with them until it looked empty, while lines were
// still counted: every read was an end of file from then on.
static void test_to_and_fro(void **state)
{
	(void)state;
	set_local(0, ICANON);
	type("xy");
	for (unsigned n = 0; n < 3 * LDISC_READY; n++) {
		set_local(ICANON, 0);
		set_local(0, ICANON);
	}
	assert_int_equal(ldisc_readable(&ld), 2);
	set_local(ICANON, 0);
	expect_read("xy");
	assert_false(ldisc_has_input(&ld));
	type("next\r");
	expect_read("next\n");
}

static void test_cr_nl(void **state)
{
	struct termios t = ld.t;

	(void)state;
	t.iflag = 0;
	ldisc_set_termios(&ld, &t);
	type("a\rb\n");
	expect_read("a\rb\n");
	t.iflag = IGNCR;
	ldisc_set_termios(&ld, &t);
	type("a\rb\n");
	expect_read("ab\n");
	t.iflag = INLCR;
	t.lflag &= ~ICANON;
	ldisc_set_termios(&ld, &t);
	type("a\n");
	expect_read("a\r");
}

static size_t put(const char *text, char *out)
{
	size_t n = 0;

	for (; *text; text++)
		n += ldisc_output(&ld, (u8)*text, out + n);
	out[n] = 0;
	return n;
}

static void test_output(void **state)
{
	char out[64];
	struct termios t = ld.t;

	(void)state;
	put("a\nb\r\n", out);
	assert_string_equal(out, "a\r\nb\r\r\n");
	t.oflag = OPOST | ONLCR | XTABS;
	ldisc_set_termios(&ld, &t);
	put("ab\tc\n\td", out);
	assert_string_equal(out, "ab      c\r\n        d");
	t.oflag = 0;
	ldisc_set_termios(&ld, &t);
	put("a\nb\t", out);
	assert_string_equal(out, "a\nb\t");
}

static void test_stop_and_start(void **state)
{
	(void)state;
	type("a\x13");
	assert_true(ld.stopped);
	type("b\x11");
	assert_false(ld.stopped);
	type("\r");
	expect_read("ab\n");
	type("\x13\x03"); // ^C lets output go on: who is stuck in it must see the signal
	assert_false(ld.stopped);
}

// A line that is too long: 4095 keys are kept, the others ring the bell, Enter still ends it.
static void test_long_line(void **state)
{
	static u8 buf[LDISC_LINE + 10];
	bool end;

	(void)state;
	for (unsigned k = 0; k < LDISC_LINE + 100; k++) {
		assert_true(ldisc_room(&ld));
		ldisc_input(&ld, 'x');
	}
	assert_int_equal(screen[shown - 1], '\a');
	type("\r");
	assert_int_equal(ldisc_read(&ld, buf, sizeof(buf), &end), LDISC_LINE);
	assert_true(end);
	assert_int_equal(buf[LDISC_LINE - 1], '\n');
}

// A paste that nobody reads: it stops at a bound, nothing that was taken in is lost.
static void test_paste(void **state)
{
	unsigned lines = 0;
	u8 buf[16];
	bool end;

	(void)state;
	while (ldisc_room(&ld)) {
		type("0123456\r");
		assert_true(++lines < 2000);
	}
	assert_true(lines > 500);
	while (ldisc_has_input(&ld)) {
		assert_int_equal(ldisc_read(&ld, buf, sizeof(buf), &end), 8);
		assert_memory_equal(buf, "0123456\n", 8);
		lines--;
	}
	assert_int_equal(lines, 0);
	set_local(0, ICANON);
	while (ldisc_room(&ld))
		ldisc_input(&ld, 'r');
	assert_true(ldisc_readable(&ld) > LDISC_READY / 2);
}

// Any keys in any mode: room is kept, nothing runs over (ASan watches), reads end.
static void test_random_keys(void **state)
{
	u32 seed = 12345;
	u8 buf[300];
	bool end;

	(void)state;
	for (unsigned k = 0; k < 400000; k++) {
		seed = seed * 1664525u + 1013904223u;
		if (ldisc_room(&ld))
			ldisc_input(&ld, (u8)(seed >> 24));
		if ((seed >> 8) % 997 == 0)
			ldisc_read(&ld, buf, (seed >> 16) % sizeof(buf), &end);
		if ((seed >> 8) % 4999 == 0)
			set_local(seed >> 20 & (ICANON | ECHO | ECHOE | ISIG | IEXTEN | NOFLSH),
				  seed >> 12 & (ICANON | ECHO | ECHOE | ISIG | IEXTEN | NOFLSH));
		assert_true(ld.line_len < LDISC_LINE);
		assert_true(ld.head < LDISC_READY && ld.tail < LDISC_READY);
		shown = 0;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_line, start),
		cmocka_unit_test_setup(test_reads_stop_at_lines, start),
		cmocka_unit_test_setup(test_erase, start),
		cmocka_unit_test_setup(test_erase_control_and_tab, start),
		cmocka_unit_test_setup(test_word_and_line_kill, start),
		cmocka_unit_test_setup(test_utf8_erase, start),
		cmocka_unit_test_setup(test_end_of_file, start),
		cmocka_unit_test_setup(test_signals, start),
		cmocka_unit_test_setup(test_literal_next, start),
		cmocka_unit_test_setup(test_no_echo, start),
		cmocka_unit_test_setup(test_raw, start),
		cmocka_unit_test_setup(test_to_and_fro, start),
		cmocka_unit_test_setup(test_cr_nl, start),
		cmocka_unit_test_setup(test_output, start),
		cmocka_unit_test_setup(test_stop_and_start, start),
		cmocka_unit_test_setup(test_long_line, start),
		cmocka_unit_test_setup(test_paste, start),
		cmocka_unit_test_setup(test_random_keys, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
