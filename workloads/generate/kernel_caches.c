/* kernel_caches.c - see kernel_caches.h. */
#include "workloads/generate/kernel_caches.h"

enum { RCU = KMT_CACHE_TYPESAFE_BY_RCU, INODE = KMT_CACHE_RECLAIMABLE | KMT_CACHE_CONSTRUCTOR };

/* Name, object, slot, alignment; objects a slab, pages a slab; flags (fs/, kernel/fork.c, net/ of Linux 6.18). */
#define CACHE(name_, object, slot, align, objects, pages, flags_)                                                      \
	{                                                                                                              \
		.name = (name_), .object_bytes = (object), .slot_bytes = (slot), .align_bytes = (align),               \
		.objects_per_slab = (objects), .pages_per_slab = (pages), .flags = (flags_)                            \
	}
static const struct kmt_cache caches[KERNEL_CACHES] = {
	[KERNEL_ANON_VMA] = CACHE("anon_vma", 96, 104, 8, 39, 1, RCU | KMT_CACHE_CONSTRUCTOR),
	[KERNEL_ANON_VMA_CHAIN] = CACHE("anon_vma_chain", 64, 64, 64, 64, 1, 0),
	[KERNEL_BUFFER_HEAD] = CACHE("buffer_head", 104, 104, 8, 39, 1, KMT_CACHE_RECLAIMABLE),
	[KERNEL_CRED] = CACHE("cred", 184, 192, 64, 21, 1, 0),
	[KERNEL_DENTRY] = CACHE("dentry", 192, 192, 8, 21, 1, KMT_CACHE_RECLAIMABLE),
	[KERNEL_EXT4_INODE] = CACHE("ext4_inode_cache", 1120, 1128, 8, 14, 4, INODE),
	[KERNEL_FILES] = CACHE("files_cache", 704, 704, 64, 23, 4, 0),
	[KERNEL_FILP] = CACHE("filp", 184, 192, 64, 21, 1, RCU),
	[KERNEL_FS] = CACHE("fs_cache", 64, 64, 64, 64, 1, 0),
	[KERNEL_LSM_FILE] = CACHE("lsm_file_cache", 24, 24, 8, 170, 1, 0),
	[KERNEL_LSM_INODE] = CACHE("lsm_inode_cache", 32, 32, 8, 128, 1, 0),
	[KERNEL_MAPLE_NODE] = CACHE("maple_node", 256, 256, 256, 16, 1, 0),
	[KERNEL_MM] = CACHE("mm_struct", 1568, 1600, 64, 20, 8, 0),
	[KERNEL_NAMES] = CACHE("names_cache", 4096, 4096, 64, 8, 8, 0),
	[KERNEL_PID] = CACHE("pid", 184, 192, 64, 21, 1, 0),
	[KERNEL_RADIX_TREE_NODE] = CACHE("radix_tree_node", 576, 584, 8, 14, 2, INODE),
	[KERNEL_REQUEST_SOCK_TCP] = CACHE("request_sock_TCP", 312, 320, 8, 12, 1, RCU),
	[KERNEL_SIGHAND] = CACHE("sighand_cache", 2080, 2112, 64, 15, 8, RCU | KMT_CACHE_CONSTRUCTOR),
	[KERNEL_SIGNAL] = CACHE("signal_cache", 1152, 1152, 64, 14, 4, 0),
	[KERNEL_SKBUFF_HEAD] = CACHE("skbuff_head_cache", 224, 256, 64, 16, 1, 0),
	[KERNEL_SKBUFF_SMALL_HEAD] = CACHE("skbuff_small_head", 576, 576, 64, 14, 2, 0),
	[KERNEL_SOCK_INODE] = CACHE("sock_inode_cache", 768, 832, 64, 19, 4, INODE),
	[KERNEL_TASK] = CACHE("task_struct", 5824, 5824, 64, 5, 8, 0),
	[KERNEL_TCP] = CACHE("TCP", 2304, 2368, 64, 13, 8, RCU),
	[KERNEL_TW_SOCK_TCP] = CACHE("tw_sock_TCP", 248, 256, 8, 16, 1, RCU),
	[KERNEL_VMA] = CACHE("vm_area_struct", 192, 192, 64, 21, 1, RCU),
};

void kernel_caches_tell(struct generate *generate)
{
	for (int i = 0; i < KERNEL_CACHES; i++)
		generate_cache(generate, &caches[i]);
}
