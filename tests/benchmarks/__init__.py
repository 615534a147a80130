"""Benchmarks: how fast the whole product is, against a peer measured in the same run.

``python -m tests.benchmarks [--full] [B1 B3 …]``. Each benchmark checks that what it measures is
right first; one that fails its check publishes no number.
"""
