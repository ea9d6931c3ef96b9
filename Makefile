# iqdb - vector search for PostgreSQL.
#
#   make                    builds iqdb.so for the server that pg_config belongs to
#   make install            installs it there (as root)
#   make install-lib        installs the C library (docs/library.md); needs no server. PREFIX=/usr/local, DESTDIR
#   make check              installs what is missing, builds, runs every test, prints a table of results
#   make demo               shows the extension at work on a throw-away server
#   make bench BENCH="sql --base FILE --queries FILE"      measures (bench/README.md)
#
# Parts of the check:  make check SUITES="unit tap" TESTS="quant 001"   (make check SUITES=help lists the suites)
#   make torture SECONDS=1800 [METHOD=iqdb_flat] [SEED=1]     random load and accidents on whole servers
#   make check-server VERSION=19 [SUITES="regress tap"]       with another server, in a chroot (test/server/run.sh; as root)
#   make check-aarch64 [TESTS="vec quant"]                   the core's tests on an emulated ARM processor (test/aarch64/run.sh; as root)
#   make unit | lint | check-core | check-pg     make fuzz SECONDS=60     make format     make clean
#
# The core (src/core) is compiled here with its own flags and without the server's headers; the glue (src/pg) is
# compiled and linked by PGXS. Everything built goes to $(BUILD), except iqdb.so, which PGXS wants in this folder.
# To build the C library and its tests elsewhere: make unit BUILD=/some/where. To build a part of the core only, while
# another part does not compile: ONLY="base vec".

EXTENSION  = iqdb
MODULE_big = iqdb
DATA       = $(wildcard sql/iqdb--*.sql)
SCRIPTS    = src/tools/iqdb_copy

# Regression tests, in the order in which they run: sql/NAME.sql against expected/NAME.out.
REGRESS = iqvector_type iqvector_ops iqvector_cast iqvector_agg iqvector_btree iqvector_copy iqhalfvec_type iqhalfvec_ops iqhalfvec_cast iqdb_bit iqdb_flat iqdb_elements iqdb_functions iqdb_usage iqdb_recall iqdb_cache iqdb_search iqdb_plans iqdb_scan iqdb_filter iqdb_foreign

BUILD   ?= build
VARIANT ?= plain
SECONDS  = 60
ONLY    ?=

# ---------------------------------------------------------------------------------------------------------------------
# The core and its tests: no server needed.
# ---------------------------------------------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC = gcc
endif

