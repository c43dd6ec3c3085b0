"""Sweeps that are killed at random moments and resumed: they end with the same bits.

campaign    kills and resumes a command until it has ended, and compares what it left
__main__    python -m tests.kill 100: that many kills of `onelayer train`
worker      a sweep from Python without a page, for the short version in the test suite
"""
