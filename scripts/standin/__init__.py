"""Images out of Debian's packages that stand in for official ones, on machines that no image registry answers.

The same programs of the same versions: the Dockerfile and compose.yaml rely on nothing else. scripts/ops/images.py
decides when, and calls `build`. Standard library only, and Python 3.9.
"""
