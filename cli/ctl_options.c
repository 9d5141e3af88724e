/* SPDX-License-Identifier: Apache-2.0 */
/* What options say, read and kept. */
#include "ctl_where.h"
#include "ctl_words.h"
#include "say.h"
#include "text.h"
#include "types.h"

#define DEFAULT_WAIT_MS (120 * 1000)

static int set_size(struct ctl_args *a, const char *text)
{
	int r = text_size(text, &a->size);

	if (r == -ERANGE)
		return say_error(
			CTL_USAGE, "size '%s' is larger than anything that can be stored", text);
	if (r < 0)
		return say_error(CTL_USAGE, "'%s' is no size; write one " TEXT_SIZE_FORM, text);
	return CTL_OK;
}

static int set_port(struct ctl_args *a, const char *text)
{
	a->port = ctl_port(text, "--control-port");
	return a->port ? CTL_OK : CTL_USAGE;
}

static int add_metadata(struct ctl_args *a, const char *text)
{
	const char *problem = NULL;
	int r;

	if (!a->metadata)
		a->metadata = json_object_new_object();
	r = a->metadata ? args_metadata(text, a->metadata, &problem) : -ENOMEM;
	if (r == -ENOMEM)
		return ctl_no_memory();
	if (r < 0)
		return say_error(
			CTL_USAGE, "in metadata '%s' %s; write it as a=b,c=d", text, problem);
	return CTL_OK;
}

static int set_wait(struct ctl_args *a, const char *text)
{
	a->wait = true;
	a->wait_ms = DEFAULT_WAIT_MS;
	if (text && args_seconds(text, &a->wait_ms) < 0)
		return say_error(CTL_USAGE,
			"--wait takes a number of seconds, such as --wait=60, not '%s'", text);
	return CTL_OK;
}

static int set_filesystem(struct ctl_args *a, const char *text)
{
	if (fs_kind_parse(text) < 0)
		return say_error(CTL_USAGE, "--filesystem is ext4, xfs or btrfs, not '%s'", text);
	a->filesystem = text;
	return CTL_OK;
}

static int set_policy(struct ctl_args *a, const char *text)
{
	if (failover_kind_parse(text) < 0)
		return say_error(CTL_USAGE, "--policy is manual or lease, not '%s'", text);
	a->policy = text;
	return CTL_OK;
}

static int set_term(struct ctl_args *a, const char *text)
{
	if (text_number(text, 1, UINT32_MAX, &a->term_s) < 0)
		return say_error(CTL_USAGE, "--term takes a number of seconds, not '%s'", text);
	return CTL_OK;
}

static int set_expires(struct ctl_args *a, const char *text)
{
	a->expires = true;
	if (args_seconds(text, &a->expires_ms) < 0 || a->expires_ms == 0)
		return say_error(CTL_USAGE,
			"--expires takes a number of seconds, at most a year of them, not '%s'", text);
	return CTL_OK;
}

static int set_undelete(struct ctl_args *a, const char *text)
{
	a->undelete = true;
	if (args_duration(text, &a->undelete_s) < 0)
		return say_error(CTL_USAGE, "--undelete takes seconds, or a number with s, m, h, d or w behind it, "
			"not '%s'", text);
	return CTL_OK;
}

static int set_until(struct ctl_args *a, const char *text)
{
	if (!STREQ(text, "settled") && ds_state_parse(text) < 0)
		return say_error(CTL_USAGE, "--until is settled or a state, such as mounted, detached or destroyed, "
			"not '%s'", text);
	a->until = text;
	return CTL_OK;
}

static int set_timeout(struct ctl_args *a, const char *text)
{
	a->timeout = true;
	if (args_seconds(text, &a->timeout_ms) < 0)
		return say_error(CTL_USAGE, "--timeout takes a number of seconds, not '%s'", text);
	return CTL_OK;
}

static int set_key(struct ctl_args *a, const char *text)
{
	if (!request_id_valid(text))
		return say_error(CTL_USAGE, "--idempotency-key has 1 to 64 of A-Z a-z 0-9 . _ -, unlike '%s'", text);
	a->idempotency_key = text;
	return CTL_OK;
}

/* Those that only set a flag or keep a text. */
static bool set_simple(struct ctl_args *a, int value, const char *text)
{
	const struct {
		int value;
		bool *flag;
		const char **text;
	} simple[] = {
		{ 'l', &a->long_form, NULL }, { OPT_DELETED, &a->deleted, NULL }, { OPT_WATCH, &a->watch, NULL },
		{ OPT_UNPLACED, &a->unplaced, NULL }, { OPT_PLAN, &a->plan, NULL }, { OPT_JSON, &a->json, NULL },
		{ OPT_NO_HEADER, &a->no_header, NULL }, { OPT_ACCEPT_RISK, &a->accept_risk, NULL },
		{ 'n', NULL, &a->node }, { 't', NULL, &a->destination }, { OPT_DATASET, NULL, &a->dataset },
		{ OPT_NAME, NULL, &a->name }, { OPT_TO, NULL, &a->to }, { OPT_AFTER, NULL, &a->after },
		{ OPT_TYPE, NULL, &a->types }, { OPT_OUTPUT, NULL, &a->output },
		{ OPT_CONTROL_SERVICE, NULL, &a->host }, { OPT_CERTS_PATH, NULL, &a->certs_path },
		{ OPT_CLUSTER_YML, NULL, &a->cluster_yml }, { OPT_USER, NULL, &a->user },
	};

	for (size_t i = 0; i < ARRAY_SIZE(simple); i++) {
		if (simple[i].value != value)
			continue;
		if (simple[i].flag)
			*simple[i].flag = true;
		else
			*simple[i].text = text;
		return true;
	}
	return false;
}

int ctl_set_option(struct ctl_args *a, int value, const char *text)
{
	static const struct {
		int value;
		int (*set)(struct ctl_args *a, const char *text);
	} read[] = {
		{ 's', set_size }, { 'm', add_metadata }, { OPT_FILESYSTEM, set_filesystem }, { OPT_WAIT, set_wait },
		{ OPT_POLICY, set_policy }, { OPT_TERM, set_term }, { OPT_EXPIRES, set_expires },
		{ OPT_CONTROL_PORT, set_port }, { OPT_UNDELETE, set_undelete }, { OPT_UNTIL, set_until },
		{ OPT_TIMEOUT, set_timeout }, { OPT_IDEMPOTENCY_KEY, set_key },
	};

	if (set_simple(a, value, text))
		return CTL_OK;
	for (size_t i = 0; i < ARRAY_SIZE(read); i++)
		if (read[i].value == value)
			return read[i].set(a, text);
	return CTL_OK; /* what is accepted and means nothing: -h, --cluster-crt */
}
