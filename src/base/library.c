/* SPDX-License-Identifier: Apache-2.0 */
#include "base/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* dlsym(3) gives a pointer to data, which becomes one to a function. */
static void set(void *table, const struct library_symbol *symbol, void *f)
{
	memcpy((char *)table + symbol->offset, &f, sizeof(f));
}

int library_load(const char *soname, const char *what, const char *package,
		 const struct library_symbol *symbols, size_t n_symbols, void *table, struct err *e)
{
	void *lib = dlopen(soname, RTLD_LAZY | RTLD_LOCAL);
	const char *missing = NULL;

	if (!lib)
		return err_set(e, -ENOENT, "%s cannot be loaded (Debian's package is %s): %s", what,
			       package, dlerror());
	for (size_t i = 0; i < n_symbols; i++) {
		void *f = dlsym(lib, symbols[i].name);

		if (!f)
			missing = symbols[i].name;
		set(table, &symbols[i], f);
	}
	if (!missing)
		return 0;
	for (size_t i = 0; i < n_symbols; i++)
		set(table, &symbols[i], NULL);
	dlclose(lib);
	return err_set(e, -ENOENT, "%s lacks %s", soname, missing);
}
