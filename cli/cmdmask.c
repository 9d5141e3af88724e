/* SPDX-License-Identifier: Apache-2.0 */
#include "cmdmask.h"

static const char *const shown[] = { "BOOT_IMAGE", "cgroup_enable", "cgroup_no_v1", "console", "intel_iommu", "iommu",
	"loglevel", "loop.hw_queue_depth", "loop.max_loop", "loop.max_part", "max_loop", "mitigations", "nmi_watchdog",
	"panic", "psi", "root", "rootflags", "rootfstype", "softlockup_panic", "systemd.unified_cgroup_hierarchy",
	"systemd.unit", "transparent_hugepage" };

static bool is_shown(const char *name, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		if (strlen(shown[i]) == size && memcmp(shown[i], name, size) == 0)
			return true;
	return false;
}

/* As the kernel tells them apart: blanks within quotes belong to the word. */
static size_t word_length(const char *p)
{
	bool quoted = false;
	size_t n = 0;

	while (p[n] && (quoted || !strchr(" \t\n", p[n])))
		quoted ^= p[n++] == '"';
	return n;
}

void cmdmask(const char *text, FILE *out)
{
	const char *blank = "";
	size_t n;

	for (const char *p = text + strspn(text, " \t\n"); *p; p += n + strspn(p + n, " \t\n"), blank = " ") {
		const char *end;

		n = word_length(p);
		end = memchr(p, '=', n);
		if (n == 2 && p[0] == '-' && p[1] == '-') {
			fprintf(out, "%s-- " CMDMASK_HIDDEN, blank);
			break;
		}
		if (end && !is_shown(p, (size_t)(end - p)))
			fprintf(out, "%s%.*s=" CMDMASK_HIDDEN, blank, (int)(end - p), p);
		else
			fprintf(out, "%s%.*s", blank, (int)n, p);
	}
	fputc('\n', out);
}

void cmdmask_log(const char *line, FILE *out)
{
	static const char mark[] = "command line";
	const char *at = strcasestr(line, mark);

	if (at)
		fprintf(out, "%.*s " CMDMASK_HIDDEN "\n", (int)((size_t)(at - line) + strlen(mark)), line);
	else
		fputs(line, out);
}
