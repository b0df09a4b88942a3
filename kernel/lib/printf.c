// SPDX-License-Identifier: MIT
//
// What: formatting into a buffer, without allocation, locks or state: it must work inside a panic.
#include "kernel/lib/printf.h"

#include "kernel/lib/string.h"

struct out {
	char *buf;
	size_t size;
	size_t len; // of the whole text, also what did not fit
	va_list ap; // arguments not yet used
};

struct spec {
	bool left, zero, plus, space, alt, upper;
	int width;
	int precision; // -1: not given
	int bytes;     // size of the integer argument
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_repeated(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_string(struct out *o, const struct spec *sp, const char *s)
{
	int len;

	if (!s)
		s = "(null)";
	len = (int)(sp->precision >= 0 ? strnlen(s, (size_t)sp->precision) : strlen(s));
	if (!sp->left)
		put_repeated(o, ' ', sp->width - len);
	for (int i = 0; i < len; i++)
		put(o, s[i]);
	if (sp->left)
		put_repeated(o, ' ', sp->width - len);
}

// Layout of a number: [spaces] [prefix] [zeros] digits [spaces].
static void put_number(struct out *o, const struct spec *sp, u64 value, unsigned base,
		       const char *prefix)
{
	const char *digits = sp->upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char text[24];
	int n = 0, zeros, pad;

	for (u64 v = value; v || (n == 0 && sp->precision != 0); v /= base)
		text[n++] = digits[v % base];
	zeros = max(sp->precision - n, 0);
	pad = sp->width - n - zeros - (int)strlen(prefix);
	if (sp->zero && !sp->left && sp->precision < 0) {
		zeros += max(pad, 0);
		pad = 0;
	}
	if (!sp->left)
		put_repeated(o, ' ', pad);
	while (*prefix)
		put(o, *prefix++);
	put_repeated(o, '0', zeros);
	while (n)
		put(o, text[--n]);
	if (sp->left)
		put_repeated(o, ' ', pad);
}

static const char *parse_flags(const char *f, struct spec *sp)
{
	for (;; f++) {
		switch (*f) {
		case '-': sp->left = true; break;
		case '0': sp->zero = true; break;
		case '+': sp->plus = true; break;
		case ' ': sp->space = true; break;
		case '#': sp->alt = true; break;
		default: return f;
		}
	}
}

static const char *parse_int(const char *f, int *out)
{
	*out = 0;
	while (*f >= '0' && *f <= '9')
		*out = *out * 10 + (*f++ - '0');
	return f;
}

static const char *parse_length(const char *f, struct spec *sp)
{
	sp->bytes = sizeof(int);
	if (*f == 'h') {
		sp->bytes = *++f == 'h' ? 1 : 2;
		return sp->bytes == 1 ? f + 1 : f;
	}
	if (*f == 'l' || *f == 'z' || *f == 't' || *f == 'j') {
		sp->bytes = 8;
		f += f[0] == 'l' && f[1] == 'l' ? 2 : 1;
	}
	return f;
}

static u64 truncate_unsigned(u64 v, int bytes)
{
	return bytes == 8 ? v : v & (BIT(bytes * 8) - 1);
}

static s64 truncate_signed(u64 v, int bytes)
{
	unsigned shift = 64 - (unsigned)bytes * 8;

	return (s64)(v << shift) >> shift;
}

static void put_signed(struct out *o, const struct spec *sp, u64 raw)
{
	s64 v = truncate_signed(raw, sp->bytes);

	if (v < 0)
		put_number(o, sp, 0 - (u64)v, 10, "-");
	else
		put_number(o, sp, (u64)v, 10, sp->plus ? "+" : sp->space ? " " : "");
}

static int parse_number_or_star(const char **f, struct out *o)
{
	int n;

	if (**f == '*') {
		++*f;
		return va_arg(o->ap, int);
	}
	*f = parse_int(*f, &n);
	return n;
}

// What stands between "%" and the conversion letter. Returns the letter's place.
static const char *parse_spec(const char *f, struct spec *sp, struct out *o)
{
	f = parse_flags(f, sp);
	sp->width = parse_number_or_star(&f, o);
	if (sp->width < 0) {
		sp->left = true;
		sp->width = -sp->width;
	}
	if (*f == '.') {
		f++;
		sp->precision = parse_number_or_star(&f, o);
	}
	f = parse_length(f, sp);
	sp->upper = *f == 'X';
	return f;
}

static u64 next_int(struct out *o, const struct spec *sp)
{
	return sp->bytes == 8 ? va_arg(o->ap, u64) : va_arg(o->ap, unsigned);
}

static u64 next_unsigned(struct out *o, const struct spec *sp)
{
	return truncate_unsigned(next_int(o, sp), sp->bytes);
}

// False: `letter` is no conversion that we know.
static bool put_conversion(struct out *o, const struct spec *sp, char letter)
{
	char text[2] = { '\0', '\0' };
	u64 v;

	switch (letter) {
	case 'd':
	case 'i': put_signed(o, sp, next_int(o, sp)); return true;
	case 'u': put_number(o, sp, next_unsigned(o, sp), 10, ""); return true;
	case 'o': put_number(o, sp, next_unsigned(o, sp), 8, ""); return true;
	case 'x':
	case 'X':
		v = next_unsigned(o, sp);
		put_number(o, sp, v, 16, !sp->alt || !v ? "" : sp->upper ? "0X" : "0x");
		return true;
	case 'p': put_number(o, sp, (u64)va_arg(o->ap, void *), 16, "0x"); return true;
	case 'c':
		text[0] = (char)va_arg(o->ap, int);
		put_string(o, sp, text);
		return true;
	case 's': put_string(o, sp, va_arg(o->ap, const char *)); return true;
	case '%': put(o, '%'); return true;
	default: return false;
	}
}

size_t kvsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = { .buf = buf, .size = size };

	va_copy(o.ap, ap);
	for (const char *f = fmt; *f; f++) {
		struct spec sp = { .precision = -1 };
		const char *percent = f;

		if (*f != '%') {
			put(&o, *f);
			continue;
		}
		f = parse_spec(f + 1, &sp, &o);
		if (*f && put_conversion(&o, &sp, *f))
			continue;
		f = percent; // shown as it stands
		put(&o, '%');
	}
	va_end(o.ap);
	if (size)
		buf[min(o.len, size - 1)] = '\0';
	return o.len;
}

size_t ksnprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = kvsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
