/*
 * npz.h - a NumPy .npz, written as a stream: a zip archive (minizip) whose members are .npy files (NumPy Enhancement
 * Proposal 1, version 1.0), stored as they are, with zip64 where a member needs it.
 *
 * Constant memory; the file must be one that can be sought in (minizip fills in checksums afterwards). No time is
 * kept: the same arrays give the same bytes.
 */
#ifndef KMEMLAB_NPZ_H
#define KMEMLAB_NPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "allocators/allocator.h"

struct npz;

/* Into a stream that is open for writing, and stays open. NULL and *error when memory is exhausted. */
struct npz *npz_create(FILE *stream, struct kml_error *error);

/*
 * Begin an array of one dimension, `count` items of a NumPy type ("u8", "S24") of item_bytes each, in the machine's
 * byte order; then npz_write its count * item_bytes bytes, in any portions. false and *error when that cannot be.
 */
bool npz_begin(struct npz *npz, const char *name, const char *type, size_t item_bytes, uint64_t count,
	       struct kml_error *error);
bool npz_write(struct npz *npz, const void *items, size_t bytes, struct kml_error *error);
bool npz_end(struct npz *npz, struct kml_error *error);

/* The directory at the end, unless something failed before; frees the npz always. */
bool npz_finish(struct npz *npz, struct kml_error *error);
void npz_abandon(struct npz *npz);

#endif
