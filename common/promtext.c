/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <time.h>

#include "jsonin.h"
#include "promtext.h"
#include "text.h"

int promtext_open(struct promtext *p)
{
	*p = (struct promtext){ 0 };
	p->f = open_memstream(&p->text, &p->size);
	return p->f ? 0 : -ENOMEM;
}

int promtext_close(struct promtext *p, char **ret, size_t *ret_size)
{
	bool failed = ferror(p->f);

	if (fclose(p->f) != 0 || failed) {
		free(p->text);
		return -ENOMEM;
	}
	*ret = p->text;
	*ret_size = p->size;
	return 0;
}

void promtext_family(struct promtext *p, const char *name, const char *type, const char *help)
{
	fprintf(p->f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label_value(FILE *f, const char *text)
{
	const char *end = text + strlen(text);

	while (text < end) {
		unsigned int n = utf8_length(text, end);

		if (n == 0)
			fputc('?', f);
		else if (*text == '\n')
			fputs("\\n", f);
		else if (*text == '\\' || *text == '"')
			fprintf(f, "\\%c", *text);
		else
			fwrite(text, 1, n, f);
		text += n ?: 1;
	}
}

/* Integers as such, which doubles are exactly up to 2^53. */
static void put_number(FILE *f, double v)
{
	if (isinf(v))
		fputs(v > 0 ? "+Inf\n" : "-Inf\n", f);
	else if (v > -1e16 && v < 1e16 && v == (double)(int64_t)v)
		fprintf(f, "%lld\n", (long long)v);
	else
		fprintf(f, "%.15g\n", v);
}

void promtext_value(struct promtext *p, const char *name, double v, ...)
{
	const char *label, *before = "{";
	va_list ap;

	fputs(name, p->f);
	va_start(ap, v);
	while ((label = va_arg(ap, const char *))) {
		fprintf(p->f, "%s%s=\"", before, label);
		put_label_value(p->f, va_arg(ap, const char *));
		fputc('"', p->f);
		before = ",";
	}
	va_end(ap);
	fputs(*before == ',' ? "} " : " ", p->f);
	put_number(p->f, v);
}

static const struct {
	double limit_s;
	const char *text; /* the same, as the value of a label */
} buckets[] = {
	{ .001, "0.001" }, { .0025, "0.0025" }, { .005, "0.005" }, { .01, "0.01" }, { .025, "0.025" },
	{ .05, "0.05" }, { .1, "0.1" }, { .25, "0.25" }, { .5, "0.5" }, { 1, "1" }, { 2.5, "2.5" },
	{ 5, "5" }, { 10, "10" },
};
static_assert(ARRAY_SIZE(buckets) == PROMTEXT_BUCKETS, "a bucket has no row");

void promtext_observe(struct promtext_durations *d, double seconds)
{
	size_t i = 0;

	while (i < PROMTEXT_BUCKETS && seconds > buckets[i].limit_s)
		i++;
	d->counts[i]++;
	d->sum_s += seconds;
}

void promtext_histogram(struct promtext *p, const char *name, const char *help,
	const struct promtext_durations *d)
{
	uint64_t n = 0;
	char part[128];

	promtext_family(p, name, "histogram", help);
	snprintf(part, sizeof(part), "%s_bucket", name);
	for (size_t i = 0; i <= PROMTEXT_BUCKETS; i++) {
		n += d->counts[i];
		promtext_value(p, part, (double)n, "le", i < PROMTEXT_BUCKETS ? buckets[i].text : "+Inf", NULL);
	}
	snprintf(part, sizeof(part), "%s_sum", name);
	promtext_value(p, part, d->sum_s, NULL);
	snprintf(part, sizeof(part), "%s_count", name);
	promtext_value(p, part, (double)n, NULL);
}

/* ---- of the process ---- */

static void put_alone(struct promtext *p, const char *name, const char *type, const char *help, double v)
{
	promtext_family(p, name, type, help);
	promtext_value(p, name, v, NULL);
}

static double seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -1; /* the one that counts */

	if (!dir)
		return -errno;
	for (struct dirent *e; (e = readdir(dir));)
		n += *e->d_name != '.';
	closedir(dir);
	return n;
}

void promtext_process(struct promtext *p)
{
	unsigned long long start_ticks, virtual_bytes;
	char stat[1024], *behind_name;
	struct rlimit files;
	long pages;
	int n;

	put_alone(p, "process_cpu_seconds_total", "counter", "CPU time of all threads.",
		seconds(CLOCK_PROCESS_CPUTIME_ID));
	if (text_read(AT_FDCWD, "/proc/self/stat", stat, sizeof(stat)) > 0 &&
		(behind_name = strrchr(stat, ')')) &&
		sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
				    "%*d %*d %llu %llu %ld", &start_ticks, &virtual_bytes, &pages) == 3) {
		put_alone(p, "process_start_time_seconds", "gauge", "When it began, since 1970.",
			seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME) +
				(double)start_ticks / (double)sysconf(_SC_CLK_TCK));
		put_alone(p, "process_virtual_memory_bytes", "gauge", "Address space.", (double)virtual_bytes);
		put_alone(p, "process_resident_memory_bytes", "gauge", "Memory that is resident.",
			(double)pages * (double)sysconf(_SC_PAGESIZE));
	}
	n = count_descriptors();
	if (n >= 0)
		put_alone(p, "process_open_fds", "gauge", "Open file descriptors.", n);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		put_alone(p, "process_max_fds", "gauge", "How many may be open.",
			files.rlim_cur == RLIM_INFINITY ? INFINITY : (double)files.rlim_cur);
}
