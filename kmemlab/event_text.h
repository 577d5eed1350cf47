/* event_text.h - events of a .kmt for other people's tools: the one writer of their CSV form, and its words. */
#ifndef KMEMLAB_EVENT_TEXT_H
#define KMEMLAB_EVENT_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "traces/kmt/kmt.h"

/* Of bit `bit` of the flags; "" for one without a meaning. */
enum { EVENT_FLAG_BITS = 14 };
const char *event_flag_name(unsigned bit);
/* "contiguous|kmalloc"; nothing for 0. */
void event_print_flags(FILE *to, unsigned flags);

/*
 * event,time_ns,cpu,op,object,size_bytes,granted_bytes,address,order,align_log2,cache,flags
 *
 * One event a row; `event` is its number from 0. Empty: object where the op has none, address where it was not
 * recorded, cache (a name, quoted as RFC 4180 wants it) where there is none. Write errors stay in the stream.
 */
void event_print_csv_heading(FILE *to);
void event_print_csv(FILE *to, const struct kmt_reader *reader, const struct kmt_event *event, uint64_t number);

#endif
