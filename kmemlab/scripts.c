/* scripts.c - the analysis scripts of the source folder. */
#include "kmemlab/scripts.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

const char *kml_source_directory(void)
{
	const char *overridden = getenv("KMEMLAB_SOURCE");
	return overridden && *overridden ? overridden : KML_SOURCE_DIR;
}

int kml_run_script(const char *command, const char *script, const char *folder, bool quiet)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/analysis/%s", kml_source_directory(), script);
	if (access(path, R_OK) != 0) {
		fprintf(stderr, "kmemlab %s: %s is not there: the CSV files are in %s all the same\n", command, path,
			folder);
		return 127;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGINT, SIG_DFL);
		execlp(KML_PYTHON, KML_PYTHON, path, folder, quiet ? "--quiet" : (char *)NULL, (char *)NULL);
		_exit(127);
	}
	int status = -1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

bool kml_draw_figures(const char *command, const char *script, const char *folder)
{
	if (kml_run_script(command, script, folder, true) == 0)
		return true;
	fprintf(stderr,
		"kmemlab %s: no figures (python3-matplotlib and python3-pandas make them); the CSV files are in %s\n",
		command, folder);
	return false;
}
