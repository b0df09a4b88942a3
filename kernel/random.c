// SPDX-License-Identifier: MIT
//
// What: a ChaCha20 generator (RFC 8439, 2.3) that forgets: after each request the key is replaced
// by output that nobody has seen, so a key that leaks tells nothing of the past. Not here: a
// blocking pool, entropy estimates.
//
// Invariants:
//   I1  The first 32 bytes of each key stream become the next key and go nowhere else.
//   I2  Fresh entropy is mixed in by XOR, so a bad source cannot make the state worse.
// Locking: `lock` guards the state.
#include "kernel/random.h"

#include "kernel/lib/string.h"
#include "kernel/sched/lock.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/time.h"

#define CHACHA_WORDS  16
#define CHACHA_BYTES  64
#define KEY_WORDS     8
#define RDRAND_TRIES  10 // SDM 1, 7.3.17.1
#define RESEED_NS     1000000000ull
#define REQUEST_BYTES 512 // of one key stream

static struct spinlock lock = SPINLOCK_INIT(RANK_RANDOM);
static u32 key[KEY_WORDS]; // [lock]
static u64 seeded_ns;      // [lock]
static bool seeded;        // [lock]

static u32 rotl(u32 v, int n)
{
	return v << n | v >> (32 - n);
}

static void quarter_round(u32 *x, int a, int b, int c, int d)
{
	x[a] += x[b];
	x[d] = rotl(x[d] ^ x[a], 16);
	x[c] += x[d];
	x[b] = rotl(x[b] ^ x[c], 12);
	x[a] += x[b];
	x[d] = rotl(x[d] ^ x[a], 8);
	x[c] += x[d];
	x[b] = rotl(x[b] ^ x[c], 7);
}

static void chacha_block(const u32 *k, u32 counter, u32 *out)
{
	u32 in[CHACHA_WORDS] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	int i;

	memcpy(in + 4, k, sizeof(u32) * KEY_WORDS);
	in[12] = counter;
	memcpy(out, in, sizeof(in));
	for (i = 0; i < 10; i++) {
		quarter_round(out, 0, 4, 8, 12);
		quarter_round(out, 1, 5, 9, 13);
		quarter_round(out, 2, 6, 10, 14);
		quarter_round(out, 3, 7, 11, 15);
		quarter_round(out, 0, 5, 10, 15);
		quarter_round(out, 1, 6, 11, 12);
		quarter_round(out, 2, 7, 8, 13);
		quarter_round(out, 3, 4, 9, 14);
	}
	for (i = 0; i < CHACHA_WORDS; i++)
		out[i] += in[i];
}

static bool have_rdrand(void)
{
	return asm_cpuid(1, 0).ecx & BIT(30);
}

static REQUIRES(lock) void reseed(void)
{
	u64 word[KEY_WORDS / 2] = { asm_rdtsc(), time_wall_ns(), asm_rdtsc(), time_now_ns() };
	u64 fresh = 0;
	u32 mix[KEY_WORDS];
	int i, tries;

	for (i = 0; i < KEY_WORDS / 2 && have_rdrand(); i++) {
		for (tries = 0; tries < RDRAND_TRIES && !asm_rdrand(&fresh); tries++)
			asm_pause();
		word[i] ^= fresh;
	}
	memcpy(mix, word, sizeof(mix));
	for (i = 0; i < KEY_WORDS; i++)
		key[i] ^= mix[i]; // I2
	seeded = true;
	seeded_ns = time_now_ns();
}

static void random_some(u8 *buf, size_t bytes)
{
	u32 block[CHACHA_WORDS], k[KEY_WORDS], counter = 1;
	u64 flags = spin_lock_irqsave(&lock);

	if (!seeded || time_now_ns() - seeded_ns > RESEED_NS)
		reseed();
	memcpy(k, key, sizeof(k));
	chacha_block(k, 0, block);
	memcpy(key, block, sizeof(key)); // I1
	spin_unlock_irqrestore(&lock, flags);

	while (bytes) {
		size_t n = min(bytes, (size_t)CHACHA_BYTES);

		chacha_block(k, counter++, block);
		memcpy(buf, block, n);
		buf += n;
		bytes -= n;
	}
	memset(k, 0, sizeof(k));
	memset(block, 0, sizeof(block));
}

void random_bytes(void *buf, size_t bytes)
{
	u8 *at = buf;

	while (bytes) {
		size_t n = min(bytes, (size_t)REQUEST_BYTES);

		random_some(at, n);
		at += n;
		bytes -= n;
	}
}

u64 random_u64(void)
{
	u64 v;

	random_bytes(&v, sizeof(v));
	return v;
}
