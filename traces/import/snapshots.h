/* snapshots.h - the tar form of a folder of snapshots; the folder itself is import_snapshots() of import.h. */
#ifndef KMEMLAB_SNAPSHOTS_H
#define KMEMLAB_SNAPSHOTS_H

#include "traces/import/import.h"

bool import_snapshots_tar(struct import *import, struct import_input *input, struct kml_error *error);

#endif
