/*
 * planted.h - bugs planted on purpose, each behind a compile-time switch of its own: the fuzzers must find them.
 *
 *     if (KML_PLANTED(buddy_wrong_order) || order < max)
 *
 * is plain `order < max` unless the file is compiled with -DKML_PLANT_buddy_wrong_order. fuzz/bugs.tsv lists them.
 */
#ifndef KMEMLAB_SUPPORT_PLANTED_H
#define KMEMLAB_SUPPORT_PLANTED_H

/* 1 when KML_PLANT_name is defined (to 1, as -D does), else 0: after Linux's IS_ENABLED (include/linux/kconfig.h). */
#define KML_PLANTED(name) KML_PLANTED_VALUE(KML_PLANT_##name)
#define KML_PLANTED_VALUE(value) KML_PLANTED_PASTE(value)
#define KML_PLANTED_PASTE(value) KML_PLANTED_PICK(KML_PLANTED_COMMA_##value)
#define KML_PLANTED_COMMA_1 0,
/* The argument brings its comma with it, so no parentheses: NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define KML_PLANTED_PICK(comma_or_junk) KML_PLANTED_SECOND(comma_or_junk 1, 0, 0)
#define KML_PLANTED_SECOND(ignored, value, ...) value

#endif
