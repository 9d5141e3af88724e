/* SPDX-License-Identifier: Apache-2.0 */
/* runas.h - the account that the program works as, and the data path that this account has. */
#pragma once

#include "options.h"

/* Drops root for good, where that is wanted, and makes the data path. Logs why it cannot. */
int runas(const struct options *o);
