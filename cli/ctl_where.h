/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_where.h - which control service, and with whose certificate, when the command line does not
 * say it: the environment, and the files that installers of the original leave beside certificates.
 */
#pragma once

#include "ctl.h"

/**
 * ctl_where() - fill in what the command line left open
 *
 * Of --cluster-yml, else of the environment, else of ./cluster.yml where there is one: the
 * directory of the certificates and the user. The host is of the option, the environment, the
 * agent.yml beside the certificates, or the cluster file; it stays NULL when nothing says it.
 */
int ctl_where(struct ctl_args *a);

/* A port of @text; 0 and an error about @from when it is none. */
uint16_t ctl_port(const char *text, const char *from);

/* Frees what belongs to @a. */
void ctl_args_done(struct ctl_args *a);
