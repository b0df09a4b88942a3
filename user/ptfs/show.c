// SPDX-License-Identifier: MIT
//
// What: `ptfs show`: how a file is mapped. Its tables, level by level, with runs of equal entries
// taken together: as text, as a graph for graphviz (--dot), or as the picture that `dot` makes of
// that (--svg).
#include <errno.h>
#include <stdio.h>

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/tool.h"

enum style { TEXT, DOT };

struct show {
	struct ptfs_inode *ip;
	enum style style;
	FILE *out;
	u64 tables, huge, small;
};

static const char *const level_names[] = { "", "PTE", "PMD", "PUD", "PML4" };

enum kind { HOLE, BLOCK, HUGE, TABLE, REFUSED };

static enum kind kind_of(const struct show *s, u64 e, int level, struct ptfs_ref *ref)
{
	if (!e)
		return HOLE;
	if (ptfs_entry_decode(s->ip->fs, e, level, ref))
		return REFUSED;
	return !ref->leaf ? TABLE : level == PT_PMD ? HUGE : BLOCK;
}

// Entries from `slot` on that go on as the first one does.
static unsigned run_length(const struct show *s, u64 slot, unsigned left, int level, enum kind kind,
			   u64 off)
{
	unsigned n = 1;
	struct ptfs_ref ref = { 0 };

	for (; kind != TABLE && n < left; n++) {
		u64 e = ptfs_word(s->ip->fs, slot + 8 * n);

		if (kind_of(s, e, level, &ref) != kind)
			break;
		if ((kind == BLOCK || kind == HUGE) && ref.off != off + n * pt_span(level))
			break;
	}
	return n;
}

static void print_run(struct show *s, enum kind kind, unsigned first, unsigned n, u64 off, u64 word)
{
	unsigned long long chunk = off >> PTFS_CHUNK_SHIFT, at = off;
	char range[24];

	snprintf(range, sizeof(range), n > 1 ? "[%u-%u]" : "[%u]", first, first + n - 1);
	fprintf(s->out, "%-10s", range);
	switch (kind) {
	case HOLE: fprintf(s->out, "hole"); break;
	case BLOCK: fprintf(s->out, "%u blocks at %#llx (chunk %llu)", n, at, chunk); break;
	case HUGE: fprintf(s->out, "%u leaves of 2 MiB at %#llx (chunk %llu)", n, at, chunk); break;
	case TABLE: fprintf(s->out, "table at %#llx (chunk %llu)", at, chunk); break;
	case REFUSED: fprintf(s->out, "refused: %#llx", (unsigned long long)word); break;
	}
}

static void indent(const struct show *s, int depth)
{
	if (s->style == TEXT)
		fprintf(s->out, "%*s", 2 * depth, "");
}

static void show_words(struct show *s, u64 slot, unsigned nr, int level, int depth);

static void show_table(struct show *s, u64 off, int level, int depth)
{
	s->tables++;
	if (s->style == DOT)
		fprintf(s->out,
			"  t%llx [shape=box, style=filled, fillcolor=lightsteelblue, label=\"%s "
			"page\\n%#llx"
			"\\l",
			(unsigned long long)off, level_names[level], (unsigned long long)off);
	show_words(s, off, PT_ENTRIES, level, depth);
}

// The tables that these words name; in a graph after the node itself, with edges.
static void show_children(struct show *s, u64 slot, unsigned nr, int level, int depth, u64 from)
{
	for (unsigned i = 0; i < nr; i++) {
		struct ptfs_ref ref;

		if (kind_of(s, ptfs_word(s->ip->fs, slot + 8 * i), level, &ref) != TABLE)
			continue;
		fprintf(s->out, "  t%llx -> t%llx [label=\"%u\"];\n", (unsigned long long)from,
			(unsigned long long)ref.off, i);
		show_table(s, ref.off, level - 1, depth + 1);
	}
}

