/* SPDX-License-Identifier: Apache-2.0 */
/*
 * messages.h - the MESSAGE_ID= of what an operator wants to be woken by (systemd.journal-fields(7)).
 * An id never changes its meaning: journalctl MESSAGE_ID=... finds all of its kind. Other lines have
 * none.
 */
#pragma once

#define MESSAGE_DATASET_BLOCKED "3f0d6b1c2a5e4c0f9d6f5b7a8e1c4d20" /* needs a person; the line says for what */
#define MESSAGE_DATASET_LOST "8a4e2d7f61b94b3c8d0e5f9a7c2b1e63"	   /* held data, and its volume is missing */
#define MESSAGE_DATASET_FAULTY "c5b7f3a90d1e4826b7a4d6e8f0c19b35"  /* mounted, but read-only or without device */
#define MESSAGE_DATASET_STUCK "e19a7c4b5d2f4f06a3c8b9d7e6f5a418"   /* a step does not return: hung storage */
#define MESSAGE_SPACE_LOW "2c9e5d7a41f84b60b3a7d8e2f6c05b19"	   /* a backend has less free than space-warning: says */
#define MESSAGE_SPACE_FULL "71b8f2e05d3c4a9fa6e1c4d7b9f3082a"	   /* a backend is full: datasets get write errors */
#define MESSAGE_NODE_REFUSED "57d2c8e6b9f04a1d8e3b6c7f5a0d9e42"	   /* a second machine, or an old control */
#define MESSAGE_AUDIT "9d3c1f7ab2e84d65a0c4e7b83f51d206"	   /* a client asked for a change; who, what, outcome */
#define MESSAGE_STORE_FAILED "b6e1f8d34c7a4952a0d9c3b8e7f6514a"	   /* control cannot make anything durable */
#define MESSAGE_CERTIFICATE_ENDS "d41c7b0e9f3a4c58b26e08a7f5d1936c"   /* one of this service ends soon, or has */
