"""The contract of the sample workload, ``echo.proto``, and the code generated from it.

Imported by ``echo_services`` and by tests. The ``echo_pb2`` files are committed and never edited:
``python -m protos.generate`` writes them.
"""
