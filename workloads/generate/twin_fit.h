/*
 * twin_fit.h - from a trace the model of its twin (twin_model.h).
 *
 * Cost: three passes over the trace, O(allocations log allocations) time, 56 bytes for each allocation.
 */
#ifndef KMEMLAB_TWIN_FIT_H
#define KMEMLAB_TWIN_FIT_H

#include "workloads/generate/twin_model.h"

/*
 * Caches that make up 99 % of the bytes are fitted one by one, and so are all kmalloc classes; the rest is pooled by
 * size. Bins of time go where they bring the live bytes nearer to the trace's, as many as model_bytes of file have room
 * for (beyond what a model of one bin a kind takes). The slab allocator's own pages are left out: a stack takes its
 * own. False and *error: the trace is damaged, has no allocation or no duration, or memory is short. The caller frees
 * the model, whatever is returned.
 */
bool twin_fit(struct kmt_reader *reader, uint64_t model_bytes, struct twin_model *model, struct kml_error *error);

#endif
