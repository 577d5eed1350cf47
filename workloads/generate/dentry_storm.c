/*
 * dentry_storm.c - a file system is walked, then its caches are dropped, again and again.
 *
 * A walk makes for every file a dentry, an inode (ext4), its security label, and now and then a block of its directory
 * (a page of the page cache with its buffer_head); the name of each path is a buffer of names_cache that lives for the
 * call. One file in `keep` is held open. Then the caches are dropped: the shrinkers free in the order of the LRU lists,
 * oldest first, all that is not in use. What is held keeps its slabs: one object a slab is enough (fs/dcache.c,
 * fs/inode.c; the recorded counterparts are traces/fs-scan.kmt and traces/reclaim.kmt, from which the numbers of
 * objects a file are).
 */
#include "workloads/generate/generators.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/kernel_caches.h"

static const uint64_t FILE_NS = 12000; /* a stat(2) from disk, in traces/fs-scan.kmt */
enum { FILES_A_BLOCK = 20 };           /* of a directory */

struct dentry_storm_config {
	struct generate_common common;
	uint64_t files, rounds, keep;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	{.name = "files",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct dentry_storm_config, files),
	 .default_text = "20000",
	 .minimum = 1,
	 .maximum = 1 << 26,
	 .help = "in the file system"},
	{.name = "rounds",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct dentry_storm_config, rounds),
	 .default_text = "3",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "of a walk and a drop of the caches"},
	{.name = "keep",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct dentry_storm_config, keep),
	 .default_text = "40",
	 .minimum = 1,
	 .maximum = 1 << 26,
	 .help = "one file in so many stays open over the drop"},
	{0},
};

struct dentry_storm {
	const struct dentry_storm_config *config;
	struct ids cached; /* dentries, inodes, labels, blocks in the order of the LRU */
	struct ids held;   /* of open files */
	uint64_t file, round;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct dentry_storm *storm = state;
	(void)error;
	storm->config = config;
	kernel_caches_tell(generate);
	return true;
}

static void end(void *state)
{
	struct dentry_storm *storm = state;
	ids_free(&storm->cached);
	ids_free(&storm->held);
}

static void look_at_file(struct generate *generate, struct dentry_storm *storm)
{
	uint16_t cpu = generate_cpu(generate);
	generate_advance_to(generate, generate_now(generate) + FILE_NS);
	generate_id name = kernel_alloc(generate, KERNEL_NAMES, cpu);
	bool stays_open = generate_below(generate, storm->config->keep) == 0;
	struct ids *owner = stays_open ? &storm->held : &storm->cached;
	if (storm->file % FILES_A_BLOCK == 0) {
		ids_add(&storm->cached, kernel_pages(generate, 0, KML_MOVABLE, cpu));
		ids_add(&storm->cached, kernel_alloc(generate, KERNEL_BUFFER_HEAD, cpu));
	}
	ids_add(owner, kernel_alloc(generate, KERNEL_DENTRY, cpu));
	ids_add(owner, kernel_alloc(generate, KERNEL_EXT4_INODE, cpu));
	ids_add(owner, kernel_alloc(generate, KERNEL_LSM_INODE, cpu));
	if (stays_open)
		ids_add(owner, kernel_alloc(generate, KERNEL_FILP, cpu));
	generate_free(generate, name, cpu);
}

static void drop_caches(struct generate *generate, struct dentry_storm *storm)
{
	while (storm->cached.count > 0)
		generate_free(generate, ids_take_oldest(&storm->cached), 0);
}

static void close_files(struct generate *generate, struct dentry_storm *storm)
{
	while (storm->held.count > 0)
		generate_free(generate, ids_take_any(generate, &storm->held), 0);
}

static bool step(struct generate *generate, void *state)
{
	struct dentry_storm *storm = state;
	if (storm->file == 0)
		generate_mark(generate, "walk");
	if (storm->file < storm->config->files) {
		look_at_file(generate, storm);
		storm->file++;
		return true;
	}
	generate_mark(generate, "drop_caches");
	drop_caches(generate, storm);
	storm->file = 0;
	if (++storm->round < storm->config->rounds)
		return true;
	close_files(generate, storm);
	return false;
}

const struct generator generator_dentry_storm = {
	.name = "dentry_storm",
	.title = "A file system walked, and its caches dropped",
	.citation = "fs/dcache.c, fs/inode.c; objects a file as in traces/fs-scan.kmt (Linux 6.18)",
	.summary = "a dentry, an inode and a label a file; the oldest go first; one in `keep` stays and pins its slabs",
	.params = params,
	.config_bytes = sizeof(struct dentry_storm_config),
	.state_bytes = sizeof(struct dentry_storm),
	.start = start,
	.step = step,
	.end = end,
};
