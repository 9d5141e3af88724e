/* SPDX-License-Identifier: Apache-2.0 */
/*
 * treehost.h - a process that serves a status tree, for tests that read it from another one: who
 * serves a FUSE tree must not read it. Commands go over a socket and are done when they return.
 * The views are made from (dataset number, sequence number) on both sides, so a test can compare.
 */
#pragma once

#include <sys/types.h>

#include "dsview.h"

#define TREE_TIMEOUT_MS 20000

/* Sanitizers keep freed memory back, so its size says nothing then. clang names them differently. */
#if defined(__SANITIZE_ADDRESS__)
#define TREE_MEMORY_TOLD false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TREE_MEMORY_TOLD false
#endif
#endif
#ifndef TREE_MEMORY_TOLD
#define TREE_MEMORY_TOLD true
#endif

struct treehost {
	pid_t pid;
	int fd;
	const char *mountpoint, *bind_target, *group;
	unsigned int node; /* its identity */
};

enum tree_op {
	TREE_SET,    /* n, seq, name, metadata (JSON text or "") */
	TREE_EVENT,  /* n, name: the line */
	TREE_REMOVE, /* n */
	TREE_NODE,   /* seq */
	TREE_BURST,  /* n, seq = first, count: as many changes, without waiting for anybody */
	TREE_FILL,   /* n = how many: datasets 0 .. n - 1, seq, each with a name */
	TREE_MEMORY, /* answers with the resident size in KiB */
	TREE_GONE,   /* answers how often on_gone was called */
	TREE_CLEAR,  /* n: removes the datasets 0 .. n - 1 */
	TREE_MOUNT,  /* fstree_mount(): repairs */
	TREE_QUIT,   /* frees the tree and ends */
};

struct tree_command {
	enum tree_op op;
	unsigned int n, seq, count;
	char name[1100], metadata[2200];
};

/* Starts the process and waits until the tree is up. 0, or negative errno of fstree_new(). */
int treehost_start(struct treehost *h);
/* The answer: 0 or positive, or negative errno. */
int treehost_do(struct treehost *h, const struct tree_command *c);
int treehost_set(struct treehost *h, unsigned int n, unsigned int seq, const char *name);
void treehost_kill(struct treehost *h); /* SIGKILL, and waits for its end */
int treehost_quit(struct treehost *h);	/* its exit status: a sanitizer's findings show here */

struct id128 tree_id(unsigned int n);
/* @text holds what the view borrows. */
struct tree_text {
	char why[64], device[32], mountpoint[128], error[64], holders[128];
};
void tree_view(unsigned int n, unsigned int seq, struct tree_text *text, struct ds_view *ret);
