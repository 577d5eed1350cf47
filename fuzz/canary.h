/* canary.h - an allocator that is wrong on purpose: a fuzzer that does not find its bug is dead. */
#ifndef KMEMLAB_FUZZ_CANARY_H
#define KMEMLAB_FUZZ_CANARY_H

/* Make it known to spec strings, once; its name. It is in no table of targets or allocators that was made before. */
const char *fuzz_canary_register(void);

#endif
