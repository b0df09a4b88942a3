// SPDX-License-Identifier: MIT
//
// What: writes and scrolls the text screen by the registers of the CRT controller (IBM VGA: index
// at port 3d4h; 0ch/0dh start of the picture, 0eh/0fh cursor). On a machine without VGA the writes
// go nowhere.
//
// Text memory holds 204 rows of which 25 are shown. Scrolling moves the picture down a row; only at
// the end of the memory is it copied back. Access to text memory traps in every emulator, and
// moving 2,000 cells a line would dominate the boot time.
//
// Locking: the console's lock (kernel/console.c), the only caller.
#include "drivers/platform/vga.h"

#include "kernel/x86/asm.h"

#define COLUMNS     80
#define ROWS        25
#define MEMORY_ROWS (VGA_BYTES / 2 / COLUMNS)
#define ATTRIBUTE   0x0700 // light grey on black

enum { CRTC_INDEX = 0x3d4, CRTC_DATA = 0x3d5, CRTC_START = 0x0c, CRTC_CURSOR = 0x0e };

static volatile u16 *screen;
static unsigned top;         // first memory row that is shown
static unsigned row, column; // of the cursor; row counts from the beginning of the memory
static bool cleared;

static void clear_row(unsigned r)
{
	for (unsigned c = 0; c < COLUMNS; c++)
		screen[r * COLUMNS + c] = ATTRIBUTE | ' ';
}

// Two consecutive registers, high byte first.
static void crtc_write(u8 index, unsigned v)
{
	asm_outb(CRTC_INDEX, index);
	asm_outb(CRTC_DATA, (u8)(v >> 8));
	asm_outb(CRTC_INDEX, index + 1);
	asm_outb(CRTC_DATA, (u8)v);
}

static void new_line(void)
{
	column = 0;
	row++;
	if (row == MEMORY_ROWS) {
		for (unsigned i = 0; i < (ROWS - 1) * COLUMNS; i++)
			screen[i] = screen[(row - ROWS + 1) * COLUMNS + i];
		row = ROWS - 1;
		top = 0;
	}
	if (row >= top + ROWS)
		top = row - ROWS + 1;
	clear_row(row);
}

static void put_char(char c)
{
	if (c == '\n') {
		new_line();
	} else if (c == '\b') {
		column -= column > 0;
	} else if (c == '\r') {
		column = 0;
	} else {
		screen[row * COLUMNS + column] = ATTRIBUTE | (u8)c;
		if (++column == COLUMNS)
			new_line();
	}
}

void vga_write(const char *text, size_t len)
{
	if (!screen)
		return;
	for (size_t i = 0; i < len; i++)
		put_char(text[i]);
	crtc_write(CRTC_START, top * COLUMNS);
	crtc_write(CRTC_CURSOR, row * COLUMNS + column);
}

void vga_init(volatile void *window)
{
	screen = window;
	if (!screen || cleared)
		return;
	for (unsigned r = 0; r < ROWS; r++)
		clear_row(r);
	cleared = true;
}
