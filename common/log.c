/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "jsonin.h"
#include "log.h"
#include "types.h"

enum log_target { TARGET_TERMINAL, TARGET_PREFIXED, TARGET_JOURNAL };

static struct {
	const char *ident;
	int level;
	enum log_target target;
} logger = { "flocker", LOG_INFO, TARGET_PREFIXED };

/* JOURNAL_STREAM=dev:inode names the socket that the service manager made (systemd.exec(5)); it is
 * inherited by children whose standard error went elsewhere, so the numbers have to match. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *ident)
{
	logger.ident = ident;
	if (stderr_is_journal())
		logger.target = TARGET_JOURNAL;
	else
		logger.target = isatty(STDERR_FILENO) ? TARGET_TERMINAL : TARGET_PREFIXED;
}

void log_set_level(int level)
{
	logger.level = level;
}

int log_level_parse(const char *text, int *ret)
{
	static const struct {
		const char *name;
		int level;
	} names[] = {
		{ "error", LOG_ERR },	{ "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
		{ "info", LOG_INFO },	{ "debug", LOG_DEBUG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (STREQ(text, names[i].name)) {
			*ret = names[i].level;
			return 0;
		}
	return -EINVAL;
}

/* A line stays a line: what a peer or a file brought in can neither forge another one, nor command
 * the terminal that shows it. */
static void one_line(char *text)
{
	const char *end = text + strlen(text);

	while (text < end) {
		unsigned int n = utf8_printable(text, end);

		if (n == 0)
			*text = ' ';
		text += MAX(n, 1u);
	}
}

static void add_field(struct iovec *iov, int *n, char *buf, size_t size, const char *key,
	const char *value)
{
	int len = snprintf(buf, size, "%s=%s", key, value);

	if (len < 0)
		return;
	iov[*n].iov_base = buf;
	iov[*n].iov_len = MIN((size_t)len, size - 1);
	(*n)++;
}

static void to_journal(const struct log_context *ctx, int level, int err, const char *file, int line,
	const char *text)
{
	char message[2200], fields[9 + LOG_FIELDS_MAX][320], number[16];
	struct iovec iov[10 + LOG_FIELDS_MAX];
	int n = 0;

	add_field(iov, &n, message, sizeof(message), "MESSAGE", text);
	snprintf(number, sizeof(number), "%d", level);
	add_field(iov, &n, fields[0], sizeof(fields[0]), "PRIORITY", number);
	add_field(iov, &n, fields[1], sizeof(fields[1]), "SYSLOG_IDENTIFIER", logger.ident);
	add_field(iov, &n, fields[2], sizeof(fields[2]), "CODE_FILE", file);
	snprintf(number, sizeof(number), "%d", line);
	add_field(iov, &n, fields[3], sizeof(fields[3]), "CODE_LINE", number);
	if (err) {
		snprintf(number, sizeof(number), "%d", err);
		add_field(iov, &n, fields[4], sizeof(fields[4]), "ERRNO", number);
	}
	if (ctx && ctx->dataset)
		add_field(iov, &n, fields[5], sizeof(fields[5]), "DATASET_ID",
			ID128_STR(*ctx->dataset));
	if (ctx && ctx->node)
		add_field(iov, &n, fields[6], sizeof(fields[6]), "NODE_ID", ID128_STR(*ctx->node));
	if (ctx && ctx->message_id)
		add_field(iov, &n, fields[7], sizeof(fields[7]), "MESSAGE_ID", ctx->message_id);
	if (ctx && ctx->request && *ctx->request)
		add_field(iov, &n, fields[8], sizeof(fields[8]), "REQUEST_ID", ctx->request);
	for (size_t i = 0; ctx && i < MIN(ctx->n_fields, (size_t)LOG_FIELDS_MAX); i++)
		add_field(iov, &n, fields[9 + i], sizeof(fields[9]), ctx->fields[i].key, ctx->fields[i].value);
	(void)sd_journal_sendv(iov, n);
}

static void to_stderr(const struct log_context *ctx, int level, const char *text)
{
	char line[2400], subject[64] = "", request[REQUEST_ID_SIZE + 16] = "";

	if (ctx && ctx->dataset)
		snprintf(subject, sizeof(subject), "dataset %s: ", ID128_STR(*ctx->dataset));
	else if (ctx && ctx->node)
		snprintf(subject, sizeof(subject), "node %s: ", ID128_STR(*ctx->node));
	if (ctx && ctx->request && *ctx->request)
		snprintf(request, sizeof(request), " [request %s]", ctx->request);

	if (logger.target == TARGET_PREFIXED)
		snprintf(line, sizeof(line), "<%d>%s: %s%s%s\n", level, logger.ident, subject, text, request);
	else
		snprintf(line, sizeof(line), "%s: %s%s%s\n", logger.ident, subject, text, request);
	/* One write a line, so that lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}

int log_internal(const struct log_context *ctx, int level, int err, const char *file, int line,
	const char *fmt, ...)
{
	char text[2048];
	int saved = errno, len;
	va_list ap;

	err = abs(err);
	if (level > logger.level)
		return -err;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (err && len >= 0 && (size_t)len < sizeof(text))
		snprintf(text + len, sizeof(text) - (size_t)len, ": %s", strerror(err));
	one_line(text);

	if (logger.target == TARGET_JOURNAL)
		to_journal(ctx, level, err, file, line, text);
	else
		to_stderr(ctx, level, text);
	errno = saved;
	return -err;
}
