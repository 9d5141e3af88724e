/* SPDX-License-Identifier: Apache-2.0 */
/*
 * treetest.h - a place of its own for the tests of the status tree: a mount namespace with a
 * temporary directory that ends with the process, and short ways to look at files in it.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "treehost.h"

#define MOUNTPOINT "/run/flocker-test/root/datasets"
#define BOUND "/run/flocker-test/run/datasets"

/* Exits with 77 and the reason when the tests cannot run here. */
void tree_enter(void);

/* One host a test: it starts with an empty tree at MOUNTPOINT, and BOUND when @bound. */
int tree_setup(void **state);
int tree_setup_bound(void **state);
int tree_teardown(void **state); /* fails the test when the host did not end well */

/* The path below the tree; a static buffer, eight of them in turn. */
const char *tree_path(const char *fmt, ...) _printf_(1, 2);
const char *ds_path(unsigned int n, const char *file);

/* The content in a static buffer, or "<errno name>". */
const char *content(const char *path);
void assert_content(const char *path, const char *expected);
/* Waits until stat's size is @size. */
void wait_size(const char *path, off_t size);
int64_t now_ms(void);
