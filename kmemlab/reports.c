/* reports.c - reports of one kind, one after the other. */
#include "kmemlab/reports.h"

#include "kmemlab/support/error.h"

static bool open_file(struct reports *reports, int file, struct kml_error *error)
{
	char path[4000];
	snprintf(path, sizeof path, "%.3900s/%s", reports->answer->out, reports->kind->files[file].name);
	if (!kml_output_open(&reports->files[file], path, error))
		return false;
	fprintf(reports->files[file].stream, "%s\n", reports->kind->files[file].header);
	return true;
}

bool reports_open(struct reports *reports, const struct report_kind *kind, const struct kml_answer *answer,
		  struct kml_error *error)
{
	*reports = (struct reports){.kind = kind, .answer = answer};
	if (answer->json && !(reports->list = cJSON_CreateArray()))
		return kml_fail(error, "out of memory for JSON");
	if (!answer->out)
		return true;
	if (!kml_make_directory(answer->out, error))
		return false;
	for (int file = 0; file < REPORT_FILES; file++)
		if (!open_file(reports, file, error))
			return false;
	return true;
}

bool reports_add(struct reports *reports, const void *report, const char *of, struct kml_error *error)
{
	const struct report_kind *kind = reports->kind;
	for (int file = 0; reports->answer->out && file < REPORT_FILES; file++)
		kind->files[file].write(report, reports->files[file].stream);
	if (!reports->list) {
		if (reports->any)
			putchar('\n');
		kind->print(report, stdout);
		reports->any = true;
		return true;
	}
	cJSON *json = kind->json(report);
	if (!json || !cJSON_AddItemToArray(reports->list, json))
		return kml_fail(error, "out of memory for the JSON of %s", of);
	return true;
}

bool reports_close(struct reports *reports, bool done, struct kml_error *error)
{
	for (int file = 0; done && reports->answer->out && file < REPORT_FILES; file++)
		done = kml_output_commit(&reports->files[file], error);
	if (done)
		return true;
	for (int file = 0; file < REPORT_FILES; file++)
		kml_output_abandon(&reports->files[file]);
	cJSON_Delete(reports_take_json(reports));
	return false;
}

cJSON *reports_take_json(struct reports *reports)
{
	cJSON *list = reports->list;
	reports->list = NULL;
	if (cJSON_GetArraySize(list) != 1)
		return list;
	cJSON *only = cJSON_DetachItemFromArray(list, 0);
	cJSON_Delete(list);
	return only;
}
