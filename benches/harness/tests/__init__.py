"""Tests of the benchmark: its arithmetic, plan, results and page, and a short run of each client that is built."""
