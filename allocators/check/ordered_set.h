/*
 * ordered_set.h - a set of integers below a limit that finds the neighbour of any integer: a 64-ary tree of bits.
 *
 * Level 0 has one bit per integer; a bit of level n + 1 says whether a word of level n is not 0 (a van Emde Boas
 * layout cut down to word-sized nodes). Cost: add, remove, previous and next take O(log64 limit); memory is address
 * space of limit/8 bytes, of which only touched pages cost anything.
 */
#ifndef KMEMLAB_CHECK_ORDERED_SET_H
#define KMEMLAB_CHECK_ORDERED_SET_H

#include <stdbool.h>
#include <stdint.h>

struct kml_ordered_set;

#define KML_NONE UINT64_MAX

/* NULL when the address space does not do. limit >= 1. */
struct kml_ordered_set *kml_ordered_set_create(uint64_t limit);
void kml_ordered_set_destroy(struct kml_ordered_set *set);

void kml_ordered_set_add(struct kml_ordered_set *set, uint64_t value);
void kml_ordered_set_remove(struct kml_ordered_set *set, uint64_t value);
/* The greatest member <= value, the least member >= value; KML_NONE when there is none. */
uint64_t kml_ordered_set_previous(const struct kml_ordered_set *set, uint64_t value);
uint64_t kml_ordered_set_next(const struct kml_ordered_set *set, uint64_t value);

#endif
