/*
 * poison.h - memory that AddressSanitizer is told not to be touched. Nothing without it.
 */
#ifndef KMEMLAB_POISON_H
#define KMEMLAB_POISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KML_HAS_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define KML_HAS_ADDRESS_SANITIZER 1
#endif
#ifndef KML_HAS_ADDRESS_SANITIZER
#define KML_HAS_ADDRESS_SANITIZER 0
#endif

#if KML_HAS_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

static inline void kml_poison(const void *memory, size_t size_bytes)
{
#if KML_HAS_ADDRESS_SANITIZER
	__asan_poison_memory_region(memory, size_bytes);
#else
	(void)memory;
	(void)size_bytes;
#endif
}

static inline void kml_unpoison(const void *memory, size_t size_bytes)
{
#if KML_HAS_ADDRESS_SANITIZER
	__asan_unpoison_memory_region(memory, size_bytes);
#else
	(void)memory;
	(void)size_bytes;
#endif
}

/* Whether some byte is; never without AddressSanitizer. */
static inline bool kml_is_poisoned(const void *memory, size_t size_bytes)
{
#if KML_HAS_ADDRESS_SANITIZER
	return __asan_region_is_poisoned((void *)(uintptr_t)memory, size_bytes) != NULL;
#else
	(void)memory;
	(void)size_bytes;
	return false;
#endif
}

#endif
