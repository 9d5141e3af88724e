/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose page a browser's request comes from. A browser shows a user's certificate to us for whatever page
 * asks, so without this any page that the user opens could change the cluster. Looking is safe: a
 * browser lets no page read an answer from elsewhere that does not allow it, and ours never do.
 */
#include "rest_private.h"

/* "https://" and the Host that it asked us under. */
static bool is_our_origin(const char *origin, const char *host)
{
	static const char scheme[] = "https://";

	return host && strncmp(origin, scheme, strlen(scheme)) == 0 && strcasecmp(origin + strlen(scheme), host) == 0;
}

bool rest_is_cross_site(const struct http_head *head)
{
	const char *origin = evhttp_find_header(&head->headers, "Origin");
	const char *site = evhttp_find_header(&head->headers, "Sec-Fetch-Site");

	if (origin && !is_our_origin(origin, evhttp_find_header(&head->headers, "Host")))
		return true;
	/* "none": the user's own doing, such as an address that was typed. */
	return site && !STREQ(site, "same-origin") && !STREQ(site, "none");
}