static void show_words(struct show *s, u64 slot, unsigned nr, int level, int depth)
{
	unsigned n;

	for (unsigned i = 0; i < nr; i += n) {
		u64 e = ptfs_word(s->ip->fs, slot + 8 * i);
		struct ptfs_ref ref = { 0 };
		enum kind kind = kind_of(s, e, level, &ref);

		n = run_length(s, slot + 8 * i, nr - i, level, kind, ref.off);
		s->huge += kind == HUGE ? n : 0;
		s->small += kind == BLOCK ? n : 0;
		indent(s, depth);
		print_run(s, kind, i, n, ref.off, e);
		fprintf(s->out, s->style == DOT ? "\\l" : "\n");
		if (kind == TABLE && s->style == TEXT)
			show_table(s, ref.off, level - 1, depth + 1);
	}
	if (s->style == TEXT)
		return;
	fprintf(s->out, "\"];\n");
	show_children(s, slot, nr, level, depth, ALIGN_DOWN(slot, PTFS_BLOCK));
}

static void show_root(struct show *s, u64 root)
{
	int level = ptfs_root_level(root);
	struct ptfs_ref ref = { 0 };
	enum kind kind = kind_of(s, root & ~PTFS_E_LEVEL, level, &ref);

	fprintf(s->out, s->style == DOT ? "root of level %d\\l" : "root of level %d\n", level);
	print_run(s, kind, 0, 1, ref.off, root);
	s->huge += kind == HUGE;
	fprintf(s->out, s->style == DOT ? "\\l\"];\n" : "\n");
	if (kind != TABLE)
		return;
	if (s->style == DOT)
		fprintf(s->out, "  inode -> t%llx;\n", (unsigned long long)ref.off);
	show_table(s, ref.off, level - 1, 1);
}

static void show_file(struct show *s, const char *path)
{
	u64 root = ptfs_word(s->ip->fs, s->ip->root_off);
	const char *newline = s->style == DOT ? "\\l" : "\n";

	if (s->style == DOT)
		fprintf(s->out, "digraph ptfs {\n  rankdir=LR;\n  node [fontname=monospace];\n"
				"  inode [shape=box, style=filled, fillcolor=wheat, label=\"");
	fprintf(s->out, "%s: inode %llu, %llu bytes%s", path, (unsigned long long)s->ip->ino,
		(unsigned long long)s->ip->size, newline);
	if (!s->ip->leaf_type) {
		fprintf(s->out, "no blocks%s%s", newline, s->style == DOT ? "\"];\n" : "");
	} else if (root) {
		show_root(s, root);
	} else {
		fprintf(s->out, "direct entries%s", newline);
		// there are no tables below, so nothing but the node is written
		show_words(s, PTFS_FIELD(s->ip, direct), PTFS_DIRECT, PT_PTE, 1);
	}
	if (s->style == DOT)
		fprintf(s->out, "}\n");
	else
		fprintf(s->out, "%llu tables, %llu leaves of 2 MiB, %llu blocks of 4 KiB\n",
			(unsigned long long)s->tables, (unsigned long long)s->huge,
			(unsigned long long)s->small);
}

int tool_show(int argc, char **argv)
{
	bool svg = !strcmp(argv[1], "--svg"), dot = !strcmp(argv[1], "--dot");
	struct show s = { .style = svg || dot ? DOT : TEXT, .out = stdout };
	const char *path = argv[argc - 1];
	int status = 0;
	struct tool t;

	if ((argc == 3) != (svg || dot)) {
		fprintf(stderr, "ptfs show IMAGE [--dot | --svg] PATH\n");
		return 2;
	}
	tool_open(&t, argv[0], HOST_PRIVATE);
	s.ip = tool_get(t.fs, path);
	if (svg)
		s.out = popen("dot -Tsvg", "w");
	if (!s.out)
		tool_fail("dot", errno);
	show_file(&s, path);
	if (svg && pclose(s.out)) {
		fprintf(stderr, "dot (of graphviz) is needed for --svg; --dot writes the graph\n");
		status = 1;
	}
	ptfs_iput(s.ip);
	tool_close(&t);
	return status;
}
