/* fidelity_reasons.h - why a cache's prediction is off, by the evidence of trace and snapshots. */
#ifndef KMEMLAB_FIDELITY_REASONS_H
#define KMEMLAB_FIDELITY_REASONS_H

#include "workloads/fidelity.h"

/* Fill the cache's reason; "" when it is not off. */
void fidelity_explain(struct fidelity *fidelity, uint32_t cache, uint32_t cpu_count);

#endif
