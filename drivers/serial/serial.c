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
	UART_FCR = 2,  // write; reading gives IIR
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
#define MCR_LOOP         0x10 // the receiver is taken off the line
#define LSR_RECEIVED     0x01
#define LSR_SEND_EMPTY   0x20
#define DIVISOR_115200   1

#define IIR_FIFO   0xc0 // the 16-byte FIFOs work
#define FIFO_BYTES 16

// A byte takes 87 us. A port that is not ready for much longer has nobody who takes what it sends
// (flow control; under an emulator, a pipe that is full).
#define READY_SPINS 2000
#define STALL_TRIES 500 // of READY_SPINS: about a second

static struct uart {
	u16 base;
	u8 irq;
	u8 fifo; // bytes that fit when it is ready to send
	bool present;
	bool stalled; // the log gave up waiting for it; a hint, not locked
	u8 nr_early;
	u8 early[FIFO_BYTES]; // received before there was a receiver
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

static bool ready_to_send(const struct uart *u)
{
	return asm_inb(u->base + UART_LSR) & LSR_SEND_EMPTY;
}

static bool wait_ready(const struct uart *u)
{
	for (unsigned spins = 0; spins < READY_SPINS; spins++) {
		if (ready_to_send(u))
			return true;
		asm_pause();
	}
	return false;
}

// What was typed while the machine started would go with the FIFOs that are cleared. The port is in
// loopback mode: nothing comes after it until they are.
static void keep_early_bytes(struct uart *u)
{
	while (u->nr_early < FIFO_BYTES && (asm_inb(u->base + UART_LSR) & LSR_RECEIVED))
		u->early[u->nr_early++] = asm_inb(u->base + UART_DATA);
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

size_t serial_try_write(unsigned port, const char *bytes, size_t len)
{
	const struct uart *u = &uart[port];
	size_t done = 0;

	if (!serial_present(port))
		return len;
	while (done < len && wait_ready(u))
		for (unsigned n = 0; n < u->fifo && done < len; n++)
			asm_outb(u->base + UART_DATA, (u8)bytes[done++]);
	return done;
}

void serial_write(unsigned port, const char *bytes, size_t len)
{
	unsigned patience;

	if (!serial_present(port))
		return;
	patience = uart[port].stalled ? 1 : STALL_TRIES;
	while (len && patience) {
		size_t n = serial_try_write(port, bytes, len);

		bytes += n;
		len -= n;
		patience = n ? STALL_TRIES : patience - 1;
	}
	uart[port].stalled = len > 0;
}

int serial_set_receiver(unsigned port, void (*fn)(u8 byte))
{
	struct uart *u;
	u64 flags;
	int err;

	if (!serial_present(port))
		return -ENODEV;
	u = &uart[port];
	u->receive = fn;
	err = irq_register(u->irq, receive_interrupt, u);
	if (err)
		return err;
	flags = asm_irq_save();
	for (unsigned i = 0; i < u->nr_early; i++)
		fn(u->early[i]);
	asm_irq_restore(flags);
	asm_outb(u->base + UART_IER, IER_RECEIVED);
	return 0;
}

void serial_init(void)
{
	for (struct uart *u = uart; u < uart + SERIAL_PORTS; u++) {
		if (!probe(u))
			continue;
		asm_outb(u->base + UART_MCR, MCR_LOOP);
		keep_early_bytes(u);
		asm_outb(u->base + UART_IER, 0);
		asm_outb(u->base + UART_LCR, LCR_DLAB);
		asm_outb(u->base + UART_DATA, DIVISOR_115200);
		asm_outb(u->base + UART_IER, 0);
		asm_outb(u->base + UART_LCR, LCR_8N1);
		asm_outb(u->base + UART_FCR, FCR_ENABLE_CLEAR);
		asm_outb(u->base + UART_MCR, MCR_DTR_RTS_OUT2);
		u->fifo = (asm_inb(u->base + UART_FCR) & IIR_FIFO) == IIR_FIFO ? FIFO_BYTES : 1;
		u->present = true;
	}
}
