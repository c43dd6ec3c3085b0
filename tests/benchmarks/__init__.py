"""Tests of benchmarks/: its figures, its tables, and that it refuses wrong answers.

The folder is not called benchmarks, since `import benchmarks` would then find it first.
"""
