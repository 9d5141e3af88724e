/* SPDX-License-Identifier: Apache-2.0 */
/* cm.h - cmocka wants these before it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
