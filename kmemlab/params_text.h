/* params_text.h - a parameter of a spec, told on the terminal. */
#ifndef KMEMLAB_PARAMS_TEXT_H
#define KMEMLAB_PARAMS_TEXT_H

#include "allocators/allocator.h"

/* One line on standard output: name, range or choices, default, help. */
void kml_print_param(const struct kml_param *param);

#endif
