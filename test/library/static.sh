#!/usr/bin/env bash
# static.sh - a program can take the library along: linked with libiqdb.a by what pkg-config says for that, it needs no
# libiqdb.so; and a C++ program uses the header as a C program does.
status=0
complain() { echo "$1"; status=1; }

# shellcheck disable=SC2046
"${CC:-gcc}" -std=c11 docs/examples/first_steps.c $(pkg-config --cflags iqdb) "$LIBRARY_ROOT/lib/libiqdb.a" \
    $(pkg-config --static --libs-only-l iqdb | sed 's/-liqdb//') -o "$TMPDIR/static" || complain "does not link"
LD_LIBRARY_PATH='' "$TMPDIR/static" | diff docs/examples/first_steps.out - || complain "does not run"

cat >"$TMPDIR/program.cc" <<'EOP'
#include <iqdb.h>
#include <cstring>
#include <memory>
int main()
{
	IqdbConfig  config = iqdb_config_default(IQDB_ENGINE_HNSW, 2, IQDB_METRIC_L2);
	const float vector[] = {3, 4};
	Iqdb       *db;
	IqdbResult *found;
	if (std::strcmp(iqdb_library_version(), IQDB_VERSION) != 0)
		return 1;
	if (iqdb_open_in_memory(&config, &db, nullptr) != IQDB_OK)
		return 2;
	std::unique_ptr<Iqdb, void (*)(Iqdb *)> owner(db, iqdb_abandon);
	if (iqdb_upsert(db, iqdb_id_u64(7), vector, 2, nullptr, 0, nullptr) != IQDB_OK)
		return 3;
	if (iqdb_search(db, vector, 2, 1, &found, nullptr) != IQDB_OK)
		return 4;
	std::unique_ptr<IqdbResult, void (*)(IqdbResult *)> result(found, iqdb_result_free);
	return result->count == 1 && result->found[0].id.number == 7 ? 0 : 5;
}
EOP
# shellcheck disable=SC2046
g++ -std=c++17 -Wall -Wextra -Werror -pedantic "$TMPDIR/program.cc" $(pkg-config --cflags --libs iqdb) -o "$TMPDIR/program" ||
    complain "the C++ program does not build"
"$TMPDIR/program" || complain "the C++ program ended with $?"
exit $status
