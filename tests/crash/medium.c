// SPDX-License-Identifier: MIT
//
// What: the two images of the explorer. `live` is where operations run; `scratch` is where crash
// states are built and tried. Whatever happens to either is undone line by line, newest first, so
// that no state costs a copy of an image.
// Not here: which stores are pending at a crash point (state.c).
#include "tests/crash/crash.h"

struct medium live, scratch;
u32 medium_cpu;
void (*medium_at)(enum host_pm_kind kind, u32 site);

static struct medium *current;

static void *grown(void *p, u64 need, u64 *room, size_t each)
{
	if (need <= *room)
		return p;
	*room = max(need, *room ? *room * 2 : 1024);
	p = realloc(p, *room * each);
	ptfs_assert(p);
	return p;
}

static void undo_note(struct medium *m, u64 off, u64 len)
{
	struct undo *u = &m->undo;

	for (u64 at = ALIGN_DOWN(off, LINE_BYTES); at < off + len; at += LINE_BYTES) {
		u->line = grown(u->line, u->n + 1, &u->room, sizeof(*u->line));
		u->line[u->n].off = at;
		memcpy(u->line[u->n++].old, m->image.map + at, LINE_BYTES);
	}
}

void medium_rollback(struct medium *m, u64 mark)
{
	while (m->undo.n > mark) {
		m->undo.n--;
		memcpy(m->image.map + m->undo.line[m->undo.n].off, m->undo.line[m->undo.n].old,
		       LINE_BYTES);
	}
}

void medium_poke(struct medium *m, u64 off, u64 value)
{
	undo_note(m, off, 8);
	memcpy(m->image.map + off, &value, 8);
}

u64 medium_word(const struct medium *m, u64 off)
{
	u64 value;

	memcpy(&value, m->image.map + off, 8);
	return value;
}

void trace_add(struct trace *t, const struct host_pm_event *e, u32 site, u32 cpu)
{
	struct event *to;

	t->event = grown(t->event, t->n + 1, &t->room, sizeof(*t->event));
	to = &t->event[t->n++];
	*to = (struct event){
		.kind = e->kind, .site = site, .cpu = cpu, .off = e->off, .len = e->len
	};
	if (!e->data)
		return;
	t->bytes = grown(t->bytes, t->used + e->len, &t->bytes_room, 1);
	to->data = t->used;
	memcpy(t->bytes + t->used, e->data, e->len);
	t->used += e->len;
}

static void note(void *ctx, const struct host_pm_event *e)
{
	bool store = e->kind == HOST_PM_STORE || e->kind == HOST_PM_NT;
	u32 site = store || !current->trace ? 0 : site_here();

	(void)ctx;
	if (medium_at)
		medium_at(e->kind, site);
	if (store)
		undo_note(current, e->off, e->len);
	if (!current->trace)
		return;
	if (!store) {
		mutation_pass(site);
		if (site_is_off(site))
			return;
	}
	trace_add(current->trace, e, site, medium_cpu);
}

void medium_use(struct medium *m, struct trace *t)
{
	current = m;
	m->trace = t;
	host_image_activate(&m->image);
}

static void scratch_make(u64 base)
{
	host_image_copy(&scratch.image, live.image.map, live.image.bytes, base);
	medium_use(&live, NULL);
	host_pm_record(note, NULL);
}

void media_init(void (*populate)(struct host_image *im), u64 scratch_base)
{
	host_image_memory(&live.image, IMAGE_BYTES, HOST_DEFAULT_BASE);
	populate(&live.image);
	scratch_make(scratch_base);
}

void media_load(const void *bytes, u64 len, u64 scratch_base)
{
	host_image_copy(&live.image, bytes, len, HOST_DEFAULT_BASE);
	scratch_make(scratch_base);
}
