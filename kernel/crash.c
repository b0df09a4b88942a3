// SPDX-License-Identifier: MIT
//
// What: crashes for tests of the panic path (tests/system). Each does for real what it claims: a
// panic that was only simulated would not prove that the stacks, the NMI and the unwinder work.
#include "kernel/crash.h"

#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/time.h"

static void crash_panic(void)
{
	panic("asked to by crash=panic");
}

static void crash_null(void)
{
	u32 *volatile p = (u32 *)8;

	WRITE_ONCE(*p, 1);
}

static u64 recurse(volatile u64 *depth)
{
	volatile u64 here = *depth + 1;

	return here == BIT(40) ? 0 : recurse(&here) + here; // no stack is that deep
}

static void crash_stack(void)
{
	volatile u64 depth = 0;

	recurse(&depth);
}

static void in_interrupt(void)
{
	time_set_tick(NULL);
	panic("asked to by crash=irq");
}

static void crash_irq(void)
{
	time_set_tick(in_interrupt);
	udelay(1000000);
}

static void crash_exec(void)
{
	static u8 code[] = { 0xc3 }; // ret
	void (*fn)(void);
	void *p = code;

	memcpy(&fn, &p, sizeof(fn));
	fn();
}

// With interrupts off: only an NMI reaches it.
static void crash_hang(void)
{
	log_info("crash: hanging");
	asm_cli();
	for (;;)
		asm_pause();
}

static const struct {
	const char *kind;
	void (*fn)(void);
} kinds[] = {
	{ "panic", crash_panic }, { "null", crash_null }, { "stack", crash_stack },
	{ "irq", crash_irq },     { "exec", crash_exec }, { "hang", crash_hang },
};

void crash_if_asked(void)
{
	char kind[16];

	if (!bootparam_get("crash", kind, sizeof(kind)))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			kinds[i].fn();
	log_err("crash: '%s' did not crash", kind);
}
