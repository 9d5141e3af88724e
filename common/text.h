/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - small texts that people and the kernel write: a number, a small file, its one line.
 */
#pragma once

#include <stdarg.h>

#include "macro.h"

/**
 * text_number() - decimal digits and nothing beside: no sign, no blank, no unit
 * @ret: set on success only
 *
 * Returns: 0, or -EINVAL for anything else and for what is not from @min to @max.
 */
int text_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* For tables and comparisons within one process (FNV-1a). */
uint64_t text_hash(const char *text, size_t size);

#define TEXT_TIME_SIZE 32

/* "2026-01-31T23:59:59Z"; "?" for what no calendar has. Returns @buf. */
char *text_time(int64_t seconds, char buf[TEXT_TIME_SIZE]);
#define TEXT_TIME(s) text_time((s), (char[TEXT_TIME_SIZE]){ 0 })

#define TEXT_BYTES_SIZE 24

/* "12.50 GiB", in powers of 1024, for people. Returns @buf. */
char *text_bytes(uint64_t n, char buf[TEXT_BYTES_SIZE]);
#define TEXT_BYTES(n) text_bytes((n), (char[TEXT_BYTES_SIZE]){ 0 })

#define TEXT_SIZE_FORM "such as 10G, 1.5G or 500MiB (K, M, G, T and P are powers of 1024)"

/**
 * text_size() - a size in bytes, rounded up to a multiple of 1024
 *
 * Digits, a fraction if there is a unit, a unit of K M G T P with "B" or "iB" behind it; any case;
 * always powers of 1024. Without a unit, bytes.
 *
 * Returns: 0, -EINVAL for another form or nothing at all, -ERANGE when beyond 2^63 - 1024.
 */
int text_size(const char *text, uint64_t *ret_bytes);

/* What would end a line, and the other control characters of ASCII, become "?". */
void text_one_line(char *text);

/**
 * text_fail() - say in one line what was wrong
 * @ret_error: allocated; the caller frees it
 *
 * Returns: @err, or -ENOMEM with @ret_error untouched.
 */
int text_fail(char **ret_error, int err, const char *fmt, va_list ap) _printf_(3, 0);

/**
 * text_read() - a small file (sysfs, procfs, ours), or its beginning
 * @dir_fd: where a relative @path begins, or AT_FDCWD
 * @buf: ended with a NUL; set on success only
 *
 * One read(), so that an attribute is of one moment. Returns: bytes before the NUL, or negative errno.
 */
ssize_t text_read(int dir_fd, const char *path, char *buf, size_t size);

/**
 * text_read_line() - the first line of what text_read() reads, without its newline
 *
 * Returns: 0 or negative errno.
 */
int text_read_line(int dir_fd, const char *path, char *buf, size_t size);
