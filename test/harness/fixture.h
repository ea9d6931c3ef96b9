/*
 * fixture.h - files in test/fixtures, kept for ever: what is written today is the same to the last byte.
 */
#ifndef IQDB_TEST_HARNESS_FIXTURE_H
#define IQDB_TEST_HARNESS_FIXTURE_H

#include <stdbool.h>

#include "harness/io_crash.h"

/*
 * Compares a file of fs with the fixture, and puts the fixture in its place. false, with a word why on standard error: they
 * differ, or there is no such fixture (tests run from the top of the tree). With IQDB_WRITE_FIXTURES set the fixture is made
 * anew: only right for a version that was never released.
 */
bool fixture_is_written(IoCrash *fs, const char *name, const char *fixture);

#endif
