/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The worker of this library: public headers only, linked like any other user of it. */
#include "ours_world.h"

int main(int argc, char **argv)
{
	const struct bench_row *const tables[] = { ours_access_rows, ours_map_rows, ours_dirty_rows, ours_queue_rows,
						   NULL };

	return bench_main(argc, argv, tables);
}
