"""For the tests of all folders: one thread for each library, and marks of what a test needs."""

import os

# Before the first of these libraries is imported; the programs that tests start have it, too. Small networks and trees
# gain nothing from more threads, and where cores are shared threads that wait for each other cost many times the work.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# pytest-xdist gives its workers a width; a test that wants one sets it.
os.environ.pop("COLUMNS", None)

pytest_plugins = ("tests.harness.marks",)
