#!/usr/bin/env bash
# hnswlib_cosine_items.sh - a cosine index of hnswlib hands vectors out at length one, not as they were put in.
#
# Version: hnswlib 0.8.0 (python3-hnswlib 0.8.0-1+b4, Debian 13). Seen on 2026-11-30.
#
# The cosine space is the inner product of vectors that add_items() has divided by their lengths; the lengths are kept nowhere.
# get_items() of such an index therefore returns other vectors than were added, whereas one of the spaces l2 and ip returns
# them unchanged. What is to be read back, or moved to an index of another space, must be kept beside.
. "$(dirname "$0")/lib/setup.sh"
packages python3-hnswlib=0.8.0-1+b4
cat >"$ROOT/tmp/finding.py" <<'END'
import hnswlib
import numpy

for space in ('l2', 'ip', 'cosine'):
    index = hnswlib.Index(space=space, dim=2)
    index.init_index(max_elements=2)
    index.add_items(numpy.array([[3, 4], [0, 10]], dtype='float32'), [0, 1])
    print(space, [[round(float(x), 3) for x in row] for row in index.get_items([0, 1])])
END
inside python3 /tmp/finding.py 2>&1 | expect 'l2 [[3.0, 4.0], [0.0, 10.0]]
ip [[3.0, 4.0], [0.0, 10.0]]
cosine [[0.6, 0.8], [0.0, 1.0]]'
