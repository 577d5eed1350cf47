/*
 * gfp.c - the words of a gfp_flags field to the few flags that matter here.
 *
 * Kernels print names joined by '|' (include/trace/events/mmflags.h), with a hexadecimal rest for bits without a name;
 * numeric values differ from kernel to kernel and are not interpreted.
 */
#include <ctype.h>
#include <string.h>

#include "traces/import/import.h"

/* SLEEPS is internal: a request that names one of these may reclaim directly, so it is not atomic. */
#define SLEEPS (1u << 31)
#define USER_MOVABLE (SLEEPS | RAW_GFP_MOVABLE)

static const struct {
	const char *name;
	uint32_t gfp;
} words[] = {
	{"GFP_KERNEL", SLEEPS},
	{"GFP_KERNEL_ACCOUNT", SLEEPS | RAW_GFP_ACCOUNT},
	{"GFP_NOFS", SLEEPS},
	{"GFP_NOIO", SLEEPS},
	{"GFP_USER", SLEEPS},
	{"GFP_HIGHUSER", SLEEPS},
	{"GFP_HIGHUSER_MOVABLE", USER_MOVABLE},
	{"GFP_TEMPORARY", SLEEPS | RAW_GFP_RECLAIMABLE},
	{"GFP_TRANSHUGE", USER_MOVABLE},
	{"GFP_TRANSHUGE_LIGHT", RAW_GFP_MOVABLE},
	{"GFP_IOFS", 0},
	{"GFP_DMA", RAW_GFP_DMA},
	{"GFP_DMA32", 0},
	{"__GFP_DMA", RAW_GFP_DMA},
	{"__GFP_ZERO", RAW_GFP_ZERO},
	{"__GFP_MOVABLE", RAW_GFP_MOVABLE},
	{"__GFP_RECLAIMABLE", RAW_GFP_RECLAIMABLE},
	{"__GFP_ACCOUNT", RAW_GFP_ACCOUNT},
	{"__GFP_WAIT", SLEEPS},
	{"GFP_WAIT", SLEEPS},
	{"__GFP_RECLAIM", SLEEPS},
	{"__GFP_DIRECT_RECLAIM", SLEEPS},
	{"GFP_ZERO", RAW_GFP_ZERO},
	{"GFP_MOVABLE", RAW_GFP_MOVABLE},
	{"GFP_RECLAIMABLE", RAW_GFP_RECLAIMABLE},
};

static uint32_t word_flags(const char *word, size_t length)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strncmp(words[i].name, word, length) == 0 && words[i].name[length] == '\0')
			return words[i].gfp;
	}
	/* A bare number says nothing of whether the caller may sleep. */
	return isdigit((unsigned char)word[0]) ? SLEEPS : 0;
}

uint32_t raw_gfp_parse(const char *text)
{
	uint32_t gfp = 0;

	while (*text != '\0') {
		size_t length = strcspn(text, "|");
		gfp |= word_flags(text, length);
		text += length + (text[length] == '|');
	}
	return (gfp & SLEEPS) != 0 ? gfp & ~SLEEPS : gfp | RAW_GFP_ATOMIC;
}
