"""Tests of the benchmark's arithmetic, plan, results and page. They start nothing."""
