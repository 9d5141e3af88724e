/* SPDX-License-Identifier: Apache-2.0 */
/* no_reboot.c - what the test's flocker-fence does instead of restarting the machine. */
#include "reboot.h"

#include <syslog.h>

#include "say.h"

int fence_reboot(void)
{
	fence_say(LOG_CRIT, NULL, 0, "the machine would be gone now");
	return 0;
}
