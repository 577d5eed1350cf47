/*
 * scripts.h - the analysis scripts of the source folder, run on a folder of CSV files.
 */
#ifndef KMEMLAB_SCRIPTS_H
#define KMEMLAB_SCRIPTS_H

#include <stdbool.h>

/* Where the source lies: KMEMLAB_SOURCE, else where the program was built from. */
const char *kml_source_directory(void);

/* The exit status of python3 analysis/SCRIPT FOLDER; 127, having said why, when it cannot be run. */
int kml_run_script(const char *command, const char *script, const char *folder, bool quiet);

/* The figures of the CSV files in a folder; false, having said that there are none, when they cannot be drawn. */
bool kml_draw_figures(const char *command, const char *script, const char *folder);

#endif
