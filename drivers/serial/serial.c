// SPDX-License-Identifier: MIT
//
// What: the two PC serial ports (National Semiconductor PC16550D data sheet, section 8: registers).
//
// Not here: which port carries the log (kernel/console.c), the line discipline (fs/tty.c).
//
// Locking: none. serial_init() runs alone on the boot CPU; afterwards the table is constant but for
// `receive`, which is set before the port's interrupt is enabled.
#include "drivers/serial/serial.h"

#include "kernel/lib/errno.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/trap.h"

enum uart_register {
	UART_DATA = 0, // divisor low while LCR_DLAB
	UART_IER = 1,  // divisor high while LCR_DLAB
	UART_FCR = 2,  // write
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_SCRATCH = 7,
};

#define IER_RECEIVED     0x01
#define FCR_ENABLE_CLEAR 0x07
#define LCR_8N1          0x03
#define LCR_DLAB         0x80
#define MCR_DTR_RTS_OUT2 0x0b // OUT2 gates the interrupt line on PCs
#define LSR_RECEIVED     0x01
#define LSR_SEND_EMPTY   0x20
#define DIVISOR_115200   1

// A real port needs 87 us a byte at 115200; one that takes longer is broken and not waited for.
#define SEND_SPINS 100000

static struct uart {
	u16 base;
	u8 irq;
	bool present;
	void (*receive)(u8 byte);
} uart[SERIAL_PORTS] = {
	{ .base = 0x3f8, .irq = 4 },
	{ .base = 0x2f8, .irq = 3 },
};

// An absent port reads as all ones, so its scratch register does not remember.
static bool probe(const struct uart *u)
{
	asm_outb(u->base + UART_SCRATCH, 0x5a);
	return asm_inb(u->base + UART_SCRATCH) == 0x5a;
}

static void send(struct uart *u, u8 byte)
{
	unsigned spins = 0;

	while (!(asm_inb(u->base + UART_LSR) & LSR_SEND_EMPTY)) {
		if (++spins == SEND_SPINS)
			return;
		asm_pause();
	}
	asm_outb(u->base + UART_DATA, byte);
}

static void receive_interrupt(void *arg)
{
	struct uart *u = arg;

	while (asm_inb(u->base + UART_LSR) & LSR_RECEIVED)
		u->receive(asm_inb(u->base + UART_DATA));
}

bool serial_present(unsigned port)
{
	return port < SERIAL_PORTS && uart[port].present;
}

void serial_write(unsigned port, const char *bytes, size_t len)
{
	if (!serial_present(port))
		return;
	for (size_t i = 0; i < len; i++)
		send(&uart[port], (u8)bytes[i]);
}

int serial_set_receiver(unsigned port, void (*fn)(u8 byte))
{
	struct uart *u;
	int err;

	if (!serial_present(port))
		return -ENODEV;
	u = &uart[port];
	u->receive = fn;
	err = irq_register(u->irq, receive_interrupt, u);
	if (err)
		return err;
	asm_outb(u->base + UART_IER, IER_RECEIVED);
	return 0;
}

void serial_init(void)
{
	for (struct uart *u = uart; u < uart + SERIAL_PORTS; u++) {
		if (!probe(u))
			continue;
		asm_outb(u->base + UART_IER, 0);
		asm_outb(u->base + UART_LCR, LCR_DLAB);
		asm_outb(u->base + UART_DATA, DIVISOR_115200);
		asm_outb(u->base + UART_IER, 0);
		asm_outb(u->base + UART_LCR, LCR_8N1);
		asm_outb(u->base + UART_FCR, FCR_ENABLE_CLEAR);
		asm_outb(u->base + UART_MCR, MCR_DTR_RTS_OUT2);
		u->present = true;
	}
}
