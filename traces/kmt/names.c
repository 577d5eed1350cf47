/* names.c - the words of the .kmt format: operations, quirks, snapshot kinds. */
#include "traces/kmt/kmt.h"

const char *kmt_op_name(enum kmt_op op)
{
	static const char *const names[KMT_OP_COUNT] = {
		"alloc",  "free",  "page_alloc", "page_free", "page_add", "cache_open", "cache_close",
		"shrink", "drain", "reap",       "mark",      "rcu_free", "misuse",     "exhaust"};
	return (unsigned)op < KMT_OP_COUNT ? names[op] : "unknown";
}

const char *kmt_misuse_name(enum kmt_misuse misuse)
{
	static const char *const names[KMT_MISUSE_KINDS] = {"double", "interior", "foreign", "misaligned", "cache"};
	return (unsigned)misuse < KMT_MISUSE_KINDS ? names[misuse] : "unknown";
}

static const struct {
	const char *name, *help;
} quirks[KMT_QUIRK_COUNT] = {
	[KMT_QUIRK_LOST] = {"lost", "events the kernel reported lost"},
	[KMT_QUIRK_NULL_FREE] = {"null_free", "kfree(NULL): dropped"},
	[KMT_QUIRK_UNMATCHED_FREE] = {"unmatched_free", "frees of what was live before the capture: warm start"},
	[KMT_QUIRK_IMPLICIT_FREE] = {"implicit_free",
				     "frees the kernel did not trace, proved by the reuse of the address"},
	[KMT_QUIRK_WARM_UNSEEN] = {"warm_unseen", "warm objects known only from the count in the first slabinfo"},
	[KMT_QUIRK_CACHE_BY_POINTER] = {"cache_by_pointer", "frees whose cache was found by the pointer"},
	[KMT_QUIRK_CACHE_BY_CALL_SITE] = {"cache_by_call_site", "frees whose cache was found by the call site"},
	[KMT_QUIRK_CACHE_UNKNOWN] = {"cache_unknown", "frees whose cache stayed unknown"},
	[KMT_QUIRK_CACHE_MISMATCH] = {"cache_mismatch",
				      "frees that named another cache than the allocation (merged caches)"},
	[KMT_QUIRK_SLAB_PAGES] = {"slab_pages", "page events told apart as the slab allocator's own"},
	[KMT_QUIRK_LARGE_PAGES] = {"large_pages", "page events left out: a large kmalloc stands for them"},
	[KMT_QUIRK_BATCHED_FREE] = {"batched_free", "mm_page_free_batched: doubles of mm_page_free, dropped"},
	[KMT_QUIRK_OUT_OF_ORDER] = {"out_of_order", "events older than their predecessor, or proved to be: sorted"},
	[KMT_QUIRK_UNKNOWN_EVENT] = {"unknown_event", "lines or records that are no kmem event: skipped"},
	[KMT_QUIRK_SPLIT_PAGES] = {"split_pages",
				   "page frees in another block size than allocated: the rest allocated again"},
	[KMT_QUIRK_UNTRACED_ALLOC] = {"untraced_alloc",
				      "frees of what was free already (its allocation was not traced): dropped"},
	[KMT_QUIRK_KFREE_OF_CACHE] = {"kfree_of_cache",
				      "kfrees of objects of a kmem cache: they go back to that cache"},
	[KMT_QUIRK_ACCOUNTED] = {"accounted",
				 "allocations charged to a memory cgroup: from the caches of all since 5.9"},
	[KMT_QUIRK_FAILED_ALLOC] = {"failed_alloc", "allocations of objects that gave no memory: dropped"},
	[KMT_QUIRK_MALFORMED] = {"malformed", "kmem events without a field they need: skipped"},
};

const char *kmt_quirk_name(enum kmt_quirk quirk)
{
	return (unsigned)quirk < KMT_QUIRK_COUNT ? quirks[quirk].name : "unknown";
}

const char *kmt_quirk_help(enum kmt_quirk quirk)
{
	return (unsigned)quirk < KMT_QUIRK_COUNT ? quirks[quirk].help : "";
}

const char *kmt_snapshot_name(enum kmt_snapshot_kind kind)
{
	static const char *const names[KMT_SNAPSHOT_KINDS] = {
		"slabinfo",     "buddyinfo",     "meminfo",        "vmstat",   "zoneinfo",
		"pagetypeinfo", "extfrag_index", "unusable_index", "gt_slabs", "mark"};
	return (unsigned)kind < KMT_SNAPSHOT_KINDS ? names[kind] : "unknown";
}