CORE_FOLDERS = public base vec meta quant engine flat hnsw ivf persist cache db
CORE_SOURCES = $(sort $(foreach folder,$(if $(ONLY),$(ONLY),$(CORE_FOLDERS)),$(wildcard src/core/$(folder)/*.c)))
HARNESS_SOURCES = $(sort $(wildcard test/harness/*.c))

CORE_CFLAGS = -std=c11 -O2 -g -fPIC -Wall -Wextra -Werror -pedantic -fvisibility=hidden -fno-semantic-interposition -fno-math-errno \
              -ffp-contract=off -Isrc
TEST_CFLAGS = -std=c11 -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter -Isrc -Itest
TEST_LIBS   = -lzstd -llz4 -lm -lpthread

# plain is what goes into iqdb.so, lib into the C library; the others are for tests.
VARIANT_CC_plain     = $(CC)
VARIANT_CFLAGS_plain =
VARIANT_CC_lib       = $(CC)
VARIANT_CFLAGS_lib   = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection \
                       $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),-fcf-protection)
VARIANT_CC_asan      = $(CC)
VARIANT_CFLAGS_asan  = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
VARIANT_CC_tsan      = $(CC)
VARIANT_CFLAGS_tsan  = -O1 -fno-omit-frame-pointer -fsanitize=thread
VARIANT_CC_steps     = $(CC)
VARIANT_CFLAGS_steps = -fsanitize-coverage=trace-pc
VARIANT_CC_fuzz      = clang
VARIANT_CFLAGS_fuzz  = -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
                       -fno-sanitize-recover=all

V    = $(BUILD)/$(VARIANT)
VCC  = $(VARIANT_CC_$(VARIANT)) $(VARIANT_CFLAGS_$(VARIANT))
empty =
LIB  = $(V)/libiqdb$(subst $(empty) $(empty),,$(foreach folder,$(ONLY),-$(folder))).a

CORE_OBJECTS    = $(CORE_SOURCES:src/%.c=$(V)/%.o)
HARNESS_OBJECTS = $(HARNESS_SOURCES:%.c=$(V)/%.o)
UNIT_PROGRAMS   = $(patsubst %.c,$(V)/%,$(sort $(wildcard test/unit/test_*.c)))
FAULT_PROGRAMS  = $(patsubst %.c,$(V)/%,$(sort $(wildcard test/fault/test_*.c)))
STEPS_PROGRAMS  = $(patsubst %.c,$(V)/%,$(sort $(wildcard test/steps/test_*.c)))
CRASH_PROGRAMS  = $(patsubst %.c,$(V)/%,$(sort $(wildcard test/crash/test_*.c)))
REPLAY_PROGRAMS = $(patsubst %.c,$(V)/%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
BENCH_PROGRAMS  = $(patsubst %.c,$(V)/%,$(sort $(wildcard bench/*.c)))
TORTURE_PROGRAM = $(V)/test/torture/torture
FUZZ_PROGRAMS   = $(patsubst %.c,$(V)/%_live,$(sort $(wildcard test/fuzz/fuzz_*.c)))

# "make" alone must mean what PGXS means by it.
all:

.PHONY: torture-program libiqdb unit-programs fault-programs crash-programs steps-programs replay-programs fuzz-programs bench-programs FORCE
.SECONDARY:
libiqdb: $(LIB)
unit-programs: $(UNIT_PROGRAMS)
fault-programs: $(FAULT_PROGRAMS)
crash-programs: $(CRASH_PROGRAMS)
steps-programs: $(STEPS_PROGRAMS)
replay-programs: $(REPLAY_PROGRAMS)
fuzz-programs: $(FUZZ_PROGRAMS)
torture-program: $(TORTURE_PROGRAM)
bench-programs: $(BENCH_PROGRAMS)

# Rewritten, and so everything recompiled, only when compiler or flags change.
$(V)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(VCC) | $(CORE_CFLAGS) | $(TEST_CFLAGS)' | cmp -s - $@ || \
		echo '$(VCC) | $(CORE_CFLAGS) | $(TEST_CFLAGS)' > $@

$(V)/core/%.o: src/core/%.c $(V)/flags
	@mkdir -p $(@D)
	$(VARIANT_CC_$(VARIANT)) $(CORE_CFLAGS) $(VARIANT_CFLAGS_$(VARIANT)) -MMD -MP -c $< -o $@

$(V)/test/harness/%.o: test/harness/%.c $(V)/flags
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -MMD -MP -c $< -o $@

# Remade when the list of sources changes too, so that a deleted file leaves the library.
$(V)/%.list: FORCE
	@mkdir -p $(@D)
	@echo '$(CORE_OBJECTS) $(HARNESS_OBJECTS)' | cmp -s - $@ || echo '$(CORE_OBJECTS) $(HARNESS_OBJECTS)' > $@

$(LIB): $(CORE_OBJECTS) $(LIB:.a=.list)
	@rm -f $@
	$(AR) rcs $@ $(CORE_OBJECTS)

$(V)/libharness.a: $(HARNESS_OBJECTS) $(LIB:.a=.list)
	@rm -f $@
	$(AR) rcs $@ $(HARNESS_OBJECTS)

$(V)/test/unit/%: test/unit/%.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -MMD -MP -MT $@ $< -o $@ $(V)/libharness.a $(LIB) -lcmocka $(TEST_LIBS)

$(V)/test/fault/%: test/fault/%.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -MMD -MP -MT $@ $< -o $@ $(V)/libharness.a $(LIB) -lcmocka $(TEST_LIBS)

$(V)/test/steps/%: test/steps/%.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -MMD -MP -MT $@ $< -o $@ $(V)/libharness.a $(LIB) -lcmocka $(TEST_LIBS)

$(V)/test/crash/%: test/crash/%.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -MMD -MP -MT $@ $< -o $@ $(V)/libharness.a $(LIB) -lcmocka $(TEST_LIBS)

$(V)/bench/%: bench/%.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -O2 -MMD -MP -MT $@ $< -o $@ $(V)/libharness.a $(LIB) $(TEST_LIBS)

# A client of servers: it is linked with libpq alone.
$(TORTURE_PROGRAM): $(sort $(wildcard test/torture/*.[ch])) $(V)/flags
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -I$(shell $(PG_CONFIG) --includedir) $(filter %.c,$^) -o $@ -lpq -lm -lpthread

$(V)/test/fuzz/%_live: test/fuzz/%.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) -fsanitize=fuzzer $(TEST_CFLAGS) -MMD -MP -MT $@ $< -o $@ $(V)/libharness.a $(LIB) $(TEST_LIBS)

$(V)/test/fuzz/%: test/fuzz/%.c test/fuzz/replay.c $(LIB) $(V)/libharness.a
	@mkdir -p $(@D)
	$(VCC) $(TEST_CFLAGS) -MMD -MP -MT $@ $< test/fuzz/replay.c -o $@ $(V)/libharness.a $(LIB) $(TEST_LIBS)

-include $(sort $(wildcard $(V)/core/*/*.d $(V)/test/*/*.d $(V)/bench/*.d))

# ---------------------------------------------------------------------------------------------------------------------
# The C library: what install-lib puts into $(DESTDIR)$(PREFIX). Both forms export what is IQDB_API in the public header, and
# nothing else.
# ---------------------------------------------------------------------------------------------------------------------

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

LIBRARY_HEADER  = src/core/public/iqdb.h
LIBRARY_VERSION = $(shell sed -n 's/^.define IQDB_VERSION "\(.*\)"/\1/p' $(LIBRARY_HEADER))
# Programs that were linked with one library run with every other of the same name.
LIBRARY_SONAME  = libiqdb.so.0
LIBRARY_LIBS    = -lzstd -llz4 -lm -lpthread
LIBRARY_FILES   = $(V)/libiqdb.so.$(LIBRARY_VERSION) $(V)/static/libiqdb.a

library-files: $(LIBRARY_FILES)

$(V)/libiqdb.so.$(LIBRARY_VERSION): $(CORE_OBJECTS) $(LIB:.a=.list)
	@echo 'IQDB_0 { global: iqdb_*; local: *; };' > $(V)/library.map
	$(VCC) -shared -Wl,-soname,$(LIBRARY_SONAME) -Wl,--version-script=$(V)/library.map -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs \
		$(CORE_OBJECTS) -o $@ $(LIBRARY_LIBS)

# One object, in which the names that are not public are local to it.
$(V)/static/libiqdb.a: $(CORE_OBJECTS) $(LIB:.a=.list)
	@mkdir -p $(@D)
	$(LD) -r $(CORE_OBJECTS) -o $(@D)/iqdb.o
	objcopy --localize-hidden $(@D)/iqdb.o
	@rm -f $@
	$(AR) rcs $@ $(@D)/iqdb.o

# ---------------------------------------------------------------------------------------------------------------------
# Checks: the work is done by scripts, which call back for what is to be built.
# ---------------------------------------------------------------------------------------------------------------------

TOOL_GOALS = torture torture-program check check-server check-aarch64 check-core check-pg unit lint demo fuzz format libiqdb unit-programs fault-programs crash-programs steps-programs \
             replay-programs fuzz-programs bench-programs bench install-lib uninstall-lib library-files dist deb print-REGRESS print-CORE_CFLAGS print-CORE_SOURCES \
             print-FOLDERS

CORE_SUITES = lint unit asan fault crash steps fuzz library
PG_SUITES   = regress isolation tap torture
SUITES     ?=
TESTS      ?=
VERSION    ?=
COMPILERS  ?=
CHECK = BUILD='$(BUILD)' CC='$(CC)' ONLY='$(ONLY)' TESTS='$(TESTS)' MAKE='$(MAKE)' PG_CONFIG='$(PG_CONFIG)' test/run.sh

.PHONY: $(TOOL_GOALS)

ifneq ($(filter $(TOOL_GOALS),$(MAKECMDGOALS)),)

check:
	@$(CHECK) $(if $(SUITES),$(SUITES),$(CORE_SUITES) $(PG_SUITES))

check-server:
	@TESTS='$(TESTS)' COMPILERS='$(COMPILERS)' test/server/run.sh '$(VERSION)' $(SUITES)

check-aarch64:
	@TESTS='$(TESTS)' test/aarch64/run.sh $(SUITES)

check-core:
	@$(CHECK) $(CORE_SUITES)

check-pg:
	@$(CHECK) $(PG_SUITES)

unit lint:
	@$(CHECK) $@

torture:
	@METHOD='$(METHOD)' SEED='$(SEED)' $(CHECK) torture=$(SECONDS)

fuzz:
	@$(CHECK) fuzz-live=$(SECONDS)

demo:
	@MAKE='$(MAKE)' PG_CONFIG='$(PG_CONFIG)' test/demo/run.sh

bench:
	@BUILD='$(BUILD)' CC='$(CC)' MAKE='$(MAKE)' PG_CONFIG='$(PG_CONFIG)' bench/run.sh $(BENCH)

install-lib:
	@$(MAKE) --no-print-directory VARIANT=lib library-files
	install -d '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig'
	install -m 644 $(LIBRARY_HEADER) '$(DESTDIR)$(INCLUDEDIR)/iqdb.h'
	install -m 644 $(BUILD)/lib/static/libiqdb.a '$(DESTDIR)$(LIBDIR)/libiqdb.a'
	install -m 755 $(BUILD)/lib/libiqdb.so.$(LIBRARY_VERSION) '$(DESTDIR)$(LIBDIR)/libiqdb.so.$(LIBRARY_VERSION)'
	ln -sf libiqdb.so.$(LIBRARY_VERSION) '$(DESTDIR)$(LIBDIR)/$(LIBRARY_SONAME)'
	ln -sf $(LIBRARY_SONAME) '$(DESTDIR)$(LIBDIR)/libiqdb.so'
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: iqdb' \
		'Description: embedded vector database' 'Version: $(LIBRARY_VERSION)' 'Cflags: -I$${includedir}' \
		'Libs: -L$${libdir} -liqdb' 'Libs.private: $(LIBRARY_LIBS)' > '$(DESTDIR)$(LIBDIR)/pkgconfig/iqdb.pc'

uninstall-lib:
	rm -f '$(DESTDIR)$(INCLUDEDIR)/iqdb.h' '$(DESTDIR)$(LIBDIR)/pkgconfig/iqdb.pc' '$(DESTDIR)$(LIBDIR)/libiqdb.a' \
		'$(DESTDIR)$(LIBDIR)/libiqdb.so' '$(DESTDIR)$(LIBDIR)/$(LIBRARY_SONAME)' \
		'$(DESTDIR)$(LIBDIR)/libiqdb.so.$(LIBRARY_VERSION)'

dist:
	@OUT='$(BUILD)/packages' src/packaging/dist.sh

deb:
	@OUT='$(BUILD)/packages' MAKE='$(MAKE)' PG_CONFIG='$(PG_CONFIG)' src/packaging/deb.sh

format:
	clang-format -i $(sort $(wildcard src/core/*/*.[ch] src/pg/*.[ch] test/*/*.[ch] bench/*/*.[ch] bench/*.[ch]))

# For the scripts.
print-REGRESS:
	@echo '$(REGRESS)'
print-CORE_CFLAGS:
	@echo '$(CORE_CFLAGS)'
print-CORE_SOURCES:
	@echo '$(CORE_SOURCES)'
print-FOLDERS:
	@echo '$(CORE_FOLDERS)'

# Goals of the other half named on the same command line.
all install uninstall installcheck clean: FORCE
	@$(MAKE) --no-print-directory $@

else

# ---------------------------------------------------------------------------------------------------------------------
# The extension, by PGXS. (Its own "check" target would replace ours, so it is read only when none of ours is asked.)
# ---------------------------------------------------------------------------------------------------------------------

# Scripts hand on what they were given, which may be nothing.
ifeq ($(strip $(PG_CONFIG)),)
PG_CONFIG := $(firstword $(wildcard /usr/lib/postgresql/15/bin/pg_config) pg_config)
endif

PG_SOURCES = $(sort $(wildcard src/pg/*.c))
PG_OBJECTS = $(PG_SOURCES:src/%.c=$(BUILD)/plain/%.o)
OBJS       = $(CORE_OBJECTS) $(PG_OBJECTS)

PG_CPPFLAGS = -Isrc
SHLIB_LINK  = -lzstd -llz4 -lm -lpthread -Wl,--version-script=$(BUILD)/plain/iqdb.map
EXTRA_CLEAN = $(BUILD) iqdb.so results output_iso regression.diffs regression.out

REGRESS_OPTS   = --load-extension=iqdb
ISOLATION      = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=iqdb
TAP_TESTS      = 1
PROVE_TESTS    = $(sort $(wildcard test/t/*.pl))

# No bitcode: the core is not compiled for it, and inlining across the SQL boundary would gain nothing here.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error pg_config of PostgreSQL 15 not found: install postgresql-server-dev-15, or give PG_CONFIG=/path/to/pg_config)
endif
include $(PGXS)

override CFLAGS := $(filter-out -Wdeclaration-after-statement,$(CFLAGS))

# CFLAGS of the server's build hold -g -O2 and its warnings; ours come on top.
$(BUILD)/plain/pg/%.o: src/pg/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CFLAGS_SL) -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare \
		$(if $(STRICT),-Werror) $(CPPFLAGS) -MMD -MP -c $< -o $@

-include $(PG_OBJECTS:.o=.d)

# The same module with fail points in the glue (src/pg/pg_fail.h), for tests; never installed.
FAIL_OBJECTS = $(PG_SOURCES:src/%.c=$(BUILD)/fail/%.o)

$(BUILD)/fail/pg/%.o: src/pg/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CFLAGS_SL) -DIQDB_FAIL_POINTS $(CPPFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/fail/iqdb.so: $(CORE_OBJECTS) $(FAIL_OBJECTS) $(BUILD)/fail/iqdb.map
	$(CC) $(CFLAGS) $(CFLAGS_SL) -shared -o $@ $(filter %.o,$^) $(LDFLAGS) $(LDFLAGS_SL) \
		$(SHLIB_LINK:%/plain/iqdb.map=%/fail/iqdb.map)

.PHONY: fail-module
fail-module: $(BUILD)/fail/iqdb.so

-include $(FAIL_OBJECTS:.o=.d)

# What iqdb.so exports: the magic block, _PG_init, every function declared to SQL with its pg_finfo_ record, and the main
# functions of background workers (iqdb_..._main). All else stays local, because the server loads libraries into one
# global name space.
$(BUILD)/plain/iqdb.map: $(PG_OBJECTS)
$(BUILD)/fail/iqdb.map: $(FAIL_OBJECTS)
$(BUILD)/plain/iqdb.map $(BUILD)/fail/iqdb.map:
	@{ echo '{ global: Pg_magic_func; _PG_init;'; \
	   nm --defined-only $^ | sed -n -e 's/^.* T pg_finfo_\(.*\)$$/  pg_finfo_\1; \1;/p' \
	   -e 's/^.* T \(iqdb_[a-z_]*_main\)$$/  \1;/p' | sort; \
	   echo 'local: *; };'; } > $@

$(shlib): $(BUILD)/plain/iqdb.map

endif
