/* SPDX-License-Identifier: Apache-2.0 */
#include "reboot.h"

#include <errno.h>
#include <sys/reboot.h>

int fence_reboot(void)
{
	/* No sync(): that writes what must not be written, and may never return. */
	return reboot(RB_AUTOBOOT) < 0 ? -errno : 0;
}
