#!/bin/bash -eu
# The same as anywhere: CC, CFLAGS, LIB_FUZZING_ENGINE and OUT come from the image.
exec "$SRC/kmemlab/fuzz/build.sh"
