#!/usr/bin/env bash
# elements.sh - what a vector is made of, and how a metric compares two, is known in core/vec and core/quant. Everybody else
# asks the element (vec/element.h) and the metric's traits (vec/metric.h): names of metrics and of elements, and the size of
# a float, stand nowhere else, or a new one would have to be added in places that nobody knows.

pattern='\bIQDB_METRIC_[A-Z0-9]+\b|\bIQDB_ELEMENT_(F16|BIT)\b|\bsizeof[[:space:]]*\([[:space:]]*float[[:space:]]*\)'

# Files that may, and why: a type's own functions, and the tables that turn names of SQL into ours.
exceptions='
src/core/public/iqdb.h       the numbers, for programs: a header that stands alone
src/pg/iqvector.c            the types iqvector and iqhalfvec
src/pg/iqvector.h            the types iqvector and iqhalfvec
src/pg/iqvector_private.h    the types iqvector and iqhalfvec
src/pg/iqvector_cast.c       the types iqvector and iqhalfvec
src/pg/iqvector_ops.c        the types iqvector and iqhalfvec
src/pg/iqbit.c               the type bit
src/pg/pg_am.c               operator classes: one function per metric
src/pg/pg_type.c             column types: one row each
src/pg/pg_options.c          options that no metric changes, where none is known
src/pg/pg_estimate.c         estimates, where none is named
'

status=0
allowed() { grep -q "^$1 " <<<"$exceptions"; }

hits=$(grep -rnE --include='*.[ch]' -e "$pattern" src/core src/pg | grep -v '^src/core/\(vec\|quant\)/' |
    grep -vE '\bIQDB_METRIC_COUNT\b')
while IFS= read -r hit; do
    [ -z "$hit" ] || allowed "${hit%%:*}" || { echo "$hit"; status=1; }
done <<<"$hits"
[ $status = 0 ] || echo "  ^ ask the element or the metric's traits (src/core/vec/element.h, metric.h)"

# The list is no longer than it must be.
while read -r file _; do
    [ -z "$file" ] || grep -q "^$file:" <<<"$hits" || { echo "$file: needs no exception any more"; status=1; }
done <<<"$exceptions"
exit $status
