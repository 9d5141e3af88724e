/* SPDX-License-Identifier: Apache-2.0 */
#include "types.h"

static const char *const fs_kinds[] = { "ext4", "xfs", "btrfs" };
static const char *const format_states[] = { "never", "started", "done" };
static const char *const grant_kinds[] = { "hold", "destroy" };
static const char *const failover_kinds[] = { "manual", "lease" };
static const char *const proof_kinds[] = { "none", "term", "operator" };
static const char *const wish_kinds[] = { "keep", "wait", "hold", "release", "destroy", "forget" };
static const char *const ds_states[] = { "waiting", "detached", "creating", "attaching", "attached",
	"formatting", "mounting", "mounted", "unmounting", "detaching", "released", "destroying",
	"destroyed", "failed", "blocked", "lost", "faulty", "fenced" };
static const char *const ds_steps[] = { "none", "observe", "create", "attach", "probe", "format",
	"verify", "discard", "mount", "unmount", "detach", "destroy", "cut", "expand", "grow" };
static const char *const report_kinds[] = { "status", "ready", "formatted", "discarded", "released",
	"destroyed", "expanded", "grown" };

/* NAMES(): both directions of one table; a missing word does not compile. */
#define NAMES(prefix, type, table, max)                                                            \
	static_assert(ARRAY_SIZE(table) == (max), "a value of " #type " has no word");             \
	const char *prefix##_name(enum type v)                                                     \
	{                                                                                          \
		assert((unsigned)v < (max));                                                       \
		return table[v];                                                                   \
	}                                                                                          \
	int prefix##_parse(const char *name)                                                       \
	{                                                                                          \
		for (int i = 0; i < (int)(max); i++)                                               \
			if (STREQ(name, table[i]))                                                 \
				return i;                                                          \
		return -EINVAL;                                                                    \
	}                                                                                          \
	struct _##prefix##_semicolon

NAMES(fs_kind, fs_kind, fs_kinds, FS_KIND_MAX);
NAMES(format_state, format_state, format_states, FORMAT_STATE_MAX);
NAMES(grant_kind, grant_kind, grant_kinds, GRANT_KIND_MAX);
NAMES(failover_kind, failover_kind, failover_kinds, FAILOVER_KIND_MAX);
NAMES(proof_kind, proof_kind, proof_kinds, PROOF_KIND_MAX);
NAMES(wish_kind, wish_kind, wish_kinds, WISH_KIND_MAX);
NAMES(ds_state, ds_state, ds_states, DS_STATE_MAX);
NAMES(ds_step, ds_step, ds_steps, DS_STEP_MAX);
NAMES(report_kind, report_kind, report_kinds, REPORT_KIND_MAX);

bool failover_equal(struct failover a, struct failover b)
{
	return a.kind == b.kind && (a.kind != FAILOVER_LEASE || a.term_ms == b.term_ms);
}

uint64_t fs_minimum_size(enum fs_kind kind)
{
	/* As mkfs.xfs 6.1 and mkfs.btrfs 6.2 refuse below; ext4 is bound by v1's own minimum. */
	static const uint64_t minimum[] = {
		[FS_EXT4] = DATASET_MINIMUM_SIZE, [FS_XFS] = 300 * MIB, [FS_BTRFS] = 109 * MIB
	};
	static_assert(ARRAY_SIZE(minimum) == FS_KIND_MAX, "a filesystem has no minimum");

	return minimum[kind];
}

uint64_t fs_minimum_grown(enum fs_kind kind)
{
	return kind == FS_BTRFS ? 256 * MIB : 0;
}

bool request_id_valid(const char *text)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strspn(text, letters);

	return n > 0 && n < REQUEST_ID_SIZE && !text[n];
}
