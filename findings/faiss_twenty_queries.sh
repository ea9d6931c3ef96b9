#!/usr/bin/env bash
# faiss_twenty_queries.sh - FAISS's exact index finds rows for 19 queries at once that it does not find for 20.
#
# Version: FAISS 1.11.0 (python3-faiss 1.11.0-3, Debian 13). Seen on 2026-11-30.
#
# From distance_compute_blas_threshold = 20 queries on, IndexFlatL2 computes distances as |q|^2 - 2 q.x + |x|^2 by a matrix
# product in single precision. Where vectors are long compared with their differences, all digits cancel: components
# between 1000 and 1001 give distances of 0 to many rows, and a row is rarely its own nearest one. Fewer queries are computed by
# differences and are right. So the same query gets another answer in a larger batch, from an index that is called exact.
# Centre the data, or raise the threshold.
. "$(dirname "$0")/lib/setup.sh"
packages python3-faiss=1.11.0-3
cat >"$ROOT/tmp/finding.py" <<'END'
import faiss
import numpy

faiss.omp_set_num_threads(1)
rows = (numpy.random.default_rng(1).random((1000, 64)) + 1000).astype('float32')
index = faiss.IndexFlatL2(64)
index.add(rows)


def found_themselves(batch):
    return sum(int((index.search(rows[i:i + batch], 1)[1][:, 0] == numpy.arange(i, i + batch)).sum())
               for i in range(0, 380, batch))


print('19 at once:', 'all' if found_themselves(19) == 380 else 'not all', 'of 380 rows are their own nearest')
print('20 at once:', 'less than a tenth' if found_themselves(20) < 38 else 'a tenth or more', 'of them')
faiss.cvar.distance_compute_blas_threshold = 1000
print('20 at once, with the threshold raised:', 'all' if found_themselves(20) == 380 else 'not all')
END
inside python3 /tmp/finding.py 2>&1 | expect '19 at once: all of 380 rows are their own nearest
20 at once: less than a tenth of them
20 at once, with the threshold raised: all'
