/* SPDX-License-Identifier: Apache-2.0 */
/*
 * macro.h - the words every file uses: ownership, sizes, attributes.
 * After systemd's and kmod's habits; knows no other header of ours.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(x) __attribute__((cleanup(x)))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _unused_ __attribute__((unused))
#define _nonnull_ __attribute__((nonnull))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* Each argument is evaluated once. */
#define MIN(a, b) CHOOSE_((a), <, (b), __COUNTER__)
#define MAX(a, b) CHOOSE_((a), >, (b), __COUNTER__)
#define CHOOSE_(a, op, b, n) CHOOSE_AS_(a, op, b, n)
#define CHOOSE_AS_(a, op, b, n)                                                                    \
	({                                                                                         \
		__auto_type a_##n = (a);                                                           \
		__auto_type b_##n = (b);                                                           \
		a_##n op b_##n ? a_##n : b_##n;                                                    \
	})
#define STREQ(a, b) (strcmp((a), (b)) == 0)

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Hand a pointer on: the cleanup of the variable then finds NULL. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *_pp = &(p);                                                         \
		__typeof__(p) _v = *_pp;                                                           \
		*_pp = NULL;                                                                       \
		_v;                                                                                \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *_fp = &(fd);                                                                  \
		int _f = *_fp;                                                                     \
		*_fp = -EBADF;                                                                     \
		_f;                                                                                \
	})

/* Defines <func>p() for _cleanup_: ends the pointed-to object. */
#define DEFINE_CLEANUP(type, func)                                                                 \
	static inline void func##p(type *p)                                                        \
	{                                                                                          \
		if (*p)                                                                            \
			func(*p);                                                                  \
	}                                                                                          \
	struct _##func##_semicolon

static inline void freep(void *p)
{
	free(*(void **)p);
}

/* Closes without touching errno, so it may stand on an error path. */
static inline int close_keep_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -EBADF;
}

static inline void closep(int *fd)
{
	close_keep_errno(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)
